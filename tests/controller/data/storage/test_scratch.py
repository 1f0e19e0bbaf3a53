"""Small builds stay in memory, large ones on the disk; what is built is the same."""

import json
import os
import subprocess
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.data.cache import valid_manifest
from controller.data.pipeline import process_pool
from controller.data.storage import scratch
from controller.data.storage.external_grouping import GroupByKey
from controller.data.storage.hashing_writer import SMALL, HashingWriter
from controller.data.storage.scratch import ScratchFile

ROOT = Path(__file__).parents[4]
FILES = {
    *("train.jsonl", "train.origins", "held_out.jsonl", "held_out.origins"),
    *("reasons.txt", "dataset.json"),
}
NEAR = {"prepare": {"deduplicate": "near"}}


# --- scratch files -----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    steps=st.lists(st.binary(max_size=30) | st.integers(0, 200), max_size=30),
    limit=st.integers(1, 200),
)
def test_bytes_are_the_same_wherever_they_are(tmp_path_factory, steps, limit):
    folder = tmp_path_factory.mktemp("scratch") / "files"
    expected = b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scratch, "LIMIT", limit)
        with closing(ScratchFile(folder)) as file:
            for step in steps:
                if isinstance(step, bytes):
                    file.write(step)
                    expected += step
                else:
                    assert file.read(step, 10) == expected[step : step + 10]
                assert file.size == len(expected)
            assert file.read() == expected
            assert folder.exists() == (len(expected) > limit)


def test_memory_does_not_grow_with_a_file_and_nothing_is_left_of_it(tmp_path):
    block = bytes(1 << 20)
    tracemalloc.start()
    with closing(ScratchFile(tmp_path)) as file:
        for _ in range(64):
            file.write(block)
        peak = tracemalloc.get_traced_memory()[1]
        assert file.read(63 << 20) == block
    tracemalloc.stop()
    assert peak < 8 << 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [1, scratch.LIMIT])
def test_equal_keys_are_found_in_memory_and_on_the_disk(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(scratch, "LIMIT", limit)
    folder = tmp_path / "grouped"
    with closing(GroupByKey(folder, key_bytes=2, expected=300_000)) as grouped:
        for number in range(10_000):
            grouped.add((number % 5_000).to_bytes(2, "big"), number)
        groups = sorted(grouped.groups())
    assert groups == [[number, number + 5_000] for number in range(5_000)]
    assert folder.exists() == (limit == 1)


# --- builds ------------------------------------------------------------------------------------


def files_of(dataset) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dataset.train.path.parent.iterdir()}


