"""What nobody used for a month goes; everything else stays."""

import json
import os
import time

import pyarrow as pa
import pytest
from pyarrow import ipc

from controller.data.cache_gc import UNUSED_S, collect_garbage, touch
from controller.data.fetch.snapshot import Memo, find_memo, new_snapshot, save_memo
from controller.data.storage.memo_file import file_stamp


def age(path, seconds=UNUSED_S + 60):
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_what_was_not_used_for_a_month_goes(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    old = repository.build("a.jsonl")
    repository.write("b.jsonl", chat_lines.replace("질문", "물음"))
    used = repository.build("b.jsonl")
    for dataset in (old, used):
        age(dataset.train.path.parent)
    assert repository.build("b.jsonl") == used
    snapshot = repository.cache / "snapshots" / "x.jsonl"
    snapshot.parent.mkdir()
    snapshot.write_text("{}\n")
    age(snapshot)
    fresh = snapshot.with_name("y.jsonl")
    fresh.write_text("{}\n")

    assert collect_garbage(repository.cache) == 2
    assert not old.train.path.parent.exists()
    assert used.train.path.exists()
    assert not snapshot.exists()
    assert fresh.exists()


def test_building_another_dataset_collects_too(repository, chat_lines):
    repository.write("a.jsonl", chat_lines)
    old = repository.build("a.jsonl")
    age(old.train.path.parent)
    repository.build("a.jsonl", system="짧게 답한다.")
    assert not old.train.path.parent.exists()
    assert repository.build("a.jsonl").train.digest == old.train.digest


def test_garbage_is_collected_once_a_day_also_where_the_data_is_wrong(repository, chat_lines):
    collected = repository.cache / "collected"
    repository.write("a.jsonl", chat_lines)
    built = [repository.build("a.jsonl", system=f"{n}") for n in range(3)]
    assert collected.exists()
    age(built[0].train.path.parent)
    repository.build("a.jsonl", system="2")
    assert built[0].train.path.exists()
    age(collected, 25 * 3600)
    repository.build("a.jsonl", system="2")
    assert not built[0].train.path.exists()
    age(built[1].train.path.parent)
    age(collected, -25 * 3600)
    repository.problems("none.jsonl")
    assert not built[1].train.path.exists()


def written(snapshots, content=b"{}\n"):
    with new_snapshot(snapshots) as new:
        new.write(content)
        return new.publish(".jsonl")


@pytest.mark.parametrize("use", [lambda folder: find_memo(folder, "a").path, written])
def test_a_snapshot_that_is_used_again_stays_and_is_not_read_again(tmp_path, use):
    snapshots = tmp_path / "snapshots"
    path, other = written(snapshots), written(snapshots, b"[]\n")
    age(path)
    save_memo(snapshots, "a", Memo(path=path, version=None))
    for old in (other, *snapshots.glob("memos/*")):
        age(old)
    seen = file_stamp(path)

    assert use(snapshots) == path
    collect_garbage(tmp_path)
    assert file_stamp(path) == seen
    assert not other.exists()
    assert find_memo(snapshots, "a") is None or use is not written
    for old in (path, *snapshots.glob("used/*"), *snapshots.glob("memos/*")):
        age(old)
    collect_garbage(tmp_path)
    assert [left for left in snapshots.glob("**/*") if left.is_file()] == []


def test_a_snapshot_that_a_source_leads_to_is_there_when_it_is_read(repository):
    saved = repository.write("saved/dataset_info.json", "{}").parent
    repository.write("saved/state.json", json.dumps({"_data_files": [{"filename": "a.arrow"}]}))
    table = pa.table({"q": [f"질문 {n}" for n in range(40)], "a": ["답"] * 40})
    with ipc.new_stream(saved / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    source = {"path": "saved", "columns": {"user": "q", "assistant": "a"}}
    repository.build(source)
    for kept in repository.cache.glob("**/*"):
        if kept.is_file() and "snapshots" in kept.parts:
            age(kept)
    assert repository.build(source, system="짧게 답한다.").train.examples
    assert repository.build(source, system="길게 답한다.").train.examples


def test_an_empty_cache_is_no_problem(tmp_path):
    assert collect_garbage(tmp_path / "none") == 0


def test_a_use_is_written_down_once_a_day(tmp_path):
    for old, is_written in ((3600, False), (25 * 3600, True), (-3600, True)):
        age(tmp_path, old)
        before = tmp_path.stat().st_mtime_ns
        touch(tmp_path)
        assert (tmp_path.stat().st_mtime_ns != before) == is_written
    touch(tmp_path / "gone")
