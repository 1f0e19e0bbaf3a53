"""Measure a recorded build again at a user's request, and apply the consequences."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from backends.did_you_mean import did_you_mean, use_one_of
from controller.apply.context import ApplyContext
from controller.apply.dispatch import apply_action
from controller.errors import ExitCode, FtctlError, InvalidInput, PlanStale
from controller.lockfile.model import Entry, Lockfile
from controller.lockfile.store import Ledger, hold
from controller.plan.actions import Action, Blocked, Desired, Evaluate, Promote
from controller.plan.approval import approve, identity, is_allowed
from controller.plan.plan import Plan
from controller.plan.versions import NEWEST
from controller.project.project import Project
from controller.run.interrupts import defer_interrupt
from controller.run.prepare import PreparedRun, prepare_pass
from controller.run.result import ProgressReporter, RunResult

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
        FtctlError: It has no model yet, or its data cannot be read on this machine.
        BackendError: Its backend does not answer.
    """
    desired = _resolved(name, prepared)
    entry = recorded.finetunes.get(name, Entry())
    build = entry.builds.get(entry.candidate or entry.production or "")
    if build is None:
        raise FtctlError(f"{name} has no model yet", "Type `ftctl apply`.")
    silent = None
    if "base" in desired.spec.evaluation.compare_to:
        backend = prepared.open_backend(desired.spec.place)
        if not backend.answers(desired.base_model):
            silent = f"{desired.spec.place} cannot be asked for {desired.base_model.reference}"
    is_production = build.fingerprint == entry.production
    action = Evaluate(
        name=name,
        reason=f"`ftctl evaluate` asks for it, by version {NEWEST} of scoring",
        fingerprint=build.fingerprint,
        replaces=entry.production,
        needs_approval=desired.paid or not is_production,
        without_base=silent,
        asks=_asks(desired),
    )
    plan = replace(prepared.plan, actions=(action,), notes=())
    return EvaluationOrder(prepared=prepared, plan=plan, action=action)


def evaluate_again(
    project: Project, order: EvaluationOrder, reporter: ProgressReporter, *, lock_timeout_s: float
) -> RunResult:
    """Measure, record and judge a build again, and promote it where its gate and approval allow.

    Args:
        project: The repository.
        order: The approved evaluation.
        reporter: Receives progress reports.
        lock_timeout_s: Time to wait for another run that is recording.

    Raises:
        PlanStale: The fine-tune or its spec changed meanwhile.
        LockHeld: Another run held the lock during the whole wait.
    """
    result, action = RunResult(), order.action
    approval = approve([action], order.plan.decisions, order.plan.settings)
    purpose = f"evaluate {action.name}"
    with hold(project.root, project.state, timeout_s=lock_timeout_s, purpose=purpose) as ledger:
        prepared = prepare_pass(project, ledger.lockfile, order.prepared)
        now = plan_evaluation(action.name, ledger.lockfile, prepared)
        decision = now.plan.decisions.get(action.name)
        is_same = identity(now.action) == identity(action)
        if not is_same or not is_allowed(now.action, decision, now.plan.settings, approval):
            raise PlanStale(_STALE, f"Look at it again: ftctl evaluate {action.name}")
        _carry_out(now.action, _context(project, ledger, prepared), reporter, result)
        if result.exit_code is not ExitCode.DONE:
            return result
        prepared = prepare_pass(project, ledger.lockfile, prepared)
        following, plan = prepared.plan.of(action.name), prepared.plan
        decision = plan.decisions.get(action.name)
        if isinstance(following, Promote) and is_allowed(
            following, decision, plan.settings, approval
        ):
            _carry_out(following, _context(project, ledger, prepared), reporter, result)
    return result


def _carry_out(
    action: Action, context: ApplyContext, reporter: ProgressReporter, result: RunResult
) -> None:
    with defer_interrupt():
        reporter.starting(action)
        outcome = apply_action(action, context)
        reporter.done(outcome)
        result.outcomes.append(outcome)


def _context(project: Project, ledger: Ledger, prepared: PreparedRun) -> ApplyContext:
    return ApplyContext(
        project=project,
        ledger=ledger,
        resolved=prepared.resolved,
        open_backend=prepared.open_backend,
        now=lambda: datetime.now(UTC),
    )


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


def _asks(desired: Desired) -> str:
    """Return the number of requests, and their cost."""
    count = desired.data.held_out.examples
    examples = f"{count} held-out example{'' if count == 1 else 's'}"
    limit = f"answers of up to {desired.spec.evaluation.max_tokens} tokens"
    compared = ", ".join(["this build", *sorted(set(desired.spec.evaluation.compare_to))])
    cost = "which the service charges for" if desired.paid else "at $0.00"
    return f"{examples} of {compared}, {limit}, {cost}"