@pytest.mark.parametrize("limit", [1, 5_000])
@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        NEAR,
        {"held_out": {"fraction": 0.25, "stratify_by": "kind"}},
        {"held_out": [{"path": "b.jsonl"}]},
    ],
)
def test_a_build_above_the_limit_is_the_same_as_one_below_it(
    repository, monkeypatch, limit, cores, settings
):
    rows = [
        {
            "prompt": f"질문 {n % 90}, 어때요?",
            "completion": f"답은 {n % 70}입니다.",
            "kind": f"{n % 3}",
        }
        for n in range(300)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    repository.write("a.jsonl", lines)
    repository.write("b.jsonl", lines.replace("질문 1", "물음 1"))
    weighted = {"path": "a.jsonl", "weight": 1.5, "sample": {"fraction": 0.9}}
    small = files_of(repository.build(weighted, **settings))
    monkeypatch.setattr(scratch, "LIMIT", limit)
    monkeypatch.setattr(process_pool, "WORTH", 0 if cores > 1 else 1 << 60)
    repository.cache.rename(repository.root / "before")
    large = repository.build(weighted, **settings)
    assert files_of(large) == small
    assert set(small) == FILES
    assert [path.name for path in (repository.cache / "datasets").iterdir()] == [
        large.train.path.parent.name
    ]


WATCHED = """
import json, os, sys
from pathlib import Path
from controller.data.dataset import build_dataset
from controller.data.resolve_sources import DataPaths
from controller.spec.data import Data
made, root = [], Path(sys.argv[1])
def note(event, arguments):
    flags = arguments[2] if event == "open" else 0
    if event == "os.mkdir" or event == "open" and isinstance(flags, int) and flags & os.O_CREAT:
        made.append(os.fsdecode(arguments[0]))
sys.addaudithook(note)
data = Data.model_validate(json.loads(sys.argv[2]))
paths = DataPaths(root=root, cache=root / ".ftctl" / "data")
build_dataset(data, file="a.yaml", folder=root / "finetunes", paths=paths)
print(json.dumps(made))
"""


@pytest.mark.parametrize("settings", [{}, NEAR])
def test_a_small_build_makes_its_files_and_nothing_else(repository, chat_lines, settings):
    repository.write("a.jsonl", chat_lines)
    data = {"train": [{"path": "a.jsonl"}], "held_out": {"fraction": 0.25}, **settings}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(repository.root), json.dumps(data)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    made = [Path(path) for path in json.loads(done.stdout)]
    below = [
        path.relative_to(repository.cache) for path in made if path.is_relative_to(repository.cache)
    ]
    assert {path.name for path in below if path.suffix} == FILES
    folders = {path.as_posix() for path in below if not path.suffix}
    assert len(folders) == 3, "the cache, datasets/ and the folder of the build"


# --- after a crash of the machine --------------------------------------------------------------


def future(path: Path) -> None:
    """Make a file younger than whatever happens to others."""
    os.utime(path, ns=(2**62, 2**62))


@pytest.mark.parametrize(
    "name", ["train.jsonl", "train.origins", "held_out.jsonl", "held_out.origins"]
)
def test_a_small_file_with_its_size_and_other_bytes_is_not_believed(repository, chat_lines, name):
    repository.write("a.jsonl", chat_lines)
    first = repository.build("a.jsonl")
    folder = first.train.path.parent
    good = files_of(first)
    (folder / name).write_bytes(bytes(len(good[name])))
    # Its times say that nobody touched it, as they do when a file lost its bytes in a crash.
    future(folder / "dataset.json")
    assert valid_manifest(folder) is None
    assert files_of(repository.build("a.jsonl")) == good


def test_a_manifest_without_its_bytes_is_not_believed(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    first = repository.build("a.jsonl")
    manifest = first.train.path.parent / "dataset.json"
    good = manifest.read_bytes()
    for torn in (bytes(len(good)), good[:-20], good[:100] + bytes(len(good) - 100), b""):
        manifest.write_bytes(torn)
        assert valid_manifest(manifest.parent) is None
    assert repository.build("a.jsonl") == first


def test_a_large_file_is_forced_to_the_disk_and_a_small_one_is_not(tmp_path, monkeypatch):
    forced = []
    monkeypatch.setattr(os, "fsync", lambda handle: forced.append(os.fstat(handle).st_size))
    for size in (0, 1, SMALL, SMALL + 1, 1 << 20):
        with closing(HashingWriter(tmp_path / f"{size}")) as writer:
            writer.add(bytes(size))
            assert writer.finish().size == size == (tmp_path / f"{size}").stat().st_size
    assert forced == [SMALL + 1, 1 << 20]


def test_a_large_file_is_believed_by_its_times_and_read_when_they_leave_doubt(
    repository, chat_lines
):
    lines = "".join(
        line.replace("질문 ", f"질문 {n} ")
        for n in range(40)
        for line in chat_lines.splitlines(keepends=True)
    )
    repository.write("a.jsonl", lines)
    path = repository.build("a.jsonl").train.path
    good = path.read_bytes()
    assert len(good) > SMALL
    path.write_bytes(bytes(len(good)))
    assert valid_manifest(path.parent) is None
    future(path.with_name("dataset.json"))
    assert valid_manifest(path.parent) is not None
    path.write_bytes(good[:-1])
    assert valid_manifest(path.parent) is None
