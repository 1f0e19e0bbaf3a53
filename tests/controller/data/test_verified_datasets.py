"""When a dataset that was found whole before is believed to be whole still, and when it is not."""

import json
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.testing.words import WordInspector
from controller.data import verified_datasets
from controller.data.dataset import Dataset, build_dataset
from controller.data.resolve_sources import DataPaths
from controller.data.verified_datasets import VerifiedDatasets
from controller.errors import InvalidInput
from controller.spec.data import Data
from controller.state_memo import read_memo, write_memo

LIE = 987_654_321
"""As many examples has no dataset: whoever counts so many believed a memo."""
OLD = {"user": "question", "assistant": "answer"}


def later() -> int:
    """As if files were asked for some seconds after they were written."""
    return time.time_ns() + 3_000_000_000


def text(word: str = "one") -> str:
    rows = [f"What is {number}?,It is {word} {number}." for number in range(20)]
    return "\n".join(["question,answer", *rows, ""])


class Passes:
    """Passes over one spec, each with what the passes before remembered."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.folder, self.state = self.root / "finetunes", self.root / ".ftctl"
        self.memo, self.cache = self.state / "datasets.json", self.state / "data"
        self.source = self.folder / "data" / "rows.csv"
        self.source.parent.mkdir(parents=True)
        self.source.write_text(text())

    def build(self, path="data/rows.csv", now_ns=later, *, memory=True, **more) -> Dataset:
        settings = {key: more.pop(key) for key in ("columns", "inspector", "method") if key in more}
        data = {"train": [{"path": path, "columns": OLD}], "held_out": {"fraction": 0.25}, **more}
        known = VerifiedDatasets(self.memo, self.root, self.cache, now_ns) if memory else None
        dataset = build_dataset(
            Data.model_validate(data),
            file="finetunes/cafe.yaml",
            folder=self.folder,
            paths=DataPaths(root=self.root, cache=self.cache, verified=known),
            **settings,
        )
        if known is not None:
            known.save()
        return dataset

    def lie(self) -> None:
        """Let the memo say what is not so."""
        content = json.loads(self.memo.read_bytes().partition(b"\n")[2])
        for entry in content["entries"].values():
            entry["manifest"]["files"]["train.jsonl"]["lines"] = LIE
        write_memo(self.memo, content["version"], content["entries"])


@pytest.fixture
def passes(tmp_path):
    return Passes(tmp_path / "repository")


@pytest.fixture
def lying(passes):
    """A dataset that was remembered, and a memo that says something else of it."""
    passes.build()
    passes.lie()
    assert passes.build().train.examples == LIE
    return passes


def rewrite(path: Path, content: bytes) -> None:
    """Write a file in its place, and set back the times that can be set."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_is_remembered_is_the_dataset_itself(passes):
    first, second, third = passes.build(), passes.build(), passes.build()
    assert first == second == third == passes.build(memory=False)
    [entry] = read_memo(passes.memo, version_of(passes)).values()
    assert entry["dataset"] == first.train.path.parent.name


def version_of(passes):
    return json.loads(passes.memo.read_bytes().partition(b"\n")[2])["version"]


def test_licences_come_from_the_spec_of_the_moment(passes):
    passes.build()
    [source] = passes.build(license="CC0-1.0").report.sources
    assert source.license == "CC0-1.0"


def test_an_edit_of_the_same_size_with_its_old_time_is_seen(lying):
    before = lying.source.read_bytes()
    rewrite(lying.source, text("two").encode())
    assert len(before) == lying.source.stat().st_size
    edited = lying.build()
    assert edited == lying.build(memory=False)
    assert edited.train.examples != LIE


def test_other_wanted_columns_are_another_dataset(passes):
    plain = passes.build()
    columns = {"question": "evaluation.slices[0]"}
    wanted, again = passes.build(columns=columns), passes.build(columns=columns)
    assert plain.held_out.columns is None
    assert wanted == again == passes.build(columns=columns, memory=False)
    assert wanted.held_out.columns.read_text().count("question") == wanted.held_out.examples
    passes.lie()
    assert passes.build(columns=columns).train.examples == LIE
    assert passes.build().train.examples == plain.train.examples
    assert passes.build(columns={**columns, "answer": "gate"}).train.examples != LIE


