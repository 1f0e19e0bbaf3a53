"""Approval of a person, and the actions that it allows. Pure.

Approval is for a list of actions by identity. A later pass of the same run plans again, and carries
out an action only if it was in the list, or follows from one that was: a `Train` implies its own
`Record`, `Evaluate` and `Promote`. Without approval only what needs none is carried out.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from backends.contract.inspector import Json
from controller.canonical import digest
from controller.lockfile.model import OpenJob
from controller.plan.actions import Action, Record
from controller.plan.actions.groups import JudgingAction
from controller.plan.desired import Desired
from controller.spec.model import Spec

ID_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Actions that a run may carry out."""

    actions: Mapping[str, tuple[Action, ...]] = field(default_factory=dict)
    """The actions that a person saw, by fine-tune: more than one where one prepares the next."""
    decisions: Mapping[str, str] = field(default_factory=dict)
    """Decisions of each spec at that time; see `Plan.decisions`."""
    settings: str = ""
    """Decisions of `ftctl.yaml` at that time; see `Plan.settings`."""


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
    if isinstance(action, Record) and any(_ends_job(action, one) for one in seen):
        return True
    if not seen or is_decided_otherwise(action.name, decision, settings, approval):
        return False
    if isinstance(action, JudgingAction) and not action.replaces_as_seen(seen):
        return False
    if not action.needs_approval:
        return True
    return any(identity(action) == identity(one) or action.follows(one) for one in seen)


def is_decided_otherwise(
    name: str, decision: str | None, settings: str, approval: Approval
) -> bool:
    """Return whether a spec or `ftctl.yaml` asks for something else than what was approved."""
    return decision != approval.decisions.get(name) or settings != approval.settings


def owns(job: OpenJob, approval: Approval | None, name: str) -> bool:
    """Return whether a run follows an open job: its own, or any when nobody approved anything."""
    if approval is None:
        return True
    return any(job.fingerprint == one.own_job for one in approval.actions.get(name, ()))


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
    value: dict[str, Json] = {"action": type(action).__name__, "name": action.name}
    return value | action.decisive() | action.effects()


def _ends_job(record: Record, seen: Action) -> bool:
    """Return whether a job that ended is the job of an approved action, or one that it cancels."""
    cancelled = seen.cancels is not None and seen.cancels.job == record.job.id
    return cancelled or seen.own_job == record.job.fingerprint
