"""The table of a comment: one row for each model, the most important first. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from backends.contract.jobs import Estimate
from controller.plan.actions import Action, Blocked, BlockReason, Deferred
from controller.plan.actions.base import FREE
from controller.plan.actions.building import BuildingAction
from controller.plan.actions.train import Train
from controller.plan.desired import DataChange
from controller.render.comment.escape import code, prose, without_pipes
from controller.render.comment.facts import Review
from controller.render.text import dollars

HEAD = (
    "| model | action | why | examples | cost | time | production after |",
    "|---|---|---|---|---|---|---|",
)
_REASON_WIDTH = 300
_NAME_WIDTH = 80
_NONE = "-"
_MINUTES_BELOW = 2
"""Hours from which a time is shown in hours."""
_PROBLEMS = {
    BlockReason.INPUT,
    BlockReason.POLICY,
    BlockReason.BUDGET,
    BlockReason.MEMORY,
    BlockReason.LIFECYCLE,
}
"""Obstacles that the pull request itself puts up, or meets."""


def by_importance(actions: Iterable[Action]) -> list[Action]:
    """Return actions in the order in which a reviewer needs them.

    First what has to be corrected, then what cancels or costs, then what is not known, then what
    else a person decides, then the rest.
    """
    return sorted(actions, key=lambda action: (*_importance(action), action.name))


def _importance(action: Action) -> tuple[int, float, int]:
    rank = action.style.rank
    if isinstance(action, Blocked) and action.block_reason in _PROBLEMS:
        return 0, 0.0, rank
    if action.cancels is not None or action.hosting is not None:
        return 1, 0.0, rank
    estimate = action.estimate
    if estimate is not None and estimate.usd != FREE:
        return 2, -estimate.usd[1] if estimate.usd is not None else float("-inf"), rank
    if isinstance(action, Deferred) and not action.parent:
        return 3, 0.0, rank
    if action.needs_approval:
        return 4, 0.0, rank
    return 5 if action.acts else 6, 0.0, rank


def table_rows(actions: Sequence[Action], review: Review) -> list[str]:
    """Return a row of the table for each action."""
    return [_row(action, review) for action in actions]


def _row(action: Action, review: Review) -> str:
    style = action.style
    cells = (
        code(action.name, _NAME_WIDTH),
        f"{prose(style.symbol)} {prose(style.verb)}",
        _why(action),
        _examples(action, review),
        _cost(action),
        _time(action.estimate),
        prose(action.production_after(review.production.get(action.name))),
    )
    return f"| {' | '.join(map(without_pipes, cells))} |"


def _why(action: Action) -> str:
    said = "; ".join([action.reason, *action.review()])
    text = prose(said, _REASON_WIDTH)
    return f"{text}; {cancels(action)}" if action.cancels is not None else text


def cancels(action: Action) -> str:
    """Return in Markdown what an action cancels, and its sunk cost."""
    if action.cancels is None:
        return ""
    since = f", running since {action.cancels.submitted[:10]}" if action.cancels.submitted else ""
    spent = "" if action.cancels.usd == FREE else "; some of that may be spent"
    return f"**cancels** {prose(f'{action.cancels}{since}{spent}')}"


def signs(counts: Mapping[str, int]) -> str:
    """Return counts with their signs in Markdown; `the same` without any."""
    shown = (f"{sign}{count:,}" for sign, count in counts.items() if count)
    return prose(" ".join(shown)) or "the same"


def _examples(action: Action, review: Review) -> str:
    if not isinstance(action, BuildingAction):
        return _NONE
    diff = review.data.get(action.name)
    change: DataChange | None = action.data_change if isinstance(action, Train) else None
    total = f"{action.data.train.examples + action.data.held_out.examples:,}"
    if diff is not None and diff.difference is not None:
        counts = diff.difference.total
        change = DataChange(added=counts.added, removed=counts.removed, changed=counts.changed)
    if change is None:
        return total
    by_sign = {"+": change.added, "-": change.removed, "~": change.changed}
    return f"{signs(by_sign)} of {total}"


def _cost(action: Action) -> str:
    hourly = action.hosting.usd_per_hour if action.hosting is not None else 0.0
    then = ""
    if hourly is None:
        then = ", then an unknown price per hour"
    elif hourly:
        then = f", then ${hourly:,.2f} per hour"
    if action.estimate is None:
        return prose(f"$0.00{then}") if action.needs_approval or then else _NONE
    usd = action.estimate.usd
    return prose(f"{'not known' if usd is None else dollars(*usd)}{then}")


def _hours(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < _MINUTES_BELOW else f"{hours:.1f} h"


def _time(estimate: Estimate | None) -> str:
    if estimate is None:
        return _NONE
    if estimate.gpu_hours is not None:
        low, high = map(_hours, estimate.gpu_hours)
        return low if low == high else f"{low} to {high}"
    return f"{estimate.steps:,} steps" if estimate.steps is not None else _NONE
