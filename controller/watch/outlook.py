"""What a pass came to, in the words of the log, of `/healthz` and of a commit's status. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controller.plan.actions import Blocked, BlockReason, Deferred
from controller.plan.plan import Plan
from controller.run.result import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Where the fine-tunes are after a pass."""

    finetunes: int
    waiting: tuple[str, ...] = ()
    """Fine-tunes with an open job, or that wait for another fine-tune."""
    stopped: Mapping[str, str]
    """Fine-tunes that wait for a person, each with the reason and what to do."""
    left: tuple[str, ...] = ()
    """Fine-tunes with actions that need an approval, and have none."""

    @property
    def state(self) -> str:
        """State of the commit, in GitHub's words."""
        if self.stopped:
            return "failure"
        return "pending" if self.waiting or self.left else "success"

    @property
    def description(self) -> str:
        """The same in a sentence without names, which are anybody's words."""
        if not (self.stopped or self.waiting or self.left):
            return f"{_count(self.finetunes)} as declared"
        parts = (
            (self.stopped, "{} to be looked at: `ftctl plan` tells why"),
            (self.waiting, "{} in progress"),
            (self.left, "{} to be approved"),
        )
        return "; ".join(text.format(_count(len(names))) for names, text in parts if names)


def outlook_of(
    plan: Plan,
    result: RunResult,
    *,
    paused: Mapping[str, str],
    left: Collection[str],
    finetunes: int,
) -> Outlook:
    """Return where the fine-tunes are.

    Args:
        plan: The first plan of the pass.
        result: What carrying it out came to.
        paused: Fine-tunes that were not tried, because something failed a moment ago.
        left: Fine-tunes with an action that needs an approval, and has none.
        finetunes: Number of declared fine-tunes.
    """
    stopped = {
        action.name: _why(action.reason, action.remedy)
        for action in plan.actions
        if isinstance(action, Blocked) and action.block_reason is not BlockReason.SUSPENDED
    }
    stopped |= {
        action.name: _why(action.reason, action.remedy)
        for action in plan.actions
        if isinstance(action, Deferred) and not action.parent
    }
    stopped |= paused
    for outcome in result.outcomes:
        if outcome.exit_code:
            stopped.setdefault(outcome.action.name, outcome.message)
        elif outcome.action.acts:
            stopped.pop(outcome.action.name, None)
    waiting = {action.name for action in plan.actions if isinstance(action, Deferred)}
    waiting |= result.waiting.keys()
    return Outlook(
        finetunes=finetunes,
        waiting=tuple(sorted(waiting - stopped.keys())),
        stopped=stopped,
        left=tuple(sorted({*left, *(action.name for action in result.left)} - stopped.keys())),
    )


def _why(reason: str, remedy: str) -> str:
    return f"{reason}\n{remedy}" if remedy else reason


def _count(number: int) -> str:
    return f"{number} fine-tune{'' if number == 1 else 's'}"
