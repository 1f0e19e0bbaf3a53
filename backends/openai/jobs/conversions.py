"""A server's objects as the contract's records. Pure; missing fields and nulls are normal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from backends.contract.jobs import Event, Job, JobResult, JobState, Progress
from backends.openai.api.error_messages import job_error
from backends.openai.api.protocol import Body, clean, mapping_in, name_in, number, text_of, time_of
from backends.openai.jobs.job_matching import key_of, origin_of
from backends.openai.profiles.profile import CheckpointResult, states_by_word

_STATES: Final = states_by_word()
"""States by the servers' words; with any other word the job is still open."""
_PAUSED: Final = "paused"
_SAID: Final = {
    "step": "step",
    "train_loss": "loss",
    "valid_loss": "held-out loss",
    "full_valid_loss": "full held-out loss",
}


def raw_state(job: Body) -> JobState:
    """Return the state that the server's word means; an unknown word means that the job is open."""
    word = _STATES.get(str(job.get("status")).lower(), _PAUSED)
    return JobState.RUNNING if word == _PAUSED else JobState(word)


def state_of(job: Body) -> JobState:
    """Return a job's state; a succeeded job without a model is still open."""
    state = raw_state(job)
    if state is JobState.SUCCEEDED and not model_of(job):
        # Some servers report the model's name a little later.
        return JobState.RUNNING
    return state


def model_of(job: Body) -> str | None:
    """Return the name of the model that a job made."""
    return name_in(job.get("fine_tuned_model")) or None


def to_job(
    job: Body,
    *,
    key: tuple[str, int] | None = None,
    origins: Sequence[str] = (),
    facts: Mapping[str, Json] | None = None,
    progress: Progress | None = None,
) -> Job:
    """Translate a job.

    Args:
        job: As the server describes it.
        key: Fingerprint and attempt, if the job does not carry them.
        origins: `file:line` of every example, for error messages.
        facts: Further facts about a succeeded job.
        progress: The job's progress, if it is known.
    """
    fingerprint, attempt = key_of(job) or key or ("", 0)
    state = state_of(job)
    model = model_of(job)
    result = None
    if state is JobState.SUCCEEDED and model is not None:
        result = JobResult(model_id=model, facts={**job_facts(job), **(facts or {})})
    return Job(
        id=str(job.get("id")),
        fingerprint=fingerprint,
        attempt=attempt,
        state=state,
        created_s=time_of(job.get("created_at")) or 0.0,
        finished_s=None if state.is_open else time_of(job.get("finished_at")),
        progress=progress if state.is_open else None,
        result=result,
        error=_waiting(job) if state.is_open else job_error(job, origins),
        origin=origin_of(job),
    )


def job_facts(job: Body) -> dict[str, Json]:
    """Return the durable facts in a succeeded job's description."""
    facts: dict[str, Json] = {}
    tokens = number(job.get("trained_tokens"))
    if tokens is not None:
        facts["trained_tokens"] = int(tokens)
    resolved = resolved_hyperparameters(job)
    if resolved:
        facts["resolved_hyperparameters"] = resolved
    created, finished = time_of(job.get("created_at")), time_of(job.get("finished_at"))
    if created is not None and finished is not None:
        facts["seconds"] = finished - created
    if isinstance(job.get("seed"), int):
        facts["seed"] = job["seed"]
    return facts


def resolved_hyperparameters(job: Body) -> dict[str, Json]:
    """Return the hyperparameters that the server used."""
    kind = str(mapping_in(job, "method").get("type"))
    nested = mapping_in(job, "method", kind, "hyperparameters")
    found: dict[str, Json] = {}
    # `auto` turns into numbers at the older, top level first.
    for source in (nested, mapping_in(job, "hyperparameters")):
        found |= {
            key: value for key, value in source.items() if isinstance(value, int | float | str)
        }
    return found


def to_event(event: Body) -> Event:
    """Translate one event; metrics become a readable line."""
    numbers = mapping_in(event, "data")
    message = clean(event.get("message") or "")
    if event.get("type") == "metrics" and not message:
        found = ((said, number(numbers.get(key))) for key, said in _SAID.items())
        message = " · ".join(f"{said} {value:.4g}" for said, value in found if value is not None)
    return Event(time_s=time_of(event.get("created_at")) or 0.0, message=message, data=numbers)


def to_progress(events: Iterable[Body]) -> Progress | None:
    """Return a job's progress from its events, newest first; None if no event reports it."""
    for event in events:
        data = mapping_in(event, "data")
        step, total = number(data.get("step")), number(data.get("total_steps"))
        if step is None:
            continue
        held_out = number(data.get("full_valid_loss"))
        return Progress(
            step=int(step),
            total_steps=int(total or 0),
            epoch=number(data.get("epoch")) or 0.0,
            loss=number(data.get("train_loss")),
            held_out_loss=number(data.get("valid_loss")) if held_out is None else held_out,
        )
    return None


def job_progress(job: Body) -> Progress | None:
    """Return a job's progress from the job itself; None if it does not report it."""
    step, total = number(job.get("trained_steps")), number(job.get("total_steps"))
    if step is None or not total:
        return None
    return Progress(step=int(step), total_steps=int(total))


def to_checkpoints(
    listed: Iterable[Body], result: CheckpointResult | None = None, job_id: str = ""
) -> list[dict[str, Json]]:
    """Return the models saved during training, by step.

    Args:
        listed: The checkpoints as the server describes them.
        result: How a checkpoint is called and kept, where the job names no model.
        job_id: The job that saved them.
    """
    found: list[dict[str, Json]] = []
    for checkpoint in listed:
        model: str | None = text_of(checkpoint.get("fine_tuned_model_checkpoint"))
        if result is not None:
            model = result.model_of(job_id, checkpoint)
        step = number(checkpoint.get("step_number"))
        if not model:
            continue
        saved: dict[str, Json] = {"model": model, "step": None if step is None else int(step)}
        files = checkpoint.get(result.files) if result is not None else None
        if isinstance(files, list) and (names := [text_of(file) for file in files if file]):
            saved["files"] = list(filter(None, names))
        found.append(saved)
    return sorted(found, key=lambda checkpoint: int(str(checkpoint["step"] or 0)))


def _waiting(job: Body) -> str | None:
    """Return what an open job waits for, other than its turn."""
    status = str(job.get("status")).lower()
    if _STATES.get(status) == _PAUSED:
        return f"{status} at the server: resume it there, or cancel it"
    return None
