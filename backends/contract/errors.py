"""Everything that a person can fix: one family of exceptions, from a backend to the screen.

Each exception carries a message, a remedy and a place, and reaches the command line or the server
as it was raised. Whatever is not in the family is a defect of ftctl: exit code 3.

Exceptions::

    FtctlError                        exit 1   a person can fix it
    ├── InvalidInput                  exit 1   problems in files that people wrote, all at once
    │   ├── HyperparametersInvalid             of one `hyperparameters` section
    │   ├── DataNotRead                        sources that cannot be read here
    │   │   └── BaseModelNotKnown              a base model that a hub was not asked about
    │   │       └── ParentNotReady             a model of another fine-tune that is not trained yet
    │   └── PolicyBroken              exit 5   specs that a policy of the repository forbids
    ├── BackendError                           a backend refuses, or cannot continue
    │   ├── BackendUnknown                     no installed backend has that name
    │   ├── BaseModelMissing                   the base model is not on this machine
    │   │   └── BaseModelUnknown               it is not known which model a name stands for
    │   ├── ModelMissing                       there is no model with that ID any more
    │   ├── FileMissing                        the service does not give that file (any more)
    │   ├── NotOffered                         the backend does not have that at all
    │   ├── PromptRefused                      this prompt cannot be answered, others can
    │   │   └── PromptTooLong                  the prompt is longer than the model's context
    │   ├── CredentialsMissing                 no key is set here; no request was sent
    │   ├── NoAnswer                           the service gave no usable answer
    │   ├── NothingStored                      the service lists no stored completions
    │   ├── StoreError                         the store refuses, or holds something else
    │   │   ├── ObjectDamaged                  an object is not what was stored under its name
    │   │   └── StoreUnavailable               it does not answer, or is full; later it may not be
    │   ├── LauncherError                      a scheduler refuses, or does not answer
    │   │   ├── NotSent                        it cannot be reached; no request was sent
    │   │   ├── Refusal                        it answers with an error
    │   │   ├── SubmissionLost                 it is not known whether it placed a job
    │   │   ├── TokenMissing                   its token is not set here; no request was sent
    │   │   └── Unanswered                     it is not known what became of a request
    │   ├── SubmissionUnknown         exit 8   it is not known whether a job was created
    │   └── MachineFailed                      this machine fails, perhaps briefly; an OSError
    ├── DataError                              a row or a file of a dataset
    │   ├── EmptyExample                       a row without a question or an answer
    │   ├── NotUtf8                            bytes that are not UTF-8, met while rows are read
    │   └── PersonalDataFound                  a row with personal data that the spec refuses
    ├── BrokenPlugin                           a metric of another package that cannot be used
    ├── SourceUnavailable                      a source that cannot be read here
    ├── CannotRead                             a file of the repository that ftctl does not open
    ├── StateNotWritten                        the state folder cannot be written
    ├── GitFailed                              a command of git failed
    │   └── NothingToFollow                    there is no such branch, and never was a clone
    ├── LockfileInvalid                        the lockfile is corrupt or from a newer ftctl
    ├── Refused                       exit 5   refused by budget or policy
    ├── PlanStale                     exit 6   not the plan that was approved
    ├── LockHeld                      exit 7   another run holds the lock
    └── ApiError                               a request that the server refuses

`FtctlError`, `InvalidInput` and what backends raise are here, and import only the standard library;
the others are in `controller`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, TypeAlias

LONGEST_LINE = 500
"""Maximum characters in a line of a message or remedy; it may quote a value as long as a file."""


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
    """A budget or a policy of the repository forbids a fine-tune, or nobody approved its cost.
    Nothing was spent on it."""
    PLAN_STALE = 6
    """The plan is not the approved one any more: specs, data, settings or the lockfile changed. With
    `apply --approved`, what changed waits, and the others were carried out."""
    LOCK_HELD = 7
    """Another run is recording in this repository, and did not end within `--lock-timeout`."""
    SUBMISSION_UNKNOWN = 8
    """A server did not answer whether it created a job. It is not sent again; the next run looks
    for it."""
    EXPIRING = 9
    """Only from `ftctl status --expiring DAYS`: a model in production has fewer days left, or is
    gone."""
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
    """One thing wrong in one place."""

    file: str = ""
    """As a person would type it: relative to the repository. Empty if no file is to blame."""
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
        said = ": ".join(part for part in (place, self.field, self.message) if part)
        return said + "".join(f"\n    {line}" for line in self.remedy.splitlines())

    @property
    def one_line(self) -> str:
        """The message and its remedy on one line."""
        return ". ".join(" ".join(part.split()) for part in (self.message, self.remedy) if part)


FieldProblem: TypeAlias = Problem
"""One thing wrong with one hyperparameter: `field`, `message` and `remedy`."""


class FtctlError(Exception):
    """A person can fix it.

    Attributes:
        exit_code: Of a command that this error ends.
        message: Lower-case phrase: what happened, with what was given and what is allowed.
        remedy: What to do next: a full sentence in the imperative, or the exact command.
        file: The file to blame, as in `Problem`; empty without one.
        line: Its line.
        field: The field to blame.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        file: str = "",
        line: int | None = None,
        field: str = "",
    ) -> None:
        super().__init__(message)
        # A plug-in may pass anything: what cannot be printed is found where it is caught.
        self.message = message
        self.remedy = remedy
        self.file = file
        self.line = line
        self.field = field

    def __str__(self) -> str:
        """Render as a problem: place, message, and the remedy indented below."""
        return str(self.problem())

    @property
    def one_line(self) -> str:
        """The message and its remedy on one line."""
        return self.problem().one_line

    def problem(self, *, file: str = "", line: int | None = None, field: str = "") -> Problem:
        """Return the error as a problem.

        Args:
            file: The file to blame, if the caller knows it better.
            line: Its line, likewise.
            field: The field to blame, likewise.
        """
        return Problem(
            file=file or self.file,
            line=self.line if line is None else line,
            field=field or self.field,
            message=self.message,
            remedy=self.remedy,
        )