def test_a_touched_file_of_columns_is_seen(passes):
    columns = {"question": "evaluation.slices[0]"}
    passes.build(columns=columns)
    passes.lie()
    file = passes.build(columns=columns).held_out.columns
    file.write_bytes(file.read_bytes().replace(b"What", b"Whom"))
    again = passes.build(columns=columns)
    assert again.train.examples != LIE
    assert b"Whom" not in again.held_out.columns.read_bytes()


def replaced(passes):
    new = passes.source.with_name("new.csv")
    new.write_bytes(passes.source.read_bytes())
    shutil.copystat(passes.source, new)
    new.replace(passes.source)


def linked(passes):
    passes.source.rename(passes.source.with_name("real.csv"))
    passes.source.symlink_to("real.csv")


def folder_linked(passes):
    passes.source.parent.rename(passes.folder / "real")
    passes.source.parent.symlink_to("real")


def specs_linked(passes):
    passes.folder.rename(passes.root / "real")
    passes.folder.symlink_to("real")


def dataset_file(passes, name="train.jsonl"):
    [folder] = (passes.cache / "datasets").iterdir()
    return folder / name


def dataset_edited(passes):
    path = dataset_file(passes)
    rewrite(path, path.read_bytes().replace(b"one", b"two"))


def dataset_linked(passes):
    path = dataset_file(passes)
    path.rename(passes.cache / "elsewhere")
    path.symlink_to(passes.cache / "elsewhere")


CHANGES = {
    "touched": lambda passes: os.utime(passes.source),
    "permissions": lambda passes: passes.source.chmod(0o600),
    "replaced": replaced,
    "linked": linked,
    "folder linked": folder_linked,
    "specs linked": specs_linked,
    "hard link": lambda passes: os.link(passes.source, passes.root / "other"),
    "dataset edited": dataset_edited,
    "dataset linked": dataset_linked,
    "manifest edited": lambda passes: os.utime(dataset_file(passes, "dataset.json")),
    "file removed": lambda passes: dataset_file(passes, "held_out.origins").unlink(),
    "dataset removed": lambda passes: shutil.rmtree(dataset_file(passes).parent),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_was_touched_is_read_again(lying, change):
    change(lying)
    assert lying.build().train.examples != LIE
    assert lying.build(memory=False).train.path.exists()


def test_a_link_out_of_the_repository_is_refused(lying):
    outside = lying.root.parent / "outside"
    lying.source.parent.rename(outside)
    lying.source.parent.symlink_to(outside)
    with pytest.raises(InvalidInput) as caught:
        lying.build()
    assert "leaves the repository through a link" in caught.value.problems[0].message


def test_a_folder_or_nothing_in_its_place_is_a_problem(lying):
    lying.source.unlink()
    with pytest.raises(InvalidInput):
        lying.build()
    lying.source.mkdir()
    with pytest.raises(InvalidInput):
        lying.build()


def test_another_spec_asks_for_another_dataset(lying):
    assert lying.build("data/../data/rows.csv").train.examples != LIE
    assert lying.build(held_out={"fraction": 0.25, "seed": 1}).train.examples != LIE
    assert lying.build(inspector=WordInspector()).train.examples != LIE
    assert lying.build(system="Be kind.").train.examples != LIE


def test_a_key_that_was_added_is_seen_though_it_says_the_default(passes):
    held_out = {"path": "data/held.csv", "columns": OLD}
    passes.source.with_name("held.csv").write_text(text("none"))
    for _ in range(2):
        passes.build(held_out=[held_out])
    with pytest.raises(InvalidInput) as caught:
        passes.build(held_out=[{**held_out, "extract": "text"}])
    assert caught.value.problems[0].field == "data.held_out[0].extract"


@pytest.mark.parametrize("path", ["data/*.csv", "data/row?.csv"])
def test_a_pattern_is_looked_up_each_time(passes, path):
    passes.source.with_name("rows.csv").rename(passes.source.with_name("rowx.csv"))
    passes.build(path)
    passes.source.with_name("rowy.csv").write_text(text("two"))
    assert passes.build(path) == passes.build(path, memory=False)
    assert not passes.memo.exists()


def test_a_young_file_is_in_doubt(passes):
    passes.build(now_ns=time.time_ns)
    passes.build(now_ns=time.time_ns)
    assert not passes.memo.exists()
    passes.build()
    os.utime(passes.source)
    passes.build(now_ns=time.time_ns)
    passes.lie()
    assert passes.build(now_ns=time.time_ns).train.examples != LIE


def test_a_file_that_is_written_while_it_is_read_is_not_remembered(passes):
    class Writes(VerifiedDatasets):
        def remember(self, question, stamps, folder, manifest):
            rewrite(passes.source, text("two").encode())
            super().remember(question, stamps, folder, manifest)

    known = Writes(passes.memo, passes.root, passes.cache, later)
    data = {"train": [{"path": "data/rows.csv", "columns": OLD}], "held_out": {"fraction": 0.25}}
    build_dataset(
        Data.model_validate(data),
        file="finetunes/cafe.yaml",
        folder=passes.folder,
        paths=DataPaths(root=passes.root, cache=passes.cache, verified=known),
    )
    known.save()
    assert not passes.memo.exists()


def test_after_another_boot_nothing_is_believed(lying, tmp_path, monkeypatch):
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(verified_datasets, "_BOOT", boot)
    assert lying.build().train.examples != LIE
    lying.lie()
    assert lying.build().train.examples == LIE
    boot.unlink()
    assert lying.build().train.examples != LIE


def test_of_a_disk_that_others_write_to_nothing_is_believed(lying, tmp_path, monkeypatch):
    device = lying.root.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"27 1 {os.major(device)}:{os.minor(device)} / / rw - nfs4 server:/home rw\n")
    monkeypatch.setattr(verified_datasets, "_MOUNTS", mounts)
    assert lying.build().train.examples != LIE


