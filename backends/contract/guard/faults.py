"""Faults in a backend's code, and its wrong answers, as a `BackendError`.

The error names the backend, the method and the place. What a backend raises on purpose passes
unchanged (`BackendError`, `HyperparametersInvalid`), and so does Ctrl-C. A backend cannot end the
process, nor cancel its caller.
"""

import errno
import traceback
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeGuard

from backends.contract.errors import (
    BackendError,
    FieldProblem,
    HyperparametersInvalid,
    MachineFailed,
)
from backends.contract.guard.value_types import misfit, shown

_LONGEST: Final = 300
"""Characters of an exception's text that a person is shown."""
_REPORT: Final = "Please report this as a defect of ftctl."
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Guard:
    """A backend whose code is called, and the remedy for its faults."""

    name: str
    built_in: bool

    @property
    def remedy(self) -> str:
        """Remedy for a fault in the code."""
        if self.built_in:
            return _REPORT
        return (
            f"Report it to the authors of {self.name}; `backends.testing.check_backend` shows "
            "what the contract asks."
        )

    def call(self, what: str) -> "Call":
        """Return the context for one call; faults leave it as `BackendError`."""
        return Call(self, what)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a backend's code."""

    guard: Guard
    what: str
    """The called method."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if _is_fault(error) and not _is_meant(error):
            raise self._failure(error) from error

    def expect(self, answer: object, wanted: Hashable) -> None:
        """Compare an answer with its type, down to the last field.

        Raises:
            BackendError: They differ.
        """
        found = misfit(answer, wanted)
        if found is not None:
            raise self.wrong(*found)

    def expect_methods(self, answer: object, methods: Iterable[str], wanted: str) -> None:
        """Require that an object has methods.

        Raises:
            BackendError: The object lacks methods.
        """
        missing = [name for name in methods if not callable(getattr(answer, name, None))]
        if missing:
            raise self.wrong(f"{shown(answer)} without {', '.join(missing)}", wanted)

    def wrong(self, returned: str, wanted: str) -> BackendError:
        """Return the error for a wrong answer."""
        message = f"{self._said(f'returned {returned}')}, the contract asks for {wanted}"
        return BackendError(message, self.guard.remedy)

    def _failure(self, error: BaseException) -> BackendError:
        text = " ".join("".join(traceback.format_exception_only(error)).split())
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        message = self._said(f"failed: {text} ({_place(error)})")
        if not isinstance(error, OSError):
            return BackendError(message, self.guard.remedy)
        first = "Free some space" if error.errno in _FULL else "Fix that on this machine"
        again = f"{first}, then run the same command again. If it stays: {self.guard.remedy}"
        return MachineFailed(message, again)

    def _said(self, what: str) -> str:
        return f"backend {self.guard.name}: {self.what} {what}"


def _is_fault(error: BaseException | None) -> TypeGuard[BaseException]:
    """Return whether a backend's code raised an error, or tried to end or cancel what calls it.

    `CancelledError` is asyncio's; its name is compared, so that asyncio need not be imported.
    """
    if isinstance(error, Exception | SystemExit):
        return True
    return error is not None and type(error).__name__ == "CancelledError"


def _is_meant(error: BaseException) -> bool:
    """Return whether the contract has this exception, and it can be shown to people."""
    if isinstance(error, HyperparametersInvalid):
        return misfit(getattr(error, "problems", None), tuple[FieldProblem, ...]) is None
    said = (getattr(error, "message", None), getattr(error, "remedy", None))
    return isinstance(error, BackendError) and misfit(said, tuple[str, str]) is None


def _place(error: BaseException) -> str:
    """Return file and line of the innermost frame; the import system's own say nothing."""
    place = "no place known"
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if not file.startswith("<frozen "):
            place = f"{Path(file).name}:{line}"
    return place
