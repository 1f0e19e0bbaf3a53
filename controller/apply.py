"""Carrying out a plan: one short handler per action; the lockfile is recorded after each."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import assert_never

from backends.base import (
    BackendError,
    Job,
    JobState,
    SubmissionUnknown,
    TrainRequest,
)
from controller.canonical import canonical_json
from controller.check import OpenBackend
from controller.errors import ExitCode, FtctlError
from controller.evaluate.gate import CANDIDATE, judge
from controller.evaluate.run import (
    Place,
    answers_path,
    compare_with,
    measure,
    require_model,
)
from controller.lock.model import (
    Build,
    Entry,
    Evaluation,
    Failure,
    OpenJob,
    Verdict,
)
from controller.lock.store import Ledger
from controller.plan.actions import (
    Action,
    Adopt,
    Blocked,
    Deferred,
    Desired,
    Evaluate,
    Judge,
    Obstacle,
    Promote,
    Protect,
    Record,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.plan.plan import ended
from controller.project import Project, current_commit
from controller.resolve import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one action."""

    action: Action
    message: str
    """For people: what was done, or why it was not."""
    exit_code: ExitCode = ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What the handlers need to act."""

    project: Project
    ledger: Ledger
    resolved: Resolved
    open_backend: OpenBackend
    now: Callable[[], datetime]


def apply_action(action: Action, hands: Hands) -> Outcome:
    """Carry out one action and record it. A failure concerns its fine-tune alone."""
    try:
        return _dispatch(action, hands)
    except SubmissionUnknown as error:
        message = _with_remedy(error.message, error.remedy)
        return Outcome(action=action, message=message, exit_code=ExitCode.SUBMISSION_UNKNOWN)
    except BackendError as error:
        message = _with_remedy(error.message, error.remedy)
        return Outcome(action=action, message=message, exit_code=ExitCode.ERROR)


def _dispatch(action: Action, hands: Hands) -> Outcome:  # noqa: C901, PLR0912 - a table, closed by mypy
    match action:
        case Train():
            return _train(action, hands)
        case Resume():
            return _resume(action, hands)
        case Adopt():
            return _adopt(action, hands)
        case Record():
            return _record(action, hands)
        case Evaluate():
            return _evaluate(action, hands)
        case Judge():
            return _judge(action, hands)
        case Promote():
            return _promote(action, hands)
        case Reuse():
            return _reuse(action, hands)
        case Protect():
            return _protect(action, hands)
        case Retire():
            return _retire(action, hands)
        case Wait():
            return Outcome(action=action, message=action.reason)
        case Deferred() | Blocked():
            code = ExitCode.ERROR if isinstance(action, Deferred) else _BLOCKED[action.obstacle]
            message = _with_remedy(action.reason, action.remedy)
            return Outcome(action=action, message=message, exit_code=code)
        case _:
            assert_never(action)


_BLOCKED = {
    Obstacle.GATE: ExitCode.GATE_FAILED,
    Obstacle.BUDGET: ExitCode.REFUSED,
    Obstacle.FAILURE: ExitCode.ERROR,
    Obstacle.DRIFT: ExitCode.ERROR,
    Obstacle.LIFECYCLE: ExitCode.ERROR,
}


def _train(action: Train, hands: Hands) -> Outcome:
    desired, request = _wanted(action.name, action.attempt, hands)
    backend = hands.open_backend(desired.spec.place)
    entry = _cancel_superseded(action.name, action.supersedes, hands)
    job = backend.submit(request)
    _save(action.name, replace_entry(entry, job=_open_job(job, desired, hands)), hands)
    return Outcome(action=action, message=f"submitted as job {job.id}")


def _resume(action: Resume, hands: Hands) -> Outcome:
    desired, request = _wanted(action.name, action.job.attempt, hands)
    if action.job.fingerprint != request.fingerprint:
        raise FtctlError(f"{action.name}: the interrupted job has other inputs than the spec")
    hands.open_backend(desired.spec.place).submit(request)
    return Outcome(action=action, message=f"job {action.job.id} goes on")


def _adopt(action: Adopt, hands: Hands) -> Outcome:
    desired = hands.resolved.desired[action.name]
    entry = _cancel_superseded(action.name, action.supersedes, hands)
    _, request = _wanted(action.name, action.job.attempt, hands)
    hands.open_backend(desired.spec.place).verify(request, action.job.id)
    opened = _open_job(action.job, desired, hands)
    _save(action.name, replace_entry(entry, job=opened), hands)
    return Outcome(action=action, message=f"took over job {action.job.id}")


def _record(action: Record, hands: Hands) -> Outcome:
    entry, job = _entry(action.name, hands), action.job
    opened = entry.job
    if opened is None or opened.id != job.id:
        raise FtctlError(f"{action.name}: job {job.id} is not the one that is recorded")
    if job.state is JobState.SUCCEEDED and job.result is not None:
        return _record_build(action, entry, opened, hands)
    error = f"failed: {(job.error or 'it gave no reason').strip()}"
    if job.state is JobState.CANCELLED:
        error = "was cancelled"
    failure = Failure(
        job=job.id,
        backend=opened.backend,
        attempt=opened.attempt,
        error=error,
        finished=_time(job.finished_s, hands),
    )
    failures = {**entry.failures, opened.fingerprint: failure}
    desired = hands.resolved.desired.get(action.name)
    if desired is None or desired.fingerprint != opened.fingerprint:
        return _record_unwanted(action, entry, failures, hands)
    _save(action.name, replace_entry(entry, job=None, failures=failures), hands)
    remedy = f"`ftctl logs {action.name}` shows its log; `ftctl retry {action.name}` tries again."
    message = _with_remedy(f"job {job.id} {error}", remedy)
    return Outcome(action=action, message=message, exit_code=ExitCode.ERROR)


def _record_unwanted(
    action: Record, entry: Entry, failures: dict[str, Failure], hands: Hands
) -> Outcome:
    """Record the end of a job whose inputs nobody wants any more: no reason to stop.

    A cancelled one was most likely cancelled for just that, by a run that died before it could
    say so, and is no failure.
    """
    cancelled = action.job.state is JobState.CANCELLED
    kept = entry.failures if cancelled else failures
    _save(action.name, replace_entry(entry, job=None, failures=kept), hands)
    message = f"{ended(action.job)}; its inputs are not wanted any more"
    return Outcome(action=action, message=message)


def _record_build(action: Record, entry: Entry, opened: OpenJob, hands: Hands) -> Outcome:
    job = action.job
    assert job.result is not None  # noqa: S101 - the caller looked
    build = Build(
        fingerprint=opened.fingerprint,
        attempt=opened.attempt,
        backend=opened.backend,
        job=job.id,
        model_id=job.result.model_id,
        inputs=opened.inputs,
        base_model=opened.base_model,
        revision=opened.revision,
        data=opened.data,
        facts=json.loads(canonical_json(job.result.facts)),
        estimate_usd=opened.estimate_usd,
        submitted=opened.submitted,
        finished=_time(job.finished_s, hands),
        spec_commit=opened.spec_commit,
    )
    recorded = replace_entry(
        entry,
        job=None,
        candidate=build.fingerprint,
        builds={**entry.builds, build.fingerprint: build},
        failures={k: v for k, v in entry.failures.items() if k != build.fingerprint},
    )
    _save(action.name, recorded, hands)
    return Outcome(action=action, message=f"trained {build.model_id}")


def _evaluate(action: Evaluate, hands: Hands) -> Outcome:
    entry, desired = _entry(action.name, hands), hands.resolved.desired[action.name]
    build = entry.builds[action.fingerprint]
    comparison = compare_with(desired, build, entry, _place(hands))
    measured = measure(
        desired.spec.evaluation,
        comparison.models,
        held_out=hands.resolved.datasets[action.name].held_out.path,
        answers_file=answers_path(
            hands.project.state, build.fingerprint, desired.evaluation_fingerprint
        ),
    )
    scores = {**comparison.recorded, **measured}
    evaluation = Evaluation(
        fingerprint=desired.evaluation_fingerprint,
        inputs=json.loads(canonical_json(desired.evaluation_inputs)),
        scores=scores,
        production_build=comparison.production_build,
        evaluated=_time(None, hands),
    )
    verdict = _verdict(desired, evaluation)
    judged = build.model_copy(update={"evaluation": evaluation, "verdict": verdict})
    builds = {**entry.builds, build.fingerprint: judged}
    _save(action.name, replace_entry(entry, builds=builds), hands)
    return Outcome(action=action, message=_spoken(verdict, scores[CANDIDATE]))


def _judge(action: Judge, hands: Hands) -> Outcome:
    entry, desired = _entry(action.name, hands), hands.resolved.desired[action.name]
    build = entry.builds[action.fingerprint]
    if build.evaluation is None:
        raise FtctlError(f"{action.name}: a build without scores cannot be judged")
    verdict = _verdict(desired, build.evaluation)
    judged = build.model_copy(update={"verdict": verdict})
    _save(
        action.name, replace_entry(entry, builds={**entry.builds, build.fingerprint: judged}), hands
    )
    return Outcome(action=action, message=_spoken(verdict, build.evaluation.scores[CANDIDATE]))


def _promote(action: Promote, hands: Hands) -> Outcome:
    entry = _entry(action.name, hands)
    protect = hands.resolved.desired[action.name].spec.lifecycle.protect
    promoted = replace_entry(entry, production=action.fingerprint, candidate=None, protect=protect)
    _save(action.name, promoted, hands)
    build = entry.builds[action.fingerprint]
    return Outcome(action=action, message=f"{build.model_id} is in production")


def _reuse(action: Reuse, hands: Hands) -> Outcome:
    entry = _cancel_superseded(action.name, action.supersedes, hands)
    desired = hands.resolved.desired[action.name]
    build = hands.ledger.lockfile.finetunes[action.source].builds[action.fingerprint]
    if action.source != action.name:
        # Another fine-tune's scores were measured with its own held-out set.
        build = build.model_copy(update={"evaluation": None, "verdict": None})
    elif action.promote and build.evaluation is not None:
        build = build.model_copy(update={"verdict": _verdict(desired, build.evaluation)})
    require_model(build, _place(hands))
    reused = replace_entry(
        entry,
        builds={**entry.builds, build.fingerprint: build},
        production=build.fingerprint if action.promote else entry.production,
        candidate=None if action.promote else build.fingerprint,
    )
    _save(action.name, reused, hands)
    place = "is in production again" if action.promote else "is the candidate"
    return Outcome(action=action, message=f"{build.model_id} {place}; nothing was trained")


def _protect(action: Protect, hands: Hands) -> Outcome:
    entry = _entry(action.name, hands)
    _save(action.name, replace_entry(entry, protect=action.protect), hands)
    return Outcome(
        action=action, message="is protected" if action.protect else "is not protected any more"
    )


def _retire(action: Retire, hands: Hands) -> Outcome:
    entry = _cancel_superseded(action.name, _job_id(_entry(action.name, hands)), hands)
    hands.ledger.record(action.name, None)
    kept = len(entry.builds)
    models = f"{kept} model{'' if kept == 1 else 's'}"
    return Outcome(action=action, message=f"forgotten; {models} kept at the backend")


def replace_entry(entry: Entry, **changes: object) -> Entry:
    """Return an entry with some fields replaced."""
    return entry.model_copy(update=changes)


def _entry(name: str, hands: Hands) -> Entry:
    return hands.ledger.lockfile.finetunes.get(name, Entry())


def _save(name: str, entry: Entry, hands: Hands) -> None:
    hands.ledger.record(name, entry)


def _job_id(entry: Entry) -> str | None:
    return entry.job.id if entry.job is not None else None


def _wanted(name: str, attempt: int, hands: Hands) -> tuple[Desired, TrainRequest]:
    request = replace(hands.resolved.requests[name], attempt=attempt)
    return hands.resolved.desired[name], request


def _cancel_superseded(name: str, job_id: str | None, hands: Hands) -> Entry:
    """Cancel a job whose inputs nobody wants any more; return the entry without it.

    Coming back to these inputs later is another attempt. A job that another fine-tune wants as
    well, because it has the same inputs, goes on.
    """
    entry = _entry(name, hands)
    if job_id is None or entry.job is None or entry.job.id != job_id:
        return entry
    job = entry.job
    others = (one for key, one in hands.resolved.desired.items() if key != name)
    if any(other.fingerprint == job.fingerprint for other in others):
        return replace_entry(entry, job=None)
    hands.open_backend(job.backend).cancel(job_id)
    attempts = {**entry.attempts, job.fingerprint: job.attempt + 1}
    return replace_entry(entry, job=None, attempts=attempts)


def _open_job(job: Job, desired: Desired, hands: Hands) -> OpenJob:
    return OpenJob(
        id=job.id,
        backend=desired.spec.place,
        fingerprint=job.fingerprint,
        attempt=job.attempt,
        inputs=json.loads(canonical_json(desired.inputs)),
        base_model=desired.spec.base_model,
        revision=desired.base_model.revision,
        data=desired.data,
        estimate_usd=desired.estimate.usd,
        submitted=_time(job.created_s, hands),
        spec_commit=current_commit(hands.project.root),
    )


def _place(hands: Hands) -> Place:
    return Place(root=hands.project.root, open_backend=hands.open_backend)


def _verdict(desired: Desired, evaluation: Evaluation) -> Verdict:
    gate = list(desired.spec.gate)
    judgement = judge(gate, evaluation.scores)
    return Verdict(passed=judgement.passed, gate=gate, failures=list(judgement.failures))


def _spoken(verdict: Verdict, scores: dict[str, float]) -> str:
    numbers = ", ".join(f"{name} {number:.4g}" for name, number in scores.items())
    if verdict.passed:
        return f"{numbers}: gate passed" if verdict.gate else numbers
    return f"{numbers}: gate failed ({'; '.join(verdict.failures)})"


def _time(seconds: float | None, hands: Hands) -> str:
    when = hands.now() if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _with_remedy(message: str, remedy: str) -> str:
    return "\n".join([message, *(f"    {line}" for line in remedy.splitlines())])
