"""One `ftctl record` at a time in a repository, so that two of them do not ask the same."""

from collections.abc import Iterator
from contextlib import contextmanager

from backends.atomic_files import locked
from controller.errors import LockHeld
from controller.project.project import Project
from controller.state_folder import writing_to


@contextmanager
def only_record(project: Project) -> Iterator[None]:
    """Hold the lock of `ftctl record` for a block; the system releases it when the process dies.

    Raises:
        LockHeld: Another process holds it.
        StateNotWritten: The state folder cannot be written.
    """
    with writing_to(project.state):
        project.state.mkdir(parents=True, exist_ok=True)
    with locked(project.state / "record.lock") as is_mine:
        if not is_mine:
            message = "another `ftctl record` is asking in this repository"
            raise LockHeld(message, "Wait until it ends: its answers are not asked for again.")
        yield
