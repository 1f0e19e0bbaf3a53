"""Errors of a backend that a person can fix. Part of the contract.

Exceptions::

    BackendError                 something that a person can fix; carries a remedy
    ├── BaseModelMissing         the base model is not on this machine
    ├── ModelMissing             there is no model with that ID any more
    ├── PromptRefused            this prompt cannot be answered, but other prompts can
    │   └── PromptTooLong        the prompt is longer than the model's context
    ├── CredentialsMissing       no key is set here; no request was sent
    ├── SubmissionUnknown        it is not known whether a job was created
    └── MachineFailed            this machine fails, perhaps for a while only; an OSError
    HyperparametersInvalid       every problem of one `hyperparameters` section
"""

from collections.abc import Sequence
from dataclasses import dataclass


class BackendError(Exception):
    """Something went wrong that a person can mend.

    Attributes:
        message: What happened.
        remedy: What to type or do next.
    """

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class BaseModelMissing(BackendError):
    """The base model cannot be opened here."""


class ModelMissing(BackendError):
    """The backend has no model with that ID."""


class PromptRefused(BackendError):
    """This prompt cannot be answered; another one can."""


class PromptTooLong(PromptRefused):
    """This prompt is longer than the model's context."""


class CredentialsMissing(BackendError):
    """No key is set here. A plan can still be made, from specs and lockfile alone."""


class SubmissionUnknown(BackendError):
    """It is not known whether a job was created; nothing was sent again."""


class MachineFailed(BackendError, OSError):
    """This machine is in the way: a full disk, a missing permission. Later it may not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """One thing wrong with one hyperparameter."""

    field: str
    message: str
    remedy: str = ""


class HyperparametersInvalid(Exception):
    """A `hyperparameters` section has problems.

    Attributes:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in problems))
        self.problems = tuple(problems)
