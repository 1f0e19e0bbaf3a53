"""Stored completions: sampled questions of the model itself, or of those with some metadata."""

import json
import shutil

import pytest

from tests.controller.record.test_record import answers_in, asked_by
from tests.servers.hosted_service import LABELS

LIST = ("GET", "/chat/completions")
FILE = "finetunes/recorded/triage.stored.jsonl"


@pytest.fixture
def storing(hosted):
    """Return the repository of a model of which the service has stored 30 completions."""
    hosted.train()
    (model,) = [one for one in hosted.hosted.models if one.startswith("ft:")]
    for number in range(30):
        messages = [{"role": "user", "content": f"손님 {number}: 배송은 언제 오나요?"}]
        hosted.hosted.store(model, messages, LABELS[1], metadata={"team": "care"})
    hosted.hosted.store(
        "gpt-4o", [{"role": "user", "content": "Hello?"}], "Hi!", metadata={"a": "b"}
    )
    return hosted


def listings(hosted):
    return sum((method, path) == LIST for method, path, _, _ in hosted.hosted.requests)


def rows_in(hosted):
    return [json.loads(line) for line in (hosted.shell.root / FILE).read_text("utf-8").splitlines()]


def test_sampled_questions_are_asked_once_and_kept_as_rows(storing):
    arguments = ("record", "triage", "--train", "0", "--yes", "--stored")
    code, text, asked = asked_by(storing, *arguments, "6")
    assert code == 0, text
    assert "stored completions     6  30     0       6" in text
    assert len(asked) == 6
    rows = rows_in(storing)
    assert [row["messages"][-1]["content"] for row in rows] == [LABELS[1]] * 6
    assert {body["messages"][0]["content"] for body in asked} == {
        row["messages"][0]["content"] for row in rows
    }
    read = [path for _, path, _, _ in storing.hosted.requests if path.endswith("/messages")]
    assert len(read) == 6

    before = listings(storing)
    assert asked_by(storing, *arguments, "6")[2] == []
    assert listings(storing) == before
    code, text, more = asked_by(storing, *arguments, "9")
    assert (code, len(more)) == (0, 3)
    assert rows_in(storing)[:6] == rows


def test_recorded_rows_may_become_held_out_rows_and_are_asked_no_more(storing):
    assert storing.shell("record", "triage", "--stored", "6", "--yes")[0] == 0
    storing.forget_answers()
    held_out = f"  held_out: [{{path: {FILE.removeprefix('finetunes/')}}}]\n"
    storing.declare(held_out=held_out)
    storing.hosted.close()
    code, text = storing.shell("record", "triage", "--train", "0", "--stored", "0")
    assert code == 0, text
    assert "Nothing to ask: all 6 answers are kept, at $0.00." in text


def test_a_hosted_model_without_data_gets_held_out_rows_of_what_it_said(storing):
    (model,) = [one for one in storing.hosted.models if one.startswith("ft:")]
    spec = f"backend: openai\nendpoint: hosted\nmethod: prompt\nbase_model: {model}\n"
    storing.shell.write("finetunes/care.yaml", spec)
    code, text = storing.shell("apply", "--auto-approve", "--only", "care")
    assert code == 0, text
    code, text, asked = asked_by(storing, "record", "care", "--yes")
    assert code == 0, text
    assert len(asked) == 30

    # A gate of the next model can stand on these rows, with the service off.
    rows = "data: {held_out: [{path: recorded/care.stored.jsonl}]}\n"
    metrics = "evaluation: {metrics: [accuracy], compare_to: [production]}\n"
    storing.shell.write("finetunes/care.yaml", spec + rows + metrics)
    storing.forget_answers()
    storing.hosted.close()
    code, text = storing.shell("record", "care", "--stored", "0")
    assert code == 0, text
    assert "Nothing to ask: all 30 answers are kept, at $0.00." in text
    code, text = storing.shell("evaluate", "care", "--auto-approve")
    assert code == 0, text
    assert "accuracy " in text


def test_completions_with_metadata_are_of_any_model(storing):
    code, text, asked = asked_by(
        storing, "record", "triage", "--train", "0", "--metadata", "a=b", "--yes"
    )
    assert code == 0, text
    assert [body["messages"][0]["content"] for body in asked] == ["Hello?"]
    # The question is asked of the model in production.
    assert asked[0]["model"].startswith("ft:")


def test_a_service_that_stores_nothing_is_told_of(storing):
    storing.hosted.stored = None
    code, text = storing.shell("record", "triage", "--train", "0", "--stored", "5")
    assert code == 0
    assert "lists no stored completions: Method not allowed: none is asked" in text


def test_equal_questions_count_once_and_empty_ones_are_counted(storing):
    (model,) = [one for one in storing.hosted.models if one.startswith("ft:")]
    storing.hosted.stored = {}
    for _ in range(5):
        storing.hosted.store(model, [{"role": "user", "content": "같은 질문"}], LABELS[0])
    storing.hosted.store(model, [{"role": "system", "content": "?"}], LABELS[0])
    code, text, asked = asked_by(storing, "record", "triage", "--train", "0", "--yes")
    assert code == 0, text
    assert len(asked) == 1
    assert "Note: 1 stored completions have no question that can be asked" in text


