"""What nobody used for a month goes; everything else stays."""

import os
import time

from controller.data.garbage import UNUSED_S, collect_garbage


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


def test_an_empty_cache_is_no_problem(tmp_path):
    assert collect_garbage(tmp_path / "none") == 0
