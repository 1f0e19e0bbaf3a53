"""A server's objects as the contract's records. Pure; missing fields and nulls are normal."""

import base64
import binascii
import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from backends.contract.inspector import Json
from backends.contract.jobs import Event, Job, JobResult, JobState, Progress
from backends.openai.api.error_messages import job_error
from backends.openai.api.protocol import Body, clean
from backends.openai.jobs.job_matching import key_of
from backends.openai.jobs.origin import origin_of

_STATES: Final = {
    "validating_files": JobState.QUEUED,
    "queued": JobState.QUEUED,
    "pending": JobState.QUEUED,
    "succeeded": JobState.SUCCEEDED,
    "failed": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
    "canceled": JobState.CANCELLED,
}
"""States by the server's word; with any other word the job is still open."""
_STILL: Final = {"paused", "pausing"}
_METRICS: Final = {
    "train_loss": "loss",
    "full_valid_loss": "held_out_loss",
    "train_mean_token_accuracy": "accuracy",
    "full_valid_mean_token_accuracy": "held_out_accuracy",
}
_SAID: Final = {
    "step": "step",
    "train_loss": "loss",
    "valid_loss": "held-out loss",
    "full_valid_loss": "full held-out loss",
}


def state_of(job: Body) -> JobState:
    """Return a job's state; an unknown word means that the job is still open."""
    state = _STATES.get(str(job.get("status")).lower(), JobState.RUNNING)
    if state is JobState.SUCCEEDED and not model_of(job):
        # Some servers report the model's name a little later.
        return JobState.RUNNING
    return state


def model_of(job: Body) -> str | None:
    """Return the name of the model that a job made."""
    model = job.get("fine_tuned_model")
    return model if isinstance(model, str) and model else None


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
        created_s=_number(job.get("created_at")) or 0.0,
        finished_s=None if state.is_open else _number(job.get("finished_at")),
        progress=progress if state.is_open else None,
        result=result,
        error=_waiting(job) if state.is_open else job_error(job, origins),
        origin=origin_of(job),
    )


def job_facts(job: Body) -> dict[str, Json]:
    """Return the durable facts in a succeeded job's description."""
    facts: dict[str, Json] = {}
    tokens = _number(job.get("trained_tokens"))
    if tokens is not None:
        facts["trained_tokens"] = int(tokens)
    resolved = resolved_hyperparameters(job)
    if resolved:
        facts["resolved_hyperparameters"] = resolved
    created, finished = _number(job.get("created_at")), _number(job.get("finished_at"))
    if created is not None and finished is not None:
        facts["seconds"] = finished - created
    if isinstance(job.get("seed"), int):
        facts["seed"] = job["seed"]
    return facts


def resolved_hyperparameters(job: Body) -> dict[str, Json]:
    """Return the hyperparameters that the server used."""
    method = job.get("method")
    settings = method.get(str(method.get("type"))) if isinstance(method, Mapping) else None
    nested = settings.get("hyperparameters") if isinstance(settings, Mapping) else None
    found: dict[str, Json] = {}
    for source in (nested, job.get("hyperparameters")):
        if isinstance(source, Mapping):
            # `auto` turns into numbers at the older, top level first.
            found |= {str(k): v for k, v in source.items() if isinstance(v, int | float | str)}
    return found


def to_event(event: Body) -> Event:
    """Translate one event; metrics become a readable line."""
    data = event.get("data")
    numbers = data if isinstance(data, Mapping) else {}
    kept = {str(key): value for key, value in numbers.items() if _is_json(value)}
    message = clean(event.get("message") or "")
    if event.get("type") == "metrics" and not message:
        found = ((said, _number(numbers.get(key))) for key, said in _SAID.items())
        message = " · ".join(f"{said} {number:.4g}" for said, number in found if number is not None)
    return Event(time_s=_number(event.get("created_at")) or 0.0, message=message, data=kept)


def to_progress(events: Iterable[Body]) -> Progress | None:
    """Return a job's progress from its events, newest first; None if no event reports it."""
    for event in events:
        data = event.get("data")
        if not isinstance(data, Mapping):
            continue
        step, total = _number(data.get("step")), _number(data.get("total_steps"))
        if step is None:
            continue
        held_out = _number(data.get("full_valid_loss"))
        return Progress(
            step=int(step),
            total_steps=int(total or 0),
            epoch=_number(data.get("epoch")) or 0.0,
            loss=_number(data.get("train_loss")),
            held_out_loss=_number(data.get("valid_loss")) if held_out is None else held_out,
        )
    return None


def to_checkpoints(listed: Iterable[Body]) -> list[dict[str, Json]]:
    """Return the models saved during training, by step."""
    found: list[dict[str, Json]] = []
    for checkpoint in listed:
        model, step = (
            checkpoint.get("fine_tuned_model_checkpoint"),
            _number(checkpoint.get("step_number")),
        )
        if isinstance(model, str) and model:
            found.append({"model": model, "step": None if step is None else int(step)})
    return sorted(found, key=lambda checkpoint: int(str(checkpoint["step"] or 0)))


def result_metrics(content: bytes) -> dict[str, Json]:
    """Return the last numbers of a result file: CSV, or base64 of it.

    Args:
        content: The file's bytes; an unreadable file gives no numbers.
    """
    text = content.decode("utf-8-sig", "replace")
    if not text.lstrip().lower().startswith("step"):
        try:
            text = base64.b64decode(content).decode("utf-8-sig", "replace")
        except (binascii.Error, ValueError):
            return {}
    if not text.lstrip().lower().startswith("step"):
        return {}
    last: dict[str, Json] = {}
    best: float | None = None
    for row in _rows(text):
        for column, value in row.items():
            number = _number(value)
            if column and number is not None:
                last[column] = int(number) if column == "step" else number
        held_out = _number(row.get("full_valid_loss")) or _number(row.get("valid_loss"))
        if held_out is not None:
            best = held_out if best is None else min(best, held_out)
    metrics: dict[str, Json] = {"steps": last.pop("step")} if "step" in last else {}
    metrics |= {_METRICS.get(column, column): value for column, value in last.items()}
    if "valid_loss" in metrics:
        metrics.setdefault("held_out_loss", metrics["valid_loss"])
    if best is not None:
        metrics["best_held_out_loss"] = best
    return metrics


def _rows(text: str) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(text.splitlines()))
    except csv.Error:
        return []


def _waiting(job: Body) -> str | None:
    """Return what an open job waits for, other than its turn."""
    status = str(job.get("status")).lower()
    if status in _STILL:
        return f"{status} at the server: resume it there, or cancel it"
    return None


def _number(value: Any) -> float | None:  # noqa: ANN401 - from a server or a CSV cell
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | dict | list)
