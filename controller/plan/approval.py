"""What a person approved, and what may be carried out because of it. Pure.

Approval is for a list of actions by identity. A later pass of the same run plans again, and carries
out an action only if it was in the list, or follows from one that was: a `Train` implies its own
`Record`, `Evaluate` and `Promote`. Without approval only what needs none is carried out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from backends.contract.inspector import Json
from controller.canonical import digest
from controller.lockfile.model import OpenJob
from controller.plan.actions import (
    Action,
    Adopt,
    Cancellation,
    Desired,
    Evaluate,
    Judge,
    Promote,
    Protect,
    Record,
    Restore,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.spec.model import Spec

ID_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a run may do."""

    actions: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    """The actions that a person saw, by fine-tune: more than one where one prepares the next."""
    decisions: Mapping[str, str] = field(default_factory=dict)
    """What was decided in each spec then; see `Plan.decisions`."""
    settings: str = ""
    """What was decided in `ftctl.yaml` then; see `Plan.settings`."""


def approve(
    actions: Iterable[Action],
    decisions: Mapping[str, str],
    settings: str = "",
    only: Collection[str] = (),
) -> Approval:
    """Return the approval of a plan's actions, or of some fine-tunes' alone."""
    seen: dict[str, tuple[Action, ...]] = {}
    for action in actions:
        if not only or action.name in only:
            seen[action.name] = (*seen.get(action.name, ()), action)
    return Approval(
        actions=seen,
        decisions={name: decisions[name] for name in seen if name in decisions},
        settings=settings,
    )


def is_allowed(
    action: Action, decision: str | None, settings: str, approval: Approval | None
) -> bool:
    """Return whether an action may be carried out.

    Args:
        action: From a plan made a moment ago.
        decision: What is decided in the fine-tune's spec now; None without a readable spec.
        settings: What is decided in `ftctl.yaml` now.
        approval: Of the run; None for a run that nobody approved.
    """
    if approval is None:
        return not action.needs_approval
    seen = approval.actions.get(action.name, ())
    if isinstance(action, Record) and any(
        is_own_job(action.job.fingerprint, one) or _cancels(one, action.job.id) for one in seen
    ):
        return True
    if not seen or is_decided_otherwise(action.name, decision, settings, approval):
        return False
    if isinstance(action, Evaluate | Judge | Promote) and not _replaces_as_seen(action, seen):
        return False
    if not action.needs_approval:
        return True
    return any(identity(action) == identity(one) or _follows(action, one) for one in seen)


def is_decided_otherwise(
    name: str, decision: str | None, settings: str, approval: Approval
) -> bool:
    """Return whether a spec or `ftctl.yaml` asks for something else than what was approved."""
    return decision != approval.decisions.get(name) or settings != approval.settings


def is_own_job(fingerprint: str, seen: Action) -> bool:
    """Return whether a job is one that an approved action submits, takes over or waits for."""
    match seen:
        case Train():
            return fingerprint == seen.fingerprint
        case Wait() | Resume() | Record() | Adopt():
            return fingerprint == seen.job.fingerprint
        case Restore():
            return seen.entry.job is not None and fingerprint == seen.entry.job.fingerprint
        case Protect():
            return seen.job is not None and fingerprint == seen.job.fingerprint
        case _:
            return False


def owns(job: OpenJob, approval: Approval | None, name: str) -> bool:
    """Return whether a run follows an open job: its own, or any when nobody approved anything."""
    if approval is None:
        return True
    return any(is_own_job(job.fingerprint, one) for one in approval.actions.get(name, ()))


def decisions_of(desired: Desired) -> str:
    """Return the digest of what a person decides in one spec; words for people are no part."""
    spec = desired.spec
    return digest(
        {
            "inputs": desired.fingerprint,
            "evaluation": desired.evaluation_fingerprint,
            **_gate(spec),
            "lifecycle": spec.lifecycle.model_dump(mode="json"),
            "budget": spec.budget.model_dump(mode="json"),
            "tracking": spec.tracking.model_dump(mode="json"),
        }
    )


def terms_of(spec: Spec, evaluation_fingerprint: str) -> str:
    """Return the digest of the terms on which a job's model may go into production.

    It is kept with the job: a run that nobody approved promotes only on the terms that somebody did.
    """
    return digest({**_gate(spec), "evaluation": evaluation_fingerprint})


