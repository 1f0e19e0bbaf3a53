"""The lockfile on disk: read, recorded entry by entry, folded, and held by one run at a time.

Each finished action appends its entry to a journal in the state folder (one fsync, a few hundred
bytes); the journal is folded into `finetunes/ftctl.lock` when a pass ends, and before anything is
read. So a run that dies loses nothing, and a thousand submissions do not rewrite a thousand
lockfiles.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from backends.atomic_files import append_line, locked, write_atomic
from controller.canonical import canonical_json, digest
from controller.errors import FtctlError, LockfileInvalid, LockHeld
from controller.lockfile.branch import read_from_branch
from controller.lockfile.model import Entry, Lockfile, dump_entry, dump_lockfile, parse_lockfile
from controller.repository_files import CannotRead, read_inside

LOCKFILE = "finetunes/ftctl.lock"
OWN_LOCKFILE = "ftctl.lock"
"""Lockfile beside the journal, which stands for the repository's; only a pull request has one."""
MAX_BYTES = 256 << 20
"""A record takes a few KiB: more than any repository holds."""
POLL_S = 0.2


@dataclass(slots=True, kw_only=True)
class LockedLockfile:
    """The lockfile of one repository while a run holds it."""

    root: Path
    state: Path
    """Folder of the journal."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """Recorded entries, by fine-tune; only `record` changes them."""
    read: bytes | None = None
    """The lockfile's bytes when this run began to hold it; None while there was no file."""

    @property
    def lockfile(self) -> Lockfile:
        """Copy of the recorded entries; later records do not change it."""
        return Lockfile.model_construct(finetunes=dict(self.entries))

    @property
    def journal(self) -> Path:
        """Journal of the entries that are not in the lockfile yet."""
        return self.state / "journal.jsonl"

    @property
    def path(self) -> Path:
        """The lockfile's file."""
        own = self.state / OWN_LOCKFILE
        return own if own.exists() else self.root / LOCKFILE

    def record(self, name: str, entry: Entry | None) -> None:
        """Make one fine-tune's entry durable (None: forget it).

        Raises:
            FtctlError: The disk refused. What was done at the backend is found there again.
        """
        line = {
            "name": name,
            "was": _entry_digest(self.entries.get(name)),
            "entry": None if entry is None else dump_entry(entry),
        }
        try:
            append_line(self.journal, canonical_json(line))
        except OSError as error:
            message = f"{self.journal}: cannot be written: {error.strerror}"
            remedy = "Make room and run the command again: it finds the job at the backend."
            raise FtctlError(message, remedy) from None
        _set(self.entries, name, entry)

    def fold(self) -> None:
        """Write the lockfile if anything was recorded; a pass without actions writes no byte.

        Somebody may have changed the file meanwhile, by a pull: then the records of this run are
        put on top of what is there now, as the next run would do with the journal.

        Raises:
            FtctlError: The disk refused; lockfile and journal are as they were.
            LockfileInvalid: The file was broken meanwhile; it and the journal are as they were.
        """
        if not self.journal.exists():
            return
        if _read_bytes(self.root, self.state) != self.read:
            self.entries = dict(read_lockfile(self.root, self.state).finetunes)
        try:
            self.read = dump_lockfile(self.lockfile)
            write_atomic(self.path, self.read)
        except OSError as error:
            message = f"{LOCKFILE}: cannot be written: {error.strerror}"
            remedy = (
                "Run the command again once it can be written. Nothing is lost: the new records wait "
                f"in\n{self.journal}, and the next run folds them in."
            )
            raise FtctlError(message, remedy) from None
        self.journal.unlink()


def read_lockfile(root: Path, state: Path) -> Lockfile:
    """Read the lockfile with the journal's entries folded in; writes nothing.

    Args:
        root: The repository.
        state: Folder of the journal; see `Project.records`.

    Raises:
        LockfileInvalid: It is corrupt, or written by a newer ftctl.
    """
    while True:
        text, lines = _read_bytes(root, state), _read_journal(state)
        # A run beside this one may have folded the journal in between the two.
        if _read_bytes(root, state) == text:
            break
    lockfile = Lockfile() if text is None else parse_lockfile(text, LOCKFILE)
    if not lines:
        return lockfile
    entries = dict(lockfile.finetunes)
    for line in lines:
        _replay(entries, line)
    return Lockfile(finetunes=entries)


def _read_bytes(root: Path, state: Path) -> bytes | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return (state / OWN_LOCKFILE).read_bytes()
    try:
        return read_inside(root, root / LOCKFILE, limit=MAX_BYTES)
    except FileNotFoundError:
        return read_from_branch(root, LOCKFILE)
    except CannotRead as error:
        raise LockfileInvalid(f"{LOCKFILE}: {error.message}", error.remedy) from None


def _read_journal(state: Path) -> list[bytes]:
    try:
        return (state / "journal.jsonl").read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def lock_lockfile(
    root: Path, state: Path, *, timeout_s: float, purpose: str
) -> Iterator[LockedLockfile]:
    """Hold the lockfile: no other run on this machine records meanwhile.

    Args:
        root: The repository.
        state: Folder of its journal; see `Project.records`.
        timeout_s: How long to wait for another run.
        purpose: What for; shown to the run that waits.

    Yields:
        The lockfile. It is folded when the block ends, however it ends.

    Raises:
        LockHeld: Another run held it all the time.
    """
    note = state / "lock.json"
    deadline = time.monotonic() + timeout_s
    while True:
        with locked(state / "lock") as mine:
            if mine:
                # The note is for those who wait; a full disk must not stop what needs no room.
                with suppress(OSError):
                    write_atomic(note, canonical_json({"pid": os.getpid(), "purpose": purpose}))
                text = _read_bytes(root, state)
                entries = dict(read_lockfile(root, state).finetunes)
                lockfile = LockedLockfile(root=root, state=state, entries=entries, read=text)
                # What a dead run left is folded in first: its last line may be torn, and nothing
                # may be appended to that.
                lockfile.fold()
                try:
                    yield lockfile
                finally:
                    lockfile.fold()
                return
        if time.monotonic() >= deadline:
            raise LockHeld(*_holder(note))
        time.sleep(POLL_S)


def _holder(note: Path) -> tuple[str, str]:
    try:
        found = json.loads(note.read_bytes())
        who = f"process {found['pid']} ({found['purpose']})"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another run"
    return (
        f"{who} is recording in this repository",
        "Wait for it, or give it more time: --lock-timeout SECONDS",
    )


def _replay(entries: dict[str, Entry], line: bytes) -> None:
    """Apply a journal line, unless the entry that it replaced is gone.

    The entry is gone if the lockfile was changed from outside (by a pull, for example). Then the
    newer lockfile wins, and the next run finds the line's work again at the backend. The same holds
    after a crash between writing the lockfile and removing the journal: the lockfile already has
    the line. A line torn by a crash was never acknowledged and is skipped, and so is a line of
    another form.
    """
    try:
        value = json.loads(line)
        name, entry = value["name"], value["entry"]
        if not isinstance(name, str):
            return
        parsed = None if entry is None else Entry.model_validate(entry)
    except (ValueError, RecursionError, KeyError, TypeError, ValidationError):
        return
    if value.get("was") == _entry_digest(entries.get(name)):
        _set(entries, name, parsed)


def _set(entries: dict[str, Entry], name: str, entry: Entry | None) -> None:
    if entry is None:
        entries.pop(name, None)
    else:
        entries[name] = entry


def _entry_digest(entry: Entry | None) -> str:
    return digest(None if entry is None else dump_entry(entry))
