"""The last stage of a walk: carry out each action that may be, and report the others."""

import time
from functools import partial

from controller.apply.base_models import bring_base
from controller.apply.context import ApplyContext, Outcome
from controller.apply.dispatch import apply_action
from controller.errors import FtctlError
from controller.lockfile.store import LockedLockfile
from controller.plan.actions import TRAINING, Action, Wait
from controller.plan.approval import is_allowed
from controller.plan.order import heir_of, in_order
from controller.run.interrupts import defer_interrupt
from controller.run.reports import as_own_doing, change_of, is_settled, kept_for
from controller.run.stages import PreparedRun
from controller.run.state import Run
from controller.run.tracking import track

FRESH_S = 10.0
"""Seconds for which a pass acts on one reading of the specs: an evaluation may take an hour."""


def carry_out_plan(run: Run, lockfile: LockedLockfile) -> bool:
    """Carry out the newest plan; return True if another pass may find something to do.

    Raises:
        FtctlError: The settings have problems since the run began.
    """
    _require_settings(run)
    plan, approval, moved = run.prepared.plan, run.options.approval, False
    context = context_of(run.prepared, lockfile)
    left: list[Action] = []
    changed: set[str] = set()
    until_s = time.monotonic() + FRESH_S
    for action in in_order(plan.actions):
        if action.name in changed or is_settled(action, run):
            continue
        if run.options.trains_only and action.acts and not isinstance(action, TRAINING):
            continue
        if not is_allowed(action, plan.decisions.get(action.name), plan.settings, approval):
            left += [action] if action.needs_approval else []
            _report(change_of(action, run, lockfile.entries.get(action.name)), run)
        elif isinstance(action, Wait):
            continue
        elif heir := heir_of(action, plan.actions):
            _report(kept_for(heir, action, approval), run)
        elif moved and time.monotonic() > until_s:
            return True
        else:
            carry_out(action, context, run)
            changed.add(action.name)
            moved = moved or action.leads_on
    run.result.left = tuple(left)
    return moved


def carry_out(action: Action, context: ApplyContext, run: Run) -> None:
    """Carry out one action, record and report it. Ctrl-C waits until then.

    An evaluated build is written to the trackers after that.
    """
    run.reporter.starting(action)
    # Ctrl-C may end a download at once: the next run continues it.
    failed = bring_base(action, context, partial(run.reporter.download, action.name))
    with defer_interrupt():
        outcome = apply_action(action, context) if failed is None else failed
        _report(as_own_doing(outcome, run), run)
    track(outcome, context, run)


def context_of(prepared: PreparedRun, lockfile: LockedLockfile) -> ApplyContext:
    """Return what handlers need to act on a plan."""
    return ApplyContext(
        project=prepared.loaded.inputs.project,
        lockfile=lockfile,
        resolved=prepared.resolved,
        open_backend=prepared.open_backend,
    )


def _report(outcome: Outcome | None, run: Run) -> None:
    if outcome is not None:
        run.reporter.done(outcome)
        run.result.outcomes.append(outcome)


def _require_settings(run: Run) -> None:
    error = run.prepared.loaded.settings_error
    if error is not None and run.passes:
        remedy = "Correct it, then `ftctl apply` again: what was done until then is recorded."
        raise FtctlError(str(error), remedy) from error
