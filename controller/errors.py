"""What can go wrong, and the exit code each kind ends with.

Exceptions::

    FtctlError                exit 1   a person can mend it
    ├── InvalidInput          exit 1   problems in files that people wrote, all at once
    │   ├── DataNotRead       exit 1   sources that cannot be read here, and may be elsewhere
    │   └── PolicyBroken      exit 5   specs that a policy of the repository forbids
    ├── LockfileInvalid       exit 1   the lockfile is corrupt or from a newer ftctl
    ├── Refused               exit 5   refused by budget or policy
    ├── PlanStale             exit 6   not the plan that was approved
    └── LockHeld              exit 7   another run holds the lock

Anything else that reaches the command line is a defect of ftctl: exit 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

LONGEST_LINE = 500
"""Maximum characters in a line of a message or remedy; it may quote a value as long as a file."""

_NAMED = 3
"""Maximum number of sources to name if several have the same problem."""


class ExitCode(IntEnum):
    """Exit codes of every command. A stable contract; the texts below are also their help."""

    DONE = 0
    """Everything that was asked for is done; with `--no-wait`, submitted."""
    ERROR = 1
    """Something in the files, the command, the machine or a server has to be fixed, or a job
    failed. The message says what and where."""
    CHANGES = 2
    """Only from `ftctl plan --detailed-exitcode`: there are changes to apply."""
    DEFECT = 3
    """A defect of ftctl. Report the text that it printed."""
    GATE_FAILED = 4
    """A model was trained and measured, and did not pass its gate. Production is unchanged."""
    REFUSED = 5
    """A budget or a policy of the repository forbids a fine-tune. Nothing was spent on it."""
    PLAN_STALE = 6
    """The plan is not the approved one any more: specs, data, settings or the lockfile changed."""
    LOCK_HELD = 7
    """Another run is recording in this repository, and did not end within `--lock-timeout`."""
    SUBMISSION_UNKNOWN = 8
    """A server did not answer whether it created a job. It is not sent again; the next run looks
    for it."""
    USAGE = 64
    """An unknown command or option, or a wrong number of arguments."""
    INTERRUPTED = 130
    """Ctrl-C. Jobs keep running, and everything that ended before is recorded."""


def legible(text: str) -> str:
    """Return a text with the middle of each overlong line left out."""
    if len(text) <= LONGEST_LINE:
        return text
    return "\n".join(
        line
        if len(line) <= LONGEST_LINE
        else f"{line[: LONGEST_LINE // 2]} … {line[-LONGEST_LINE // 3 :]}"
        for line in text.split("\n")
    )


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing wrong in one place of one file."""

    file: str
    """As a person would type it: relative to the repository."""
    line: int | None = None
    row: int | None = None
    """Index from 0, for a file whose rows have an index in messages: `data.json[17]`."""
    field: str = ""
    """Dotted: `data.train[0].path`."""
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Shorten texts that are too long to read."""
        object.__setattr__(self, "message", legible(self.message))
        object.__setattr__(self, "remedy", legible(self.remedy))

    def __str__(self) -> str:
        """Render as `file:line: field: message`, the remedy indented below."""
        place = self.file if self.row is None else f"{self.file}[{self.row}]"
        place = place if self.line is None else f"{place}:{self.line}"
        field = f"{self.field}: " if self.field else ""
        remedy = "".join(f"\n    {line}" for line in self.remedy.splitlines())
        return f"{place}: {field}{self.message}{remedy}"


class FtctlError(Exception):
    """A person can mend it.

    Attributes:
        message: What happened.
        remedy: What to type or do next.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = legible(message)
        self.remedy = legible(remedy)

    def __str__(self) -> str:
        """Render the message, the remedy indented below."""
        remedy = "".join(f"\n    {line}" for line in self.remedy.splitlines())
        return f"{self.message}{remedy}"


class InvalidInput(FtctlError):
    """Problems in files that people wrote.

    Attributes:
        problems: All of them, in the order of file and line.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=_place))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataNotRead(InvalidInput):
    """Sources that cannot be read here: no credentials, no network. A plan says so."""

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


def _place(problem: Problem) -> tuple[str, int, str]:
    return problem.file, problem.line or problem.row or 0, problem.field