def _gate(spec: Spec) -> dict[str, Json]:
    """Return a gate as digested. `allows_worse` appears only if true, to keep older digests."""
    gate: dict[str, Json] = {"gate": list(spec.gate)}
    return gate | {"allows_worse": True} if spec.allows_worse else gate


def plan_id(actions: Iterable[Action], decisions: Mapping[str, str], settings: str) -> str:
    """Return the digest of everything that a person decides by."""
    value: dict[str, Json] = {
        "actions": [identity(action) for action in actions if action.needs_approval],
        "decisions": dict(decisions),
        "settings": settings,
    }
    return digest(value)[:ID_DIGITS]


def identity(action: Action) -> Json:
    """Return what makes an action that action: what it does, costs, cancels and replaces."""
    return {"action": type(action).__name__, "name": action.name, **dict(_decisive(action))}


def _decisive(action: Action) -> Iterator[tuple[str, Json]]:
    match action:
        case Train():
            yield "fingerprint", action.fingerprint
            yield "attempt", action.attempt
            yield "usd", action.estimate.usd
            yield "gpu_hours", action.estimate.gpu_hours
        case Reuse():
            yield "fingerprint", action.fingerprint
            yield "source", action.source
            yield "promote", action.promote
        case Adopt():
            yield "job", action.job.id
            yield "fingerprint", action.job.fingerprint
        case Restore():
            yield "builds", sorted(action.entry.builds)
            yield "production", action.entry.production
            yield "source", action.source
        case Protect():
            yield "protect", action.protect
        case Evaluate() | Judge() | Promote():
            yield "fingerprint", action.fingerprint
        case _:
            pass
    if isinstance(action, Train | Reuse | Adopt | Retire | Evaluate | Judge | Promote):
        yield "replaces", action.replaces
    if isinstance(action, Train | Reuse | Adopt | Retire):
        yield "cancels", _cancelled(action.cancels)


def _cancelled(cancels: Cancellation | None) -> Json:
    return None if cancels is None else {"job": cancels.job, "usd": cancels.usd}


def _follows(action: Action, seen: Action) -> bool:
    """Return whether an action that needs approval is implied by one that has it.

    What a run may cost, cancel or replace can only become less than what was seen.
    """
    match action:
        case Evaluate() | Judge() | Promote():
            return not isinstance(seen, Retire | Protect)
        case Train() if isinstance(seen, Train):
            return (
                (action.fingerprint, action.attempt) == (seen.fingerprint, seen.attempt)
                and _at_most(action.estimate.usd, seen.estimate.usd)
                and _at_most(action.estimate.gpu_hours, seen.estimate.gpu_hours)
                and _cancels_no_more(action, seen)
            )
        case Adopt() if isinstance(seen, Train | Adopt | Restore):
            same = isinstance(seen, Restore) or action.job.fingerprint == _target(seen)
            return same and _cancels_no_more(action, seen)
        case Reuse() if isinstance(seen, Train | Adopt | Reuse | Restore | Wait | Resume | Record):
            same = isinstance(seen, Restore) or action.fingerprint == _target(seen)
            return same and _cancels_no_more(action, seen)
        case Retire() if isinstance(seen, Retire):
            return _cancels_no_more(action, seen)
        case Protect():
            return not isinstance(seen, Retire)
        case _:
            return False


def _target(action: Action) -> str:
    match action:
        case Train() | Reuse():
            return action.fingerprint
        case Adopt() | Wait() | Resume() | Record():
            return action.job.fingerprint
        case _:
            return ""


def _replaces_as_seen(action: Evaluate | Judge | Promote, seen: tuple[Action, ...]) -> bool:
    """Return whether production is still the build that the approved actions replace."""
    replaced = {one.replaces for one in seen if isinstance(one, _REPLACING)}
    return not replaced or action.replaces in {*replaced, action.fingerprint}


_REPLACING = (Train, Reuse, Adopt, Evaluate, Judge, Promote)


def _at_most(cost: tuple[float, float] | None, seen: tuple[float, float] | None) -> bool:
    return cost == seen or (cost is not None and seen is not None and cost[1] <= seen[1])


def _cancels(action: Action, job: str) -> bool:
    if not isinstance(action, Train | Adopt | Reuse | Retire):
        return False
    return action.cancels is not None and action.cancels.job == job


def _cancels_no_more(action: Train | Adopt | Reuse | Retire, seen: Action) -> bool:
    return action.cancels is None or _cancels(seen, action.cancels.job)
