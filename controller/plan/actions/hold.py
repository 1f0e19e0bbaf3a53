"""Do nothing, for a reason that a person can remove. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from backends.contract.inspector import Json
from controller.errors import ExitCode, Problem
from controller.plan.actions.base import ActionStyle, BaseAction


class BlockReason(StrEnum):
    """Kind of obstacle that stops a fine-tune until a person acts."""

    GATE = "gate"
    BUDGET = "budget"
    FAILURE = "failure"
    DRIFT = "drift"
    LIFECYCLE = "lifecycle"
    SUSPENDED = "suspended"
    INPUT = "input"
    """The spec or its data has problems."""
    MEMORY = "memory"
    """The device has too little memory for the job."""
    POLICY = "policy"
    UNREACHABLE = "unreachable"
    """A backend gave no answer."""

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of a run that meets it. The run that recorded an outcome has reported it."""
        return _EXIT_CODES.get(self, ExitCode.ERROR)


_EXIT_CODES = {
    BlockReason.GATE: ExitCode.DONE,
    BlockReason.FAILURE: ExitCode.DONE,
    BlockReason.SUSPENDED: ExitCode.DONE,
    BlockReason.BUDGET: ExitCode.REFUSED,
    BlockReason.POLICY: ExitCode.REFUSED,
}
_FOR_APPLY = {BlockReason.BUDGET, BlockReason.POLICY, BlockReason.LIFECYCLE}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAction(BaseAction):
    """An action that does nothing, and names a remedy."""

    remedy: str
    needs_approval = False
    acts = False
    leads_on = False

    @property
    def is_for_apply(self) -> bool:
        """True if it concerns only what `ftctl apply` does."""
        return True

    def json(self) -> dict[str, Json]:
        """Return the remedy."""
        return {"remedy": self.remedy}

    def remarks(self) -> Iterator[str]:
        """Yield the remedy."""
        yield self.remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred(HeldAction):
    """Decide where the data can be read, or when another fine-tune is in production."""

    parent: str = ""
    """Fine-tune that this one waits for; empty if it waits for none."""

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        return _WAITING if self.parent else _KNOWN_AT_APPLY

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of a run that meets it. Waiting for another fine-tune is not an error."""
        return ExitCode.DONE if self.parent else ExitCode.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(HeldAction):
    """Do nothing until a person removes an obstacle."""

    block_reason: BlockReason
    problems: tuple[Problem, ...] = ()
    """Problems of spec and data, each with its file and line."""
    job: str | None = None
    """The open job that cannot be followed."""

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        return _SUSPENDED if self.block_reason is BlockReason.SUSPENDED else _BLOCKED

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of a run that meets it and can do nothing about it."""
        return self.block_reason.exit_code

    @property
    def is_for_apply(self) -> bool:
        """True if it concerns only what `ftctl apply` does."""
        if self.block_reason is BlockReason.UNREACHABLE:
            return self.job is None
        return self.block_reason in _FOR_APPLY

    def json(self) -> dict[str, Json]:
        """Return the remedy, the kind of obstacle, and every problem."""
        problems = [asdict(problem) for problem in self.problems]
        return {"remedy": self.remedy, "obstacle": self.block_reason, "problems": problems}

    def remarks(self) -> Iterator[str]:
        """Yield every problem, or else the remedy."""
        if self.problems:
            yield from map(str, self.problems)
        else:
            yield self.remedy


_KNOWN_AT_APPLY = ActionStyle("?", "is known at apply", "known at apply", 140)
_WAITING = ActionStyle("?", "waits for another fine-tune", "waiting for another fine-tune", 145)
_SUSPENDED = ActionStyle("!", "is suspended", "suspended", 150)
_BLOCKED = ActionStyle("!", "is blocked", "blocked", 160)
