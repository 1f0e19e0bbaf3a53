"""A plan in a few lines: what it does, what it costs, remarks. Pure."""

from collections import Counter
from collections.abc import Iterable

from controller.plan.actions import Action, Reuse
from controller.plan.actions.base import FREE
from controller.plan.plan import Plan
from controller.render.shutdowns import shutdown_lines
from controller.render.text import dollars, escape_control

_NAMES = 5
"""Names that a sentence lists before it counts the rest."""


def no_changes(plan: Plan) -> str:
    """Return the sentence for a plan without actions."""
    if plan.specs == 0:
        return "No changes. No fine-tune is declared yet: add finetunes/NAME.yaml."
    held = ""
    if plan.suspended:
        names = ", ".join(escape_control(name) for name in plan.suspended[:_NAMES])
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
        f"{escape_control(name)} ({', '.join(fields)})"
        for name, fields in list(plan.corrected.items())[:_NAMES]
    ]
    more = len(plan.corrected) - len(shown)
    return (
        f"A newer recipe would train {', '.join(shown)}{f' and {more} more' if more else ''} "
        "differently. What is recorded stands; to train it again: ftctl apply --replace NAME"
    )


def notes_of(plan: Plan) -> list[str]:
    """Return a line for each end of models in production, and for each remark for the user."""
    ends = shutdown_lines(plan.shutdowns)
    return [*ends, *(f"Note: {escape_control(note)}" for note in plan.notes)]


def summary(plan: Plan) -> str:
    """Return the plan in one line, such as `Plan: 1 to train, 2 to reuse`, with a full stop."""
    styles = sorted((action.style for action in plan.actions), key=lambda style: style.rank)
    counts = Counter(style.verb for style in styles)
    return f"Plan: {', '.join(f'{count} {verb}' for verb, count in counts.items())}."


def cost(plan: Plan) -> str:
    """Return what the plan costs in one line; empty when nothing in it has a price.

    Equal inputs under several names are trained, and counted, once.
    """
    estimates, ranges = costs(plan.actions)
    unknown = len(estimates) - len(ranges)
    reused = sum(isinstance(action, Reuse) for action in plan.actions)
    parts = []
    if ranges:
        parts.append(_total(ranges))
        if unknown:
            parts.append(f"{unknown} not known")
        elif all(usd == FREE for usd in ranges):
            parts.append("on your own hardware")
    elif unknown:
        parts.append("not known")
    if reused:
        parts.append(f"{reused} reused at $0.00")
    if cancelled := _cancelled(plan):
        parts.append(cancelled)
    return f"Cost: {', '.join(parts)}." if parts else ""


def costs(
    actions: Iterable[Action],
) -> tuple[dict[str | None, tuple[float, float] | None], list[tuple[float, float]]]:
    """Return what the jobs of actions cost, by fingerprint, and the costs that are known."""
    estimates = {action.target: action.estimate.usd for action in actions if action.estimate}
    return estimates, [usd for usd in estimates.values() if usd is not None]


def _cancelled(plan: Plan) -> str:
    """Return the sunk cost of all jobs that a plan cancels."""
    jobs = {action.cancels.job: action.cancels.usd for action in plan.actions if action.cancels}
    if not jobs:
        return ""
    ranges = [usd for usd in jobs.values() if usd is not None and usd != FREE]
    what = f"{len(jobs)} running job{'' if len(jobs) == 1 else 's'} cancelled"
    return f"{what}, which may have spent some of {_total(ranges)}" if ranges else what


def _total(ranges: list[tuple[float, float]]) -> str:
    return dollars(sum(low for low, _ in ranges), sum(high for _, high in ranges))
