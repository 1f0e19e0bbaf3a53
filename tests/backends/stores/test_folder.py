"""A folder that several machines and users share at once."""

import os
import stat
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError
from backends.stores.probe import require_conditions

NOBODY = 65_534


@pytest.fixture
def shared():
    """A folder that other users reach; pytest's own belongs to one."""
    with tempfile.TemporaryDirectory(dir="/tmp" if os.geteuid() == 0 else None) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def as_another_user():
    """Be a user who owns nothing; one who is not root is refused by modes as well."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_machines_that_empty_one_folder_do_not_disturb_each_other(folder, tmp_path):
    failed: list[Exception] = []
    ended = threading.Event()

    def repeat(times, call) -> None:
        try:
            for _ in range(times):
                call()
        except (StoreError, OSError) as error:
            failed.append(error)

    def empty() -> None:
        """Do what another machine does that removes its last object, as often as may be."""
        while not ended.is_set():
            with suppress(OSError):
                (tmp_path / "shared" / "probes").rmdir()

    calls = [(500, lambda: require_conditions(folder)), (500, lambda: require_conditions(folder))]
    calls += [(1_000, lambda: list(folder.find("probes/")))]
    threads = [threading.Thread(target=repeat, args=call, daemon=True) for call in calls]
    emptying = threading.Thread(target=empty, daemon=True)
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads of one process take turns as machines do
    try:
        emptying.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        ended.set()
        emptying.join(60)
        sys.setswitchinterval(before_s)
    assert failed == []


@pytest.mark.parametrize("place", ["builds", "builds/a"])
def test_what_cannot_be_listed_is_not_taken_for_absent(shared, place):
    """A prune would delete the pieces of every model whose manifest it does not see."""
    store = FolderStore(shared)
    store.create("builds/a/one.json", b"one")
    (shared / place).chmod(0)
    try:
        with as_another_user(), pytest.raises(StoreError, match="cannot be used: Permission"):
            list(store.find("builds/"))
    finally:
        (shared / place).chmod(stat.S_IRWXU)
    assert [one.key for one in store.find("builds/")] == ["builds/a/one.json"]


def test_a_file_in_the_place_of_a_folder_is_named(folder, tmp_path):
    (tmp_path / "shared" / "builds").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be used: Not a directory"):
        list(folder.find("builds/"))


@pytest.mark.parametrize(("age_s", "stays"), [(86_000, True), (87_000, False)])
def test_only_old_partial_files_are_removed_and_none_is_listed(folder, tmp_path, age_s, stays):
    folder.create("builds/a/one.json", b"one")
    partial = tmp_path / "shared/builds/a/.partial-x"
    partial.write_bytes(b"on")
    os.utime(partial, (time.time() - age_s,) * 2)
    assert [one.key for one in folder.find("builds/")] == ["builds/a/one.json"]
    assert partial.exists() is stays


def test_a_partial_file_of_another_user_stops_no_listing(shared):
    store = FolderStore(shared)
    store.create("builds/a/one.json", b"one")
    partial = shared / "builds/a/.partial-x"
    partial.write_bytes(b"on")
    os.utime(partial, (0, 0))
    partial.parent.chmod(0o555)
    try:
        with as_another_user():
            assert [one.key for one in store.find("builds/")] == ["builds/a/one.json"]
    finally:
        partial.parent.chmod(0o755)
    assert partial.exists()


@pytest.mark.parametrize("name", ["한국어 모델".encode(), b"latin-\xe9", b"a" * 200], ids=repr)
def test_folders_of_any_name_hold_a_store(tmp_path, name):
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    place.mkdir()
    store = FolderStore(place)
    require_conditions(store)
    assert store.create("builds/a/one.json", b"one")
    assert [one.key for one in store.find("builds/")] == ["builds/a/one.json"]
