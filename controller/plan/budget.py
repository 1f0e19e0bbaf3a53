"""The budget of the whole repository: what all jobs together may cost. Pure."""

from collections.abc import Iterator, Sequence
from math import isclose

from controller.lockfile.model import Lockfile
from controller.plan.actions import Action, Blocked, BlockReason
from controller.plan.actions.base import Cancellation
from controller.render.text import as_written, dollars, most_dollars

_ERROR = 1e-12
"""Share of an amount that floats may be off by, after some thousand additions."""


def within_budget(
    budget_usd: float, actions: Sequence[Action], recorded: Lockfile
) -> Iterator[Action]:
    """Block what would exceed a budget.

    Counted is what will be spent: every open job once, whatever number of fine-tunes shares it,
    without those that this plan cancels; and equal inputs once.

    Args:
        budget_usd: What all jobs may cost together, by the high end of their estimates.
        actions: The plan's.
        recorded: The lockfile, which knows the open jobs.
    """
    jobs = {entry.job.id: entry.job for entry in recorded.finetunes.values() if entry.job}
    for action in actions:
        if action.cancels is not None and action.estimate is None:
            jobs.pop(action.cancels.job, None)
    open_usd = {job_id: job.estimate_usd[1] for job_id, job in jobs.items() if job.estimate_usd}
    paid: set[str | None] = {job.fingerprint for job in jobs.values()}
    spent = sum(open_usd.values())
    for action in actions:
        usd = action.estimate.usd if action.estimate is not None else None
        if usd is None or action.target in paid:
            yield action
            continue
        freed = _freed(action.cancels, open_usd)
        others = max(spent - freed, 0.0)
        if exceeds(others + usd[1], budget_usd):
            yield _over(action.name, usd[1], others, budget_usd)
            continue
        if action.cancels is not None:
            open_usd.pop(action.cancels.job, None)
        paid.add(action.target)
        spent = others + usd[1]
        yield action


def exceeds(cost: float, limit: float) -> bool:
    """Return whether a cost exceeds a limit by more than the error of adding floats.

    Three jobs of $0.10 cost $0.30: as floats, their sum is a little more.
    """
    return cost > limit and not isclose(cost, limit, rel_tol=_ERROR)


def _freed(cancels: Cancellation | None, open_usd: dict[str, float]) -> float:
    return open_usd.get(cancels.job, 0.0) if cancels is not None else 0.0


def _over(name: str, usd: float, spent: float, budget_usd: float) -> Blocked:
    reason = (
        f"up to {most_dollars(usd)}, with {dollars(spent, spent)} for open and earlier jobs of this "
        f"plan, exceed budget.max_usd: {as_written(budget_usd)}"
    )
    remedy = "Raise budget.max_usd in ftctl.yaml, or wait until open jobs have ended."
    return Blocked(name=name, reason=reason, remedy=remedy, block_reason=BlockReason.BUDGET)