class InvalidInput(FtctlError):
    """Problems in files that people wrote.

    Attributes:
        problems: All of them, in the order of file and line.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=_place))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def one_line(self) -> str:
        """Every problem on one line, with its place."""
        return "; ".join(
            " ".join(str(problem).replace("\n", ".", 1).split()) for problem in self.problems
        )


class HyperparametersInvalid(InvalidInput):
    """A `hyperparameters` section has problems; each names its key as `field`."""


class BackendError(FtctlError):
    """A backend refuses, or cannot continue."""


class BackendUnknown(BackendError):
    """No installed backend has that name."""


class BaseModelMissing(BackendError):
    """The base model cannot be opened here."""


class BaseModelUnknown(BaseModelMissing):
    """It is not known here which model a name stands for; later, or elsewhere, it may be."""


class ModelMissing(BackendError):
    """The backend has no model with that ID."""


class FileMissing(BackendError):
    """The service does not have that file any more, or does not give it."""


class NotOffered(BackendError):
    """The backend does not have what was asked for, whoever asks."""


class PromptRefused(BackendError):
    """This prompt cannot be answered; another one can."""


class PromptTooLong(PromptRefused):
    """This prompt is longer than the model's context."""


class CredentialsMissing(BackendError):
    """No key is set here. A plan can still be made, from specs and lockfile alone."""


class NoAnswer(BackendError):
    """The service gave no usable answer; it may be away."""


class NothingStored(BackendError):
    """The service does not list stored completions."""


class SubmissionUnknown(BackendError):
    """It is not known whether a job was created; nothing was sent again."""

    exit_code = ExitCode.SUBMISSION_UNKNOWN


class MachineFailed(BackendError, OSError):
    """This machine is in the way: a full disk, a missing permission. Later it may not be."""


def _place(problem: Problem) -> tuple[str, int, str]:
    return problem.file, problem.line or problem.row or 0, problem.field
