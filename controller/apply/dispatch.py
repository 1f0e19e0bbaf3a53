"""From an action to its handler. What a handler returns is recorded here, and only here."""

from typing import assert_never

from controller.apply.context import ApplyContext, Outcome, Result, with_changes
from controller.apply.deploy import deploy
from controller.apply.evaluate import evaluate, judge_again
from controller.apply.promote import promote, protect, retire, reuse
from controller.apply.prompt import prompt
from controller.apply.record import record
from controller.apply.restore import restore
from controller.apply.train import adopt, resume, train
from controller.errors import FtctlError, Problem
from controller.lockfile.model import Entry
from controller.plan.actions import (
    Action,
    Adopt,
    Blocked,
    Deferred,
    Deploy,
    Evaluate,
    Judge,
    Promote,
    Prompt,
    Protect,
    Record,
    Restore,
    Resume,
    Retire,
    Reuse,
    Train,
    Wait,
)
from controller.state_folder import refused_by_system


def apply_action(action: Action, context: ApplyContext) -> Outcome:
    """Carry out one action and record it. A failure concerns its fine-tune alone.

    Raises:
        FtctlError: The lockfile cannot be written, which concerns all of them.
    """
    _protect_first(action, context)
    try:
        result = _handle(action, context)
    except FtctlError as error:
        return Outcome(action=action, message=str(error), exit_code=error.exit_code)
    except OSError as error:
        found = refused_by_system(error, context.project.state)
        return Outcome(action=action, message=str(found), exit_code=found.exit_code)
    for name, entry in result.entries.items():
        context.lockfile.record(name, _protected(name, entry, action, context))
    message = result.message + (result.then() if result.then is not None else "")
    return Outcome(action=action, message=message, exit_code=result.exit_code)


def _protect_first(action: Action, context: ApplyContext) -> None:
    """Protect a recorded fine-tune that its spec protects, whatever becomes of the action."""
    entry = context.lockfile.entries.get(action.name)
    protected = _protected(action.name, entry, action, context)
    if entry is not None and protected != entry:
        context.lockfile.record(action.name, protected)


def _protected(
    name: str, entry: Entry | None, action: Action, context: ApplyContext
) -> Entry | None:
    """Return an entry that is protected from its first record on, if its spec says so."""
    desired = context.resolved.desired.get(name)
    if entry is None or desired is None or isinstance(action, Protect):
        return entry
    if desired.spec.lifecycle.protect and not entry.protect:
        return with_changes(entry, protect=True)
    return entry


def _handle(action: Action, context: ApplyContext) -> Result:  # noqa: C901, PLR0912 - a table, closed by mypy
    match action:
        case Train():
            return train(action, context)
        case Prompt():
            return prompt(action, context)
        case Resume():
            return resume(action, context)
        case Adopt():
            return adopt(action, context)
        case Restore():
            return restore(action, context)
        case Record():
            return record(action, context)
        case Deploy():
            return deploy(action, context)
        case Evaluate():
            return evaluate(action, context)
        case Judge():
            return judge_again(action, context)
        case Promote():
            return promote(action, context)
        case Reuse():
            return reuse(action, context)
        case Protect():
            return protect(action, context)
        case Retire():
            return retire(action, context)
        case Wait():
            return Result(message=action.reason)
        case Deferred() | Blocked():
            message = str(Problem(message=action.reason, remedy=action.remedy))
            return Result(message=message, exit_code=action.exit_code)
        case _:
            assert_never(action)
