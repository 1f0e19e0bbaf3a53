"""How each action looks, and what a plan comes to in one line. Pure."""

from collections import Counter
from dataclasses import dataclass
from typing import assert_never

from controller.plan.actions import (
    Action,
    Adopt,
    Blocked,
    Cancellation,
    Deferred,
    Evaluate,
    Judge,
    Obstacle,
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
from controller.plan.plan import Plan
from controller.render.text import safe

_NAMES = 5
"""Names that a sentence lists before it counts the rest."""
_FREE = (0.0, 0.0)
"""What a job on one's own hardware costs in US dollars."""
_VERBS = (
    "to train",
    "to retrain",
    "to reuse",
    "to adopt",
    "to restore",
    "to resume",
    "to record",
    "to evaluate",
    "to judge",
    "to promote",
    "to update",
    "to retire",
    "in progress",
    "known at apply",
    "suspended",
    "blocked",
)
"""The order in which the summary counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How an action is shown."""

    symbol: str
    sentence: str
    """Follows the fine-tune's name."""
    verb: str
    """In the summary: `1 to train`."""


def look(action: Action) -> Look:  # noqa: C901, PLR0912 - a table, closed by mypy
    """Return how an action is shown."""
    match action:
        case Train(retrain=True):
            return Look(symbol="±", sentence="will be retrained", verb="to retrain")
        case Train():
            return Look(symbol="+", sentence="will be trained", verb="to train")
        case Reuse(promote=True):
            return Look(symbol="=", sentence="goes back to a recorded build", verb="to reuse")
        case Reuse():
            return Look(symbol="=", sentence="will judge a recorded build", verb="to reuse")
        case Adopt():
            return Look(symbol="=", sentence="takes over an existing job", verb="to adopt")
        case Restore():
            return Look(symbol="=", sentence="is recorded again", verb="to restore")
        case Record():
            return Look(symbol="~", sentence="has a finished job to record", verb="to record")
        case Evaluate():
            return Look(symbol="~", sentence="will be evaluated", verb="to evaluate")
        case Judge():
            return Look(symbol="~", sentence="will be judged again", verb="to judge")
        case Promote():
            return Look(symbol="~", sentence="will be promoted", verb="to promote")
        case Protect():
            return Look(symbol="~", sentence="changes its protection", verb="to update")
        case Wait():
            return Look(symbol="»", sentence="is in progress", verb="in progress")
        case Resume():
            return Look(symbol="»", sentence="will be resumed", verb="to resume")
        case Retire():
            return Look(symbol=".", sentence="will be forgotten", verb="to retire")
        case Deferred():
            return Look(symbol="?", sentence="is known at apply", verb="known at apply")
        case Blocked(obstacle=Obstacle.SUSPENDED):
            return Look(symbol="!", sentence="is suspended", verb="suspended")
        case Blocked():
            return Look(symbol="!", sentence="is blocked", verb="blocked")
        case _:
            assert_never(action)


def no_changes(plan: Plan) -> str:
    """Return the sentence for a plan without actions."""
    if plan.specs == 0:
        return "No changes. No fine-tune is declared yet: add finetunes/NAME.yaml."
    held = ""
    if plan.suspended:
        names = ", ".join(safe(name) for name in plan.suspended[:_NAMES])
        more = len(plan.suspended) - _NAMES
        held = f" Suspended: {names}{f' and {more} more' if more > 0 else ''}."
    matching = "The one fine-tune matches its spec"
    if plan.specs != 1:
        matching = f"All {plan.specs} fine-tunes match their specs"
    return "\n".join(filter(None, [f"No changes. {matching}.{held}", corrected(plan)]))


def corrected(plan: Plan) -> str:
    """Return in one line the builds that a newer recipe would make differently, or nothing."""
    if not plan.corrected:
        return ""
    shown = [
        f"{safe(name)} ({', '.join(fields)})"
        for name, fields in list(plan.corrected.items())[:_NAMES]
    ]
    more = len(plan.corrected) - len(shown)
    return (
        f"A newer recipe would train {', '.join(shown)}{f' and {more} more' if more else ''} "
        "differently. What is recorded stands; to train it again: ftctl apply --replace NAME"
    )


def notes_of(plan: Plan) -> list[str]:
    """Return a line for each remark for the user."""
    return [f"Note: {safe(note)}" for note in plan.notes]


def summary(plan: Plan) -> str:
    """Return the plan in one line, such as `Plan: 1 to train, 2 to reuse`, with a full stop."""
    counts = Counter(look(action).verb for action in plan.actions)
    said = sorted(counts.items(), key=lambda item: _VERBS.index(item[0]))
    return f"Plan: {', '.join(f'{count} {verb}' for verb, count in said)}."


def cost(plan: Plan) -> str:
    """Return what the plan costs in one line; empty when nothing in it has a price.

    Equal inputs under several names are trained, and counted, once.
    """
    trains = [action for action in plan.actions if isinstance(action, Train)]
    estimates = {action.fingerprint: action.estimate for action in trains}.values()
    reused = sum(isinstance(action, Reuse) for action in plan.actions)
    ranges = [estimate.usd for estimate in estimates if estimate.usd is not None]
    unknown = len(estimates) - len(ranges)
    parts = []
    if ranges:
        parts.append(dollars(sum(low for low, _ in ranges), sum(high for _, high in ranges)))
        if unknown:
            parts.append(f"{unknown} not known")
        elif all(range_ == _FREE for range_ in ranges):
            parts.append("on your own hardware")
    elif unknown:
        parts.append("not known")
    if reused:
        parts.append(f"{reused} reused at $0.00")
    if cancelled := _cancelled(plan):
        parts.append(cancelled)
    return f"Cost: {', '.join(parts)}." if parts else ""


def cancels_of(action: Action) -> Cancellation | None:
    """Return the running job that an action cancels."""
    return action.cancels if isinstance(action, Train | Reuse | Adopt | Retire) else None


def cancels_text(cancels: Cancellation) -> str:
    """Return which job is cancelled, and its price: `job ftjob-1 at openai, of $40.00 - $80.00`."""
    usd = ", of unknown cost" if cancels.usd is None else f", of {dollars(*cancels.usd)}"
    free = cancels.usd == _FREE
    return f"job {safe(cancels.job)} at {safe(cancels.backend)}{'' if free else usd}"


def _cancelled(plan: Plan) -> str:
    """Return the sunk cost of all jobs that a plan cancels."""
    jobs = {one.job: one for action in plan.actions if (one := cancels_of(action)) is not None}
    if not jobs:
        return ""
    ranges = [one.usd for one in jobs.values() if one.usd is not None and one.usd != _FREE]
    what = f"{len(jobs)} running job{'' if len(jobs) == 1 else 's'} cancelled"
    if not ranges:
        return what
    spent = dollars(sum(low for low, _ in ranges), sum(high for _, high in ranges))
    return f"{what}, which may have spent some of {spent}"


def dollars(low: float, high: float) -> str:
    """Return a range of US dollars: `$40.00 - $80.00`."""
    return f"${low:,.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"${low:,.2f} - ${high:,.2f}"
