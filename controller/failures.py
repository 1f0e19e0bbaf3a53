"""What a backend raises → what a person reads. Nothing that a person can fix ends as a traceback.

ftctl's own backends raise `BackendError` for what a person can fix; anything else from them is a
defect of ftctl. A backend that is installed as a plug-in is the work of others: whatever it raises
is reported with its name.
"""

import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import TracebackType

from backends.base import Backend, BackendError, HyperparametersInvalid, SubmissionUnknown
from backends.registry import BUILT_IN, GROUP
from controller.errors import ExitCode, FtctlError

_OURS = frozenset({"backends", "controller"})


class OutcomeUnknown(FtctlError):
    """It is not known whether a job was created."""

    exit_code = ExitCode.SUBMISSION_UNKNOWN


@contextmanager
def asking(place: str) -> Iterator[None]:
    """Name the plug-in at a place, `backend` or `backend@endpoint`, when it fails in the block.

    What ftctl's own backends raise passes unchanged, and so does every error that says already
    what a person can do.

    Raises:
        BackendError: The plug-in raised something else.
    """
    try:
        yield
    except (BackendError, HyperparametersInvalid, FtctlError, BrokenPipeError):
        raise
    except Exception as error:
        name = place.partition("@")[0]
        if name in BUILT_IN or name not in _plug_ins():
            raise
        raise _failed(name, error) from error


def check_plug_in(place: str, backend: Backend) -> None:
    """Refuse a plug-in that was made for another version of the contract.

    Raises:
        BackendError: It lacks a method, or one takes other arguments.
    """
    name = place.partition("@")[0]
    if name in BUILT_IN:
        return
    for method, wanted in inspect.getmembers(Backend, inspect.isfunction):
        if method.startswith("_"):
            continue
        arguments = list(inspect.signature(wanted).parameters)[1:]
        try:
            inspect.signature(getattr(backend, method)).bind(*arguments)
        except (AttributeError, TypeError, ValueError):
            written = f"{method}({', '.join(arguments)})"
            message = f"the backend {name!r} does not fit this ftctl: it has no {written}"
            raise BackendError(message, "It is a plug-in: update it, or ftctl.") from None


def reported(error: Exception) -> FtctlError | None:
    """Return what a person reads of an error; None for a defect of ftctl."""
    match error:
        case FtctlError():
            return error
        case SubmissionUnknown():
            return OutcomeUnknown(error.message, error.remedy)
        case BackendError():
            return FtctlError(error.message, error.remedy)
        case HyperparametersInvalid():
            found = [f"hyperparameters.{one.field}: {one.message}" for one in error.problems]
            remedies = dict.fromkeys(one.remedy for one in error.problems if one.remedy)
            return FtctlError("\n".join(found), "\n".join(remedies))
        case _:
            pass
    name = _raised_by(error.__traceback__)
    return None if name is None else reported(_failed(name, error))


def _failed(name: str, error: Exception) -> BackendError:
    text = " ".join(str(error).split())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    has_place = frames and not frames[-1].filename.startswith("<")
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if has_place else ""
    return BackendError(
        f"the backend {name!r} failed: {said}{where}",
        "It is a plug-in: update it, or report this to its authors.",
    )


def _plug_ins() -> dict[str, str]:
    """Return the package of every backend that is the work of others, by its name."""
    packages = {entry.name: entry.module.partition(".")[0] for entry in entry_points(group=GROUP)}
    return {name: package for name, package in packages.items() if package not in _OURS}


def _raised_by(trace: TracebackType | None) -> str | None:
    """Return the plug-in whose code an error passed through, the innermost one; None without."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(trace)]
    plug_ins = _plug_ins()
    for module in reversed(modules):
        for name, package in plug_ins.items():
            if module.partition(".")[0] == package:
                return name
    return None
