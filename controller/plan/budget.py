"""The budget of the whole repository: what all jobs together may cost. Pure."""

from collections.abc import Iterator, Sequence

from controller.lockfile.model import Lockfile
from controller.plan.actions import Action, Blocked, BlockReason
from controller.plan.actions.base import Cancellation


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
        if spent - freed + usd[1] > budget_usd:
            yield _over(action.name, usd[1], spent - freed, budget_usd)
            continue
        if action.cancels is not None:
            open_usd.pop(action.cancels.job, None)
        paid.add(action.target)
        spent += usd[1] - freed
        yield action


def _freed(cancels: Cancellation | None, open_usd: dict[str, float]) -> float:
    return open_usd.get(cancels.job, 0.0) if cancels is not None else 0.0


def _over(name: str, usd: float, spent: float, budget_usd: float) -> Blocked:
    reason = (
        f"up to ${usd:.2f}, with ${spent:.2f} for open and earlier jobs of this plan, "
        f"exceed budget.max_usd: {budget_usd:g}"
    )
    remedy = "Raise budget.max_usd in ftctl.yaml, or wait until open jobs have ended."
    return Blocked(name=name, reason=reason, remedy=remedy, block_reason=BlockReason.BUDGET)
