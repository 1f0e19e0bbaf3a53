"""Errors of the controller; `backends.contract.errors` has the whole family."""

from typing import ClassVar

from backends.contract.errors import ExitCode, FtctlError, InvalidInput, Problem, legible

_NAMED = 3
"""Maximum number of sources to name if several have the same problem."""


class DataNotRead(InvalidInput):
    """Sources that cannot be read here: no credentials, no network. A plan says so."""

    subject: ClassVar[str] = "data not read"
    """Start of the plan's line."""

    @property
    def reasons(self) -> str:
        """Each reason once, after the fields of the first sources that it concerns."""
        fields: dict[str, list[str]] = {}
        for problem in self.problems:
            fields.setdefault(problem.message, []).append(problem.field)
        reasons = []
        for message, places in fields.items():
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
            reasons.append(f"{', '.join(places[:_NAMED])}{more}: {message}")
        return legible("; ".join(reasons))


class BaseModelNotKnown(DataNotRead):
    """A base model that a hub has to be asked about, which this plan does not or cannot do."""

    subject = "base model not known"


class ParentNotReady(BaseModelNotKnown):
    """Another fine-tune has no build in production yet, from which this one starts.

    Attributes:
        parent: The other fine-tune.
    """

    def __init__(self, parent: str, problem: Problem) -> None:
        super().__init__([problem])
        self.parent = parent


class PolicyBroken(InvalidInput):
    """Specs that a policy of the repository forbids."""

    exit_code = ExitCode.REFUSED


class LockfileInvalid(FtctlError):
    """The lockfile cannot be read by this ftctl. It is never overwritten then."""


class Refused(FtctlError):
    """Budget or policy says no."""

    exit_code = ExitCode.REFUSED


class PlanStale(FtctlError):
    """The plan is not the approved one any more."""

    exit_code = ExitCode.PLAN_STALE


class LockHeld(FtctlError):
    """Another run is at work in this repository."""

    exit_code = ExitCode.LOCK_HELD
