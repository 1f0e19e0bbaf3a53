"""Measure a recorded build again at a user's request, and apply the consequences."""

from dataclasses import dataclass, replace
from functools import partial

from backends.did_you_mean import did_you_mean, use_one_of
from controller.errors import ExitCode, FtctlError, InvalidInput, PlanStale
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.store import LockedLockfile
from controller.plan.actions import Action, Blocked, Evaluate, Promote
from controller.plan.approval import approve, identity, is_allowed
from controller.plan.desired import Desired
from controller.plan.plan import Plan
from controller.plan.versions import NEWEST
from controller.run.carry_out import carry_out, context_of
from controller.run.evaluations.requests import requests_of
from controller.run.reconcile import walk
from controller.run.result import ProgressReporter, RunResult
from controller.run.stages import PreparedRun
from controller.run.state import Run, RunOptions

_STALE = "what is planned now is not what was approved"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOrder:
    """One evaluation, planned and possibly approved."""

    prepared: PreparedRun
    plan: Plan
    """Plan with only the evaluation."""
    action: Evaluate


def plan_evaluation(name: str, recorded: Lockfile, prepared: PreparedRun) -> EvaluationOrder:
    """Plan to measure a fine-tune's candidate, or else its production build, again.

    Args:
        name: The fine-tune.
        recorded: The lockfile.
        prepared: The current specs.

    Raises:
        InvalidInput: Its spec or data has problems.
        FtctlError: It has no model yet, no held-out examples, or data that cannot be read here.
        BackendError: Its backend does not answer.
    """
    desired = _resolved(name, prepared)
    entry = recorded.finetunes.get(name, Entry())
    build = entry.builds.get(entry.candidate or entry.production or "")
    if build is None:
        raise FtctlError(f"{name} has no model yet", "Type `ftctl apply`.")
    if not desired.spec.has_held_out:
        message = f"{name} has no held-out examples, so nothing can be measured"
        raise FtctlError(message, f"Add data.held_out to {desired.file}.")
    silent = None
    if desired.spec.evaluation.asks_base:
        backend = prepared.open_backend(desired.spec.place)
        if not backend.answers(desired.base_model):
            silent = f"{desired.spec.place} cannot be asked for {desired.base_model.reference}"
    is_production = build.fingerprint == entry.production
    asked = requests_of(desired, build, entry, prepared, without_base=silent is not None)
    action = Evaluate(
        name=name,
        reason=f"`ftctl evaluate` asks for it, by version {NEWEST} of scoring",
        fingerprint=build.fingerprint,
        replaces=entry.production,
        needs_approval=(desired.paid and bool(asked.total)) or not is_production,
        without_base=silent,
        asks=asked.in_words(paid=desired.paid),
    )
    plan = replace(prepared.plan, actions=(action,), notes=())
    return EvaluationOrder(prepared=prepared, plan=plan, action=action)


def evaluate_again(
    order: EvaluationOrder, reporter: ProgressReporter, *, lock_timeout_s: float
) -> RunResult:
    """Measure, record and judge a build again, and promote it where its gate and approval allow.

    Args:
        order: The approved evaluation.
        reporter: Receives progress reports.
        lock_timeout_s: Time to wait for another run that is recording.

    Raises:
        PlanStale: The fine-tune or its spec changed meanwhile.
        LockHeld: Another run held the lock during the whole wait.
    """
    approval = approve([order.action], order.plan.decisions, order.plan.settings)
    options = RunOptions(approval=approval, wait=False, lock_timeout_s=lock_timeout_s)
    run = Run(options=options, reporter=reporter, prepared=order.prepared)
    name, inputs = order.action.name, order.prepared.loaded.inputs
    with run.lock(f"evaluate {name}") as lockfile:
        walk(inputs, lambda: lockfile.lockfile, partial(_evaluate, order, run, lockfile))
        if run.result.exit_code is ExitCode.DONE:
            walk(inputs, lambda: lockfile.lockfile, partial(_promote, name, run, lockfile))
    return run.result


def _evaluate(
    order: EvaluationOrder, run: Run, lockfile: LockedLockfile, prepared: PreparedRun
) -> None:
    name = order.action.name
    now = plan_evaluation(name, lockfile.lockfile, prepared)
    is_same = identity(now.action) == identity(order.action)
    if not is_same or not _is_allowed(now.action, now.plan, run):
        raise PlanStale(_STALE, f"Look at it again: ftctl evaluate {name}")
    carry_out(now.action, context_of(prepared, lockfile), run)


def _promote(name: str, run: Run, lockfile: LockedLockfile, prepared: PreparedRun) -> None:
    following = prepared.plan.of(name)
    if isinstance(following, Promote) and _is_allowed(following, prepared.plan, run):
        carry_out(following, context_of(prepared, lockfile), run)


def _is_allowed(action: Action, plan: Plan, run: Run) -> bool:
    decision = plan.decisions.get(action.name)
    return is_allowed(action, decision, plan.settings, run.options.approval)


def _resolved(name: str, prepared: PreparedRun) -> Desired:
    """Return the inputs that a spec asks for.

    Raises:
        InvalidInput: The spec or its data has problems.
        FtctlError: There is no spec, or its data cannot be read on this machine.
    """
    unresolved = prepared.resolved.unresolved.get(name)
    if isinstance(unresolved, Blocked) and unresolved.problems:
        raise InvalidInput(unresolved.problems)
    if unresolved is not None:
        raise FtctlError(f"{name}: {unresolved.reason}", unresolved.remedy)
    if name not in prepared.desired:
        known = sorted([*prepared.desired, *prepared.resolved.unresolved])
        remedy = did_you_mean(name, known) or use_one_of(known)
        raise FtctlError(f"no spec is called {name!r}", remedy)
    return prepared.desired[name]
