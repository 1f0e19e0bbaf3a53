"""Records on the disk: what a crash, a full disk and a person's edit leave."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import FtctlError
from controller.server.api.errors import ApiError
from controller.server.record_store import Record, RecordStore, new_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Record):
    text: str
    tags: dict[str, str] | None = None


def note(number, text="x", **more):
    return Note(id=f"note-{number}", created_s=float(number), text=text, **more)


@pytest.fixture
def store(tmp_path):
    return RecordStore(tmp_path, Note)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(), max_size=5), gone=st.sets(st.integers(0, 4)))
def test_everything_is_there_again_in_the_order_of_its_creation(tmp_path_factory, texts, gone):
    folder = tmp_path_factory.mktemp("notes")
    store = RecordStore(folder, Note)
    for number, text in reversed([*enumerate(texts)]):
        store.put(note(number, text, tags={text: text}))
    for number in gone:
        store.remove(f"note-{number}")
    left = [note(number, text, tags={text: text}) for number, text in enumerate(texts)]
    left = [record for number, record in enumerate(left) if number not in gone]
    again = RecordStore(folder, Note)
    assert again.oldest_first() == left
    assert again.newest_first() == left[::-1]
    assert dict(again) == dict(store)


def test_a_record_is_replaced_in_its_place(store, tmp_path):
    for number in range(3):
        store.put(note(number))
    store.put(note(1, "changed"))
    assert [record.text for record in store.oldest_first()] == ["x", "changed", "x"]
    assert RecordStore(tmp_path, Note).oldest_first() == store.oldest_first()


def test_an_unknown_record_is_not_found(store):
    store.put(note(1))
    assert store.find("note-1", "note") == note(1)
    with pytest.raises(ApiError, match="No such note: note-2") as caught:
        store.find("note-2", "note")
    assert caught.value.status == 404


PROGRAM = """
import os, sys
from pathlib import Path
from tests.controller.server import test_record_store as tests
folder, function, calls = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
store = tests.RecordStore(folder, tests.Note)
owner = os if function == "fsync" else Path
whole = getattr(owner, function)

def die(*arguments):
    global calls
    calls -= 1
    if calls < 0:
        os._exit(7)
    return whole(*arguments)

setattr(owner, function, die)
store.put(tests.note(1, "new"))
store.put(tests.note(2, "new"))
"""


@pytest.mark.parametrize(
    ("function", "calls", "texts"),
    [
        # Before the bytes are on the disk, before the rename, after it.
        ("fsync", 0, ["old"]),
        ("replace", 0, ["old"]),
        ("fsync", 1, ["new"]),
        ("fsync", 2, ["new"]),
        ("replace", 1, ["new"]),
        ("fsync", 3, ["new", "new"]),
    ],
)
def test_a_crash_leaves_the_old_record_or_the_new_one(store, tmp_path, function, calls, texts):
    store.put(note(1, "old"))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), function, str(calls)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, timeout=60, check=False)
    assert done.returncode == 7
    again = RecordStore(tmp_path, Note)
    assert [record.text for record in again.oldest_first()] == texts
    again.put(note(3))
    assert RecordStore(tmp_path, Note)["note-3"] == note(3)


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("known", [False, True])
def test_a_full_disk_leaves_the_record_as_it_was(store, tmp_path, monkeypatch, failing, known):
    if known:
        store.put(note(1, "old"))
    before, fsync, left = dict(store), os.fsync, [failing]

    def full(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.put(note(1, "new"))
    monkeypatch.undo()
    assert dict(store) == before
    assert (tmp_path / "note-1.json").exists() == known
    assert not [*tmp_path.glob(".*")]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"id": "note-1"}', b'{"id": 1, "created_s": "x", "text": null}'],
)
def test_damage_is_named_with_its_file(store, tmp_path, content):
    store.put(note(1))
    (tmp_path / "note-1.json").write_bytes(content)
    with pytest.raises(FtctlError, match=r"note-1\.json is damaged") as caught:
        RecordStore(tmp_path, Note)
    assert caught.value.remedy.startswith("Move that file away.")


def test_other_files_of_the_folder_are_left_alone(store, tmp_path):
    store.put(note(1))
    for name in ("note-1.bin", "README", ".note-2.json.abc.tmp"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "note-1").mkdir()
    assert [*RecordStore(tmp_path, Note)] == ["note-1"]


def test_ids_are_new_and_safe_as_a_name():
    ids = {new_id("file-") for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(one.removeprefix("file-").isalnum() for one in ids)
