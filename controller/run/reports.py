"""Reports on actions that a run does not carry out, each made once."""

from dataclasses import replace

from controller.apply.context import Outcome
from controller.errors import ExitCode
from controller.lockfile.model import Entry
from controller.plan.actions import Action, Blocked, BlockReason
from controller.plan.actions.hold import HeldAction
from controller.plan.approval import Approval, is_decided_otherwise, owns
from controller.plan.job_steps import JobStep, step_of
from controller.run.state import Run

CHANGED = "the specs changed while this run waited"
_OTHERWISE = "what is planned now is not what this run was approved for"


def is_settled(action: Action, run: Run) -> bool:
    """Return True if a run is done with a fine-tune, or has no part in what holds it."""
    if action.name in run.result.failed:
        return True
    if not isinstance(action, HeldAction):
        return False
    if run.options.approval is None and action.is_for_apply:
        return True
    if isinstance(action, Blocked) and _is_outage(action, run):
        return True
    return any(
        outcome.action.name == action.name and type(outcome.action) is type(action)
        for outcome in run.result.outcomes
    )


def _is_outage(action: Blocked, run: Run) -> bool:
    """Return True if a run waits for a job that cannot be seen, and is still patient."""
    if action.block_reason is not BlockReason.UNREACHABLE or action.job is None:
        return False
    if not (run.options.wait and run.passes):
        return False
    run.note_outage(action.name, action.reason, action.remedy)
    return run.is_patient


def change_of(action: Action, run: Run, entry: Entry | None) -> Outcome | None:
    """Return the report that a fine-tune of a run is not what was approved any more, if it is so."""
    approval, plan = run.options.approval, run.prepared.plan
    seen = approval.actions.get(action.name, ()) if approval is not None else ()
    if approval is None or all(isinstance(one, HeldAction) for one in seen):
        return None
    if entry is not None and entry.job is not None and owns(entry.job, approval, action.name):
        job = plan.jobs.get(entry.job.id)
        if step_of(job) in {JobStep.WAIT, JobStep.REPORT_LOST}:
            return None  # it is waited for, and recorded
    decision = plan.decisions.get(action.name)
    edited = is_decided_otherwise(action.name, decision, plan.settings, approval)
    what = CHANGED if edited else _OTHERWISE
    message = f"{what}: `ftctl apply` again\n    Now planned: {_planned(action)}"
    return Outcome(action=action, message=message, exit_code=ExitCode.PLAN_STALE)


def kept_for(heir: str, action: Action, approval: Approval | None) -> Outcome | None:
    """Return the report that a fine-tune stays because a run may not do what comes before."""
    if approval is None or heir in approval.actions:
        return None
    message = f"kept: {heir} takes a build from it first\n    Apply both: `ftctl apply`"
    return Outcome(action=action, message=message, exit_code=ExitCode.PLAN_STALE)


def as_own_doing(outcome: Outcome, run: Run) -> Outcome:
    """Return an outcome with the exit code for what a run did.

    A job that was gone before an unattended run began is `ftctl status`'s to show: otherwise one
    lost job makes every later run fail.
    """
    action = outcome.action
    is_lost = isinstance(action, Blocked) and action.block_reason is BlockReason.DRIFT
    if is_lost and run.options.approval is None and not run.passes:
        return replace(outcome, exit_code=ExitCode.DONE)
    return outcome


def _planned(action: Action) -> str:
    """Return what an action would do, in a few words, with its price."""
    usd = action.estimate.usd if action.estimate is not None else None
    price = f", ${usd[0]:,.2f} - ${usd[1]:,.2f}" if usd is not None else ""
    return f"{type(action).__name__.lower()} ({action.reason}{price})"
