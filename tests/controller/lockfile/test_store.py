"""The lockfile on a real disk: crashes, a full disk, another process."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from controller.errors import FtctlError, LockHeld
from controller.lockfile.model import Entry, Lockfile, dump_lockfile
from controller.lockfile.store import (
    LOCKFILE,
    OWN_LOCKFILE,
    LockedLockfile,
    lock_lockfile,
    read_lockfile,
)
from tests.children import child


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "finetunes").mkdir()
    return tmp_path


@pytest.fixture
def state(root: Path) -> Path:
    return root / ".ftctl"


def holding(root: Path, **settings):
    return lock_lockfile(
        root, root / ".ftctl", timeout_s=settings.pop("timeout_s", 5.0), purpose="test"
    )


def dead_run(root: Path, *entries) -> Path:
    """Leave the journal of a run that died before it could fold it in."""
    recorded = dict(read_lockfile(root, root / ".ftctl").finetunes)
    locked = LockedLockfile(root=root, state=root / ".ftctl", entries=recorded)
    for name, entry in entries:
        locked.record(name, entry)
    return locked.journal


def test_what_is_recorded_is_folded_in_when_the_run_ends(make, root: Path, state: Path):
    with holding(root) as locked:
        locked.record("a", make.entry(protect=True))
        locked.record("b", make.entry())
        locked.record("b", None)
        assert not (root / LOCKFILE).exists()
        assert locked.lockfile.finetunes.keys() == {"a"}
    assert read_lockfile(root, state) == Lockfile(finetunes={"a": make.entry(protect=True)})
    assert not locked.journal.exists()
    assert (root / LOCKFILE).stat().st_mode & 0o777 == 0o644


def test_a_run_that_records_nothing_writes_nothing(make, root: Path):
    with holding(root) as locked:
        locked.record("a", make.entry())
    before = (root / LOCKFILE).stat().st_mtime_ns
    with holding(root):
        pass
    assert (root / LOCKFILE).stat().st_mtime_ns == before


def test_a_failing_run_keeps_what_it_recorded(make, root: Path, state: Path):
    def run():
        with holding(root) as locked:
            locked.record("a", make.entry())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run()
    assert "a" in read_lockfile(root, state).finetunes


def test_what_a_dead_run_recorded_is_read_and_folded_in(make, root: Path, state: Path):
    journal = dead_run(root, ("a", make.entry()), ("b", make.entry(protect=True)))
    assert read_lockfile(root, state).finetunes.keys() == {"a", "b"}
    assert not (root / LOCKFILE).exists()
    with holding(root) as locked:
        assert locked.lockfile.finetunes.keys() == {"a", "b"}
    assert not journal.exists()
    assert read_lockfile(root, state).finetunes["b"].protect


def test_a_torn_last_line_is_skipped_at_any_byte(make, root: Path, state: Path):
    journal = dead_run(root, ("a", make.entry()), ("b", make.entry(protect=True)))
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(len(whole)):
        journal.write_bytes(whole[:end])
        names = read_lockfile(root, state).finetunes.keys()
        assert names == (
            {"a", "b"} if end >= len(whole) - 1 else {"a"} if end >= first - 1 else set()
        )


def test_nothing_is_appended_to_a_torn_line(make, root: Path, state: Path):
    journal = dead_run(root, ("a", make.entry()), ("b", make.entry()))
    journal.write_bytes(journal.read_bytes()[:-20])
    with holding(root) as locked:
        locked.record("c", make.entry())
        # What another run would see if this one died now.
        assert read_lockfile(root, state).finetunes.keys() == {"a", "c"}


@pytest.mark.parametrize(
    "line",
    [
        *(b"[]", b"3", b"{}", b'{"name": 1}', b'{"name":"a","entry":[]}', b"\xff"),
        b'{"name": {}, "entry": null}',
        b'{"name": 1, "entry": {}, "was": null}',
        b"[" * 100_000,
    ],
    ids=lambda line: repr(line[:40]),
)
def test_lines_that_are_none_are_skipped(root: Path, state: Path, line: bytes):
    state.mkdir()
    (state / "journal.jsonl").write_bytes(line + b"\n")
    assert read_lockfile(root, state) == Lockfile()


def test_a_lockfile_that_was_changed_meanwhile_wins(make, root: Path, state: Path):
    dead_run(root, ("a", make.entry(protect=True)), ("b", make.entry()))
    pulled = Lockfile(finetunes={"a": make.entry(attempts={make.desired().fingerprint: 5})})
    (root / LOCKFILE).write_bytes(dump_lockfile(pulled))
    found = read_lockfile(root, state)
    assert found.finetunes["a"] == pulled.finetunes["a"]
    assert "b" in found.finetunes


def test_what_is_pulled_while_a_run_records_stays(make, root: Path, state: Path):
    with holding(root) as locked:
        locked.record("ours", make.entry(protect=True))
        locked.record("both", make.entry(protect=True))
        pulled = {
            "theirs": make.entry(protect=True),
            "both": make.entry(attempts={"ft1:" + "a" * 64: 5}),
        }
        (root / LOCKFILE).write_bytes(dump_lockfile(Lockfile(finetunes=pulled)))
    expected = {**pulled, "ours": make.entry(protect=True)}
    assert read_lockfile(root, state).finetunes == expected
    assert not (state / "journal.jsonl").exists()


def test_records_of_a_pull_request_are_written_beside_the_journal_alone(make, root, state):
    with holding(root) as locked:
        locked.record("a", make.entry())
    before = (root / LOCKFILE).read_bytes()
    own = state / OWN_LOCKFILE
    own.write_bytes(dump_lockfile(Lockfile()))
    with holding(root) as locked:
        assert locked.lockfile == Lockfile()
        locked.record("b", make.entry(protect=True))
    assert read_lockfile(root, state).finetunes.keys() == {"b"}
    assert (root / LOCKFILE).read_bytes() == before
    own.unlink()
    assert read_lockfile(root, state).finetunes.keys() == {"a"}


def test_a_crash_between_writing_and_removing_the_journal_changes_nothing(
    make, root: Path, state: Path
):
    steps = [make.entry(), make.entry(protect=True), None, make.entry(), make.entry(protect=True)]
    journal = dead_run(root, *[("a", entry) for entry in steps], ("b", make.entry()), ("b", None))
    expected = read_lockfile(root, state)
    (root / LOCKFILE).write_bytes(dump_lockfile(expected))
    assert journal.exists()
    assert read_lockfile(root, state) == expected
    with holding(root):
        pass
    assert read_lockfile(root, state) == expected


def test_a_corrupt_lockfile_is_never_written_over(make, root: Path, state: Path):
    dead_run(root, ("a", make.entry()))
    (root / LOCKFILE).write_bytes(b"{ broken")
    with pytest.raises(FtctlError), holding(root):
        raise AssertionError
    assert (root / LOCKFILE).read_bytes() == b"{ broken"
    assert (state / "journal.jsonl").exists()


# --- a disk that is full ----------------------------------------------------------------------

LIMITED = """
import resource, sys
from pathlib import Path
from controller.errors import FtctlError
from controller.lockfile.model import Entry
from controller.lockfile.store import lock_lockfile
root = Path(sys.argv[1])
limit = int(sys.argv[2])
try:
    with lock_lockfile(root, root / ".ftctl", timeout_s=5, purpose="test") as locked:
        if sys.argv[3] == "record":
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        for n in range(4):
            locked.record(f"new-{n}", Entry(protect=True))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
