"""Actions that wait although they are planned: nobody approved them, or their cost. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from controller.errors import ExitCode
from controller.plan.actions import Action
from controller.plan.actions.base import FREE
from controller.plan.approvals.saved import SavedAction, SavedPlan, action_ids
from controller.plan.budget import exceeds
from controller.plan.plan import Plan
from controller.render.text import as_written, dollars, most_dollars

_DIGITS = 6
_NAMED = 5
"""Names that a line lists before it counts the rest."""
_APPROVE = "Look at `ftctl plan`, and approve what it shows."


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An action that waits until somebody approves it."""

    action: Action
    reason: str
    remedy: str
    exit_code: ExitCode

    @property
    def message(self) -> str:
        """Reason and remedy."""
        return f"waits: {self.reason}\n    {self.remedy}"


def held_by_plan(plan: Plan, approved: Sequence[SavedPlan]) -> list[Held]:
    """Return the actions that no approved plan allows, each fine-tune by itself.

    Args:
        plan: The plan of this run.
        approved: Plans that somebody approved; what one of them has is enough.
    """
    ids, held = action_ids(plan), []
    for name, now in ids.items():
        actions = [one for one in plan.actions if one.name == name and one.needs_approval]
        reasons = [_difference(plan, name, now, actions, saved) for saved in approved]
        if "" in reasons:
            continue
        told = [reason for reason in reasons if reason is not None]
        reason = told[-1] if told else "no approved plan has it"
        held.append(_held(actions[0], f"{reason}; now planned: {_words(actions)}"))
    return held


def held_by_cost(
    actions: Iterable[Action], above_usd: float | None, approved_usd: float | None
) -> list[Held]:
    """Return the actions whose jobs together exceed what may be spent without an approval of it.

    Counted as in a budget: by the high end of the estimates, equal inputs once.

    Args:
        actions: Actions that a run is about to carry out.
        above_usd: Cost that needs no approval of its own; None for any.
        approved_usd: Cost that somebody approved; None for none.
    """
    if above_usd is None:
        return []
    jobs: dict[str | None, list[Action]] = {}
    for action in actions:
        if action.estimate is not None:
            jobs.setdefault(action.target, []).append(action)
    prices = {target: one[0].estimate.usd for target, one in jobs.items() if one[0].estimate}
    total = sum(usd[1] for usd in prices.values() if usd is not None)
    limit, spent, held = max(above_usd, approved_usd or 0.0), 0.0, []
    of_limit = f"budget.approve_above_usd: {as_written(above_usd)}"
    if approved_usd is not None:
        of_limit += f", and {dollars(approved_usd, approved_usd)} approved"
    for target, usd in prices.items():
        if usd is None:
            reason = f"its cost is not known, and ftctl.yaml has {of_limit}"
            remedy = "Add its price to ftctl.yaml: endpoints.NAME.prices."
        elif usd == FREE or not exceeds(spent + usd[1], limit):
            spent += usd[1]
            continue
        else:
            before = f" with {dollars(spent, spent)} for other jobs" if spent else ""
            reason = f"up to {most_dollars(usd[1])}{before} exceed {of_limit}"
            remedy = f"Approve the cost of all jobs: ftctl apply --approve-cost {_whole(total)}"
        held += [
            Held(action=one, reason=reason, remedy=remedy, exit_code=ExitCode.REFUSED)
            for one in jobs[target]
        ]
    return held


def cost_notes(actions: Sequence[Action], above_usd: float | None) -> list[str]:
    """Return a line if a plan's jobs may cost more than what needs no approval of its own.

    Args:
        actions: The plan's.
        above_usd: Cost that needs no approval of its own; None for any.
    """
    held = held_by_cost(actions, above_usd, None)
    if not held:
        return []
    names = ", ".join(one.action.name for one in held[:_NAMED])
    more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
    return [f"{names}{more}: {held[0].reason}. {held[0].remedy}"]


def _difference(
    plan: Plan, name: str, now: str, actions: Sequence[Action], saved: SavedPlan
) -> str | None:
    """Return why a saved plan does not allow the actions of a fine-tune.

    Returns:
        The reason; empty if it allows them, None if it has nothing of this fine-tune.
    """
    seen = saved.of(name)
    if not seen:
        return None
    if saved.settings != plan.settings:
        return f"ftctl.yaml changed since plan {saved.id} was approved"
    if saved.decisions.get(name) != plan.decisions.get(name):
        return f"its spec or its data changed since plan {saved.id} was approved"
    if any(one.id == now for one in seen):
        return ""
    if all(any(one.implies(action) for one in seen) for action in actions):
        return ""
    return f"plan {saved.id} approved {' and '.join(map(_saved_words, seen))}"


def _whole(usd: float) -> int:
    """Return a cost in whole dollars, rounded up; what floats are off by is no dollar more."""
    return ceil(round(usd, _DIGITS))


def _held(action: Action, reason: str) -> Held:
    return Held(action=action, reason=reason, remedy=_APPROVE, exit_code=ExitCode.PLAN_STALE)


def _words(actions: Sequence[Action]) -> str:
    return " and ".join(
        _describe(
            type(one).__name__.lower(),
            one.reason,
            one.estimate.usd if one.estimate is not None else None,
        )
        for one in actions
    )


def _saved_words(saved: SavedAction) -> str:
    return _describe(saved.action, saved.reason, saved.cost.usd)


def _describe(kind: str, reason: str, usd: tuple[float, float] | None) -> str:
    price = f", {dollars(*usd)}" if usd is not None else ""
    return f"{kind} ({reason}{price})"