def test_personal_data_in_questions_is_masked_before_it_is_asked(storing):
    (model,) = [one for one in storing.hosted.models if one.startswith("ft:")]
    storing.hosted.stored = {}
    storing.hosted.store(
        model, [{"role": "user", "content": "제 메일은 kim@example.com 입니다"}], "환불"
    )
    storing.declare(pii="mask")
    code, text, asked = asked_by(storing, "record", "triage", "--train", "0", "--yes")
    assert code == 0, text
    assert asked[0]["messages"][0]["content"] == "제 메일은 [EMAIL_1] 입니다"
    assert "kim@example.com" not in (storing.shell.root / FILE).read_text("utf-8")

    (storing.shell.root / FILE).unlink()
    storing.declare(pii="reject")
    code, text, asked = asked_by(storing, "record", "triage", "--train", "0", "--yes")
    assert (code, asked) == (0, [])
    assert "Note: 1 stored completions hold personal data" in text


def test_a_damaged_row_is_named(storing):
    storing.shell.write(FILE, '{"messages": [{"role": "user", "content": "?"}]}\n{"messages"\n')
    code, text = storing.shell("record", "triage")
    assert code == 1
    assert f"{FILE}:2: not a recorded conversation" in text


# --- the data policy --------------------------------------------------------------------------


def leaking(storing):
    """Let the model answer with an address, and return its answers as committed."""
    storing.hosted.stored = {}
    storing.hosted.answer = lambda _: "kim@example.com에 물어보세요"
    storing.forget_answers()
    code, text = storing.shell("record", "triage", "--train", "3", "--yes")
    assert code == 0, text
    committed = [one for one in storing.files() if "stored" not in one.name]
    (own,) = (storing.shell.root / ".ftctl/answers").glob("*")
    assert own.read_text("utf-8").count('"text":"kim@example.com') == 10
    return text, [line for path in committed for line in answers_in(path)]


def test_answers_are_masked_as_the_data_is(storing):
    storing.declare(pii="mask")
    text, lines = leaking(storing)
    assert {line["completion"]["text"] for line in lines} == {"[EMAIL_1]에 물어보세요"}
    # Their tokens would spell what is masked.
    assert not any("logprobs" in line for line in lines)
    assert "10 of 10 answers in" in text
    assert "(10 new, 10 masked)" in text


def test_rejected_personal_data_stays_on_this_machine(storing):
    storing.declare(pii="reject")
    text, lines = leaking(storing)
    assert lines == []
    assert "0 of 10 answers in" in text
    assert "10 hold personal data and stay on this machine" in text


def test_a_warning_is_a_warning(storing):
    storing.declare(pii="warn")
    text, lines = leaking(storing)
    assert {line["completion"]["text"] for line in lines} == {"kim@example.com에 물어보세요"}
    assert "(10 new, 10 with personal data)" in text


def test_answers_to_private_data_are_not_written_to_be_committed(storing):
    path = storing.shell.root / "finetunes/triage.yaml"
    path.write_text(path.read_text().replace("  prepare:", "  sensitivity: private\n  prepare:"))
    code, text, asked = asked_by(storing, "record", "triage", "--train", "0", "--yes")
    assert code == 0, text
    assert len(asked) == 30
    assert storing.files() == []
    assert "triage: its data is private, so nothing is written to be committed" in text
    # Its questions stay on this machine as well.
    stored = storing.shell.root / ".ftctl/recorded/triage.stored.jsonl"
    assert len(stored.read_text("utf-8").splitlines()) == 30
    assert asked_by(storing, "record", "triage", "--train", "0", "--stored", "30")[2] == []


def test_an_adopted_model_is_recorded_with_what_its_service_holds(storing):
    root = storing.shell.root
    for name in ("finetunes", ".ftctl"):
        shutil.rmtree(root / name)
    (root / "finetunes").mkdir()
    code, text = storing.shell("adopt", "--endpoint", "hosted", "--all")
    assert code == 0, text
    code, text, asked = asked_by(storing, "record", "--all", "--stored", "5", "--yes")
    assert code == 0, text
    # Its spec names no metric; its expected answers tell that they are labels.
    assert sum("logprobs" in body for body in asked) == len(asked) == 7 + 33 + 5
    assert storing.shell("plan")[1] == "No changes. The one fine-tune matches its spec.\n"
    assert asked_by(storing, "record", "--all", "--stored", "5", "--yes")[2] == []


def test_half_a_character_in_a_question_is_counted_and_not_asked(storing):
    (model,) = [one for one in storing.hosted.models if one.startswith("ft:")]
    storing.hosted.stored = {}
    storing.hosted.store(model, [{"role": "user", "content": "\ud800"}], LABELS[0])
    storing.hosted.store(model, [{"role": "user", "content": "질문"}], LABELS[0])
    code, text, asked = asked_by(storing, "record", "triage", "--train", "0", "--yes")
    assert (code, len(asked)) == (0, 1), text
    assert "Note: 1 stored completions have no question that can be asked" in text