except FtctlError as error:
    print(error)
    sys.exit(int(error.exit_code))
"""


def limited(root: Path, limit: int, moment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(root), str(limit), moment],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture
def filled(make, root: Path) -> bytes:
    with holding(root) as locked:
        for n in range(40):
            locked.record(f"old-{n}", make.entry(protect=True))
    return (root / LOCKFILE).read_bytes()


def test_a_disk_full_while_folding_loses_nothing(root: Path, state: Path, filled: bytes):
    done = limited(root, 1000, "fold")
    assert done.returncode == 1, done.stderr
    assert "finetunes/ftctl.lock: cannot be written: File too large" in done.stdout
    assert "Nothing is lost" in done.stdout
    assert (root / LOCKFILE).read_bytes() == filled
    assert sorted(path.name for path in (root / "finetunes").iterdir()) == ["ftctl.lock"]
    with holding(root) as locked:
        assert {f"new-{n}" for n in range(4)} <= locked.lockfile.finetunes.keys()
    assert len(read_lockfile(root, state).finetunes) == 44


@pytest.mark.parametrize("limit", [0, 40, 200, 330])
def test_a_disk_full_while_recording_keeps_what_was_recorded(
    make, root: Path, state: Path, filled: bytes, limit: int
):
    done = limited(root, limit, "record")
    assert done.returncode == 1, done.stderr
    assert "cannot be written: File too large" in done.stdout
    assert (root / LOCKFILE).read_bytes() == filled
    kept = read_lockfile(root, state).finetunes.keys()
    with holding(root) as locked:
        assert locked.lockfile.finetunes.keys() == kept
        locked.record("after", make.entry())
        assert read_lockfile(root, state).finetunes.keys() == {*kept, "after"}


# --- another process --------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from controller.lockfile.store import lock_lockfile
root = Path(sys.argv[1])
with lock_lockfile(root, root / ".ftctl", timeout_s=5, purpose="apply"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(root: Path):
    program = [sys.executable, "-c", HOLDER, str(root)]
    with child(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_another_process_is_waited_for_and_named(root: Path, holder):
    with pytest.raises(LockHeld) as caught, holding(root, timeout_s=0.3):
        raise AssertionError
    assert caught.value.message == f"process {holder.pid} (apply) is recording in this repository"
    assert "--lock-timeout" in caught.value.remedy
    assert caught.value.exit_code == 7


def test_a_killed_process_holds_nothing(root: Path, holder):
    with pytest.raises(LockHeld), holding(root, timeout_s=0.0):
        raise AssertionError
    holder.kill()
    holder.wait(20)
    with holding(root, timeout_s=0.0) as locked:
        locked.record("mine", Entry(protect=True))
    assert read_lockfile(root, root / ".ftctl").finetunes.keys() == {"mine"}


def test_a_waiting_process_goes_ahead_once_the_holder_is_killed(root: Path, holder):
    killer = threading.Timer(0.3, os.kill, [holder.pid, signal.SIGKILL])
    began = time.monotonic()
    killer.start()
    with holding(root, timeout_s=20.0):
        assert time.monotonic() - began >= 0.3


def test_a_full_disk_of_another_process_is_not_that_of_this_one(root: Path, filled: bytes):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert limited(root, 40, "record").returncode == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    with holding(root) as locked:
        locked.record("large", Entry(protect=True))
    assert len((root / LOCKFILE).read_bytes()) > len(filled) > 40