def test_whoever_else_asks_reads_for_himself(lying, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    assert lying.build().train.examples != LIE


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda whole: whole[:-1],
        lambda whole: whole + b" ",
        lambda whole: whole.replace(b'"stamps"', b'"stampz"'),
        lambda whole: bytes(len(whole)),
        lambda whole: whole[:70] + bytes(len(whole) - 70),
        lambda _: b"\n[]",
    ],
)
def test_a_spoilt_memo_costs_one_more_reading(lying, spoil):
    lying.memo.write_bytes(spoil(lying.memo.read_bytes()))
    assert lying.build() == lying.build(memory=False)
    lying.lie()
    assert lying.build().train.examples == LIE


def test_a_state_folder_that_cannot_be_written_is_no_problem(passes):
    passes.build()
    passes.memo.unlink()
    passes.memo.mkdir()
    assert passes.build() == passes.build(memory=False)


def test_a_dataset_that_is_found_so_counts_as_used(lying):
    folder = dataset_file(lying).parent
    os.utime(folder, (0, 0))
    assert lying.build().train.examples == LIE
    assert time.time() - folder.stat().st_mtime < 60


def again_and_again(passes: Passes, times: int) -> None:
    for _ in range(times):
        passes.memo.unlink(missing_ok=True)
        assert passes.build() == passes.build(memory=False)


def test_several_processes_at_once_leave_a_whole_memo(passes):
    whole = passes.build()
    context = multiprocessing.get_context("spawn")
    running = [
        context.Process(target=again_and_again, args=(passes, 10), daemon=True) for _ in range(3)
    ]
    for process in running:
        process.start()
    while any(process.is_alive() for process in running):
        assert passes.build() == whole
    assert [process.exitcode for process in running] == [0, 0, 0]
    assert [one.name for one in passes.state.iterdir() if one.suffix == ".tmp"] == []


WORDS = ("one", "two", "six")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, "link", "touch", "drop", "plan"]), max_size=8))
def test_whatever_happens_a_memo_changes_nothing(tmp_path_factory, steps):
    passes = Passes(tmp_path_factory.mktemp("any") / "repository")
    for step in steps:
        if step in WORDS:
            rewrite(passes.source, text(step).encode())
        elif step == "link" and not passes.source.is_symlink():
            linked(passes)
        elif step == "touch":
            os.utime(passes.source)
        elif step == "drop":
            for path in passes.cache.glob("datasets/*/train.jsonl"):
                path.write_bytes(b"x" * path.stat().st_size)
        else:
            passes.build()
        assert passes.build() == passes.build(memory=False)
