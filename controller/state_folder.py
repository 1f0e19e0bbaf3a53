"""Errors of the system, above all where it does not let us write to the state folder.

A write that fails there is never the fault of the file that is being read meanwhile.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.errors import FtctlError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
MAKE_ROOM = (
    "Free some space, or name a folder on a larger disk: export FTCTL_STATE_DIR=DIR\n"
    "Built data and runs are in the state folder; what was being written is removed again."
)
ROOM_ELSEWHERE = "Free some space there, then run the same command again."
MAKE_WRITABLE = "Make it writable, or name another folder: export FTCTL_STATE_DIR=DIR"
CHECK_PERMISSIONS = "Check its permissions and its owner, then run the same command again."


class StateNotWritten(FtctlError):
    """The state folder cannot be written. Not an `OSError`: no reader takes it for its own."""


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Name the state folder, or a folder in it, when the block cannot write there.

    Raises:
        StateNotWritten: The system refused.
    """
    try:
        yield
    except OSError as error:
        raise not_written(folder, error) from error


def not_written(folder: Path, error: OSError) -> StateNotWritten:
    """Return what a person reads of a write to the state folder that failed."""
    message = f"the state folder cannot be written: {folder}: {error.strerror or error}"
    return StateNotWritten(message, MAKE_ROOM if is_full(error) else MAKE_WRITABLE)


def refused_by_system(error: OSError, state: Path | None) -> FtctlError:
    """Return what a person reads of any error of the system.

    Args:
        error: What the system refused.
        state: The state folder; None where no repository was opened yet.
    """
    if state is not None and isinstance(error.filename, str | Path):
        file = Path(error.filename)
        # Where it cannot be made, the error names the first folder on the way there.
        is_above = state.is_relative_to(file) and not file.exists()
        if file.is_relative_to(state) or is_above:
            return not_written(state, error)
    place = f"{error.filename}: " if error.filename else ""
    if is_full(error) and place:
        return FtctlError(f"{place}{error.strerror}", ROOM_ELSEWHERE)
    if is_full(error):
        # A write that fails names no file.
        place = f"{state}, or where the command writes to: " if state else ""
        return FtctlError(f"{place}{error.strerror}", MAKE_ROOM)
    remedy = CHECK_PERMISSIONS if error.errno in _NOT_ALLOWED else ""
    return FtctlError(f"{place}{error.strerror or error}", remedy)


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk has no room left."""
    return error.errno in _FULL
