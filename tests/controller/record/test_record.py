"""`ftctl record`: each answer is asked for once, kept, and written to be committed."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.controller.record.recorded import HELD_OUT, TRAIN, answers_in, asked_by, shown
from tests.servers.hosted_service import BASE, rows


def test_each_answer_is_asked_for_once_and_written(hosted, golden):
    hosted.train()

    code, first, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0, first
    # The evaluation before has asked for the held-out rows.
    assert len(asked) == TRAIN
    assert {body["model"] for body in asked} == {asked[0]["model"]}
    (path,) = hosted.files()
    assert len(answers_in(path)) == HELD_OUT + TRAIN

    code, second, again = asked_by(hosted, "record", "triage")
    assert (code, again) == (0, [])
    golden("record/first.txt", shown(first, hosted))
    golden("record/second.txt", shown(second, hosted))


def test_answers_under_another_limit_of_tokens_are_written_too(hosted):
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    (path,) = hosted.files()
    path.unlink()
    spec = hosted.shell.root / "finetunes/triage.yaml"
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("max_tokens: 16", "max_tokens: 77"), "utf-8")
    assert spec.read_text("utf-8") != text

    code, text, asked = asked_by(hosted, "record", "triage", "--yes")

    assert (code, asked) == (0, []), text
    (path,) = hosted.files()
    assert len(answers_in(path)) == HELD_OUT + TRAIN
    # In a clone, only the file that was committed counts.
    hosted.forget_answers()
    assert asked_by(hosted, "record", "triage", "--yes")[2] == []


def test_without_an_evaluation_the_held_out_rows_are_asked_too(hosted):
    hosted.train()
    hosted.forget_answers()
    code, text, asked = asked_by(hosted, "record", "triage", "--train", "5", "--yes")
    assert code == 0, text
    assert len(asked) == HELD_OUT + 5
    # A larger sample has all rows of the smaller one.
    assert len(asked_by(hosted, "record", "triage", "--train", "9", "--yes")[2]) == 4
    assert asked_by(hosted, "record", "triage", "--train", "3", "--yes")[2] == []


def test_the_sample_does_not_depend_on_the_order_of_the_rows(hosted):
    hosted.train()
    assert len(asked_by(hosted, "record", "triage", "--train", "9", "--yes")[2]) == 9
    lines = rows(40).splitlines(keepends=True)
    hosted.shell.write("finetunes/data/triage.jsonl", "".join(reversed(lines)))
    assert asked_by(hosted, "record", "triage", "--train", "9", "--yes")[2] == []


def test_files_that_were_committed_keep_a_fresh_clone_from_asking(hosted):
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    hosted.forget_answers()
    code, text, asked = asked_by(hosted, "record", "triage")
    assert (code, asked) == (0, [])
    assert "Nothing to ask: all 40 answers are kept, at $0.00." in text


def test_fine_tunes_that_share_a_model_ask_it_once(hosted):
    hosted.train()
    hosted.declare("care", rows_of="triage")
    code, text = hosted.shell("apply", "--auto-approve", "--only", "care")
    assert code == 0, text
    assert len(hosted.hosted.jobs) == 1
    hosted.forget_answers()
    code, text, asked = asked_by(hosted, "record", "--all", "--yes")
    assert code == 0, text
    assert len(asked) == HELD_OUT + TRAIN
    assert "To ask: 40 answers" in text
    assert len(hosted.files()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["triage", "--all"], ["triage", "--metadata", "team"], ["a", "--train", "-1"]]
)
def test_wrong_usage(hosted, arguments):
    code, _ = hosted.shell("record", *arguments)
    assert code == 64


def test_unknown_names_and_fine_tunes_without_a_model(hosted):
    hosted.train()
    code, text = hosted.shell("record", "triag")
    assert code == 1
    assert "no fine-tune is called triag" in text
    assert "triage" in text.partition("triag\n")[2]
    lock = hosted.shell.root / "finetunes/ftctl.lock"
    recorded = json.loads(lock.read_text())
    del recorded["finetunes"]["triage"]["production"]
    lock.write_text(json.dumps(recorded))
    code, text = hosted.shell("record", "triage")
    assert code == 1
    assert "triage has no model in production" in text
    code, text = hosted.shell("record", "--all")
    assert code == 0
    assert "Without a model in production: triage" in text


def test_an_alias_names_a_fine_tune(hosted):
    hosted.train()
    path = hosted.shell.root / "finetunes/triage.yaml"
    path.write_text(path.read_text() + 'aliases: ["ft:old:acme:triage:AbC"]\n')
    code, _, asked = asked_by(hosted, "record", "ft:old:acme:triage:AbC", "--yes")
    assert (code, len(asked)) == (0, TRAIN)


def test_a_spec_with_problems_stops_no_other(hosted):
    hosted.train()
    hosted.declare("care", count=30)
    assert hosted.shell("apply", "--auto-approve", "--only", "care")[0] == 0
    hosted.shell.write("finetunes/care.yaml", "backend: openai\nbase_model: [\n")
    code, text, asked = asked_by(hosted, "record", "--all", "--yes")
    assert code == 1
    assert len(asked) == TRAIN
    assert "! care: finetunes/care.yaml" in text


def test_json_has_numbers_of_each_part(hosted):
    hosted.train()
    code, found = hosted.shell.json("record", "triage", "--train", "9", "--yes")
    assert code == 0
    parts = found["finetunes"]["triage"]["parts"]
    assert parts["held_out"] == {"rows": 7, "of": 7, "kept": 7, "asked": 0}
    assert parts["train"] == {"rows": 9, "of": 33, "kept": 9, "asked": 9}
    assert found["finetunes"]["triage"]["file"].startswith("finetunes/recorded/")
    assert found["counted"]["with_logprobs"] == 9
    assert BASE in found["finetunes"]["triage"]["model"]


def test_a_full_disk_of_the_files_to_commit_is_named_and_loses_nothing(hosted, monkeypatch):
    hosted.train()
    hosted.forget_answers()
    write = os.write
    recorded = hosted.shell.root / "finetunes/recorded"

    def refuse(handle, data):
        if Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(recorded):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        code, text = hosted.shell("record", "triage", "--yes")
    assert code == 1
    assert "finetunes/recorded cannot be written: No space left on device" in text
    assert "state folder" not in text
    asked = len(hosted.chats())
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    assert len(hosted.chats()) == asked
