"""Misses as training data: which metric decides, and what a person corrected."""

import json

import pytest

from controller.evaluate.opinions.misses import (
    deciding_metric,
    is_corrected,
    is_miss,
    merged,
    miss_line,
    miss_of,
    missed,
)
from controller.spec.evaluation import Evaluation

USER = {"role": "user", "content": "환불되나요?"}
CALL = {"id": "1", "type": "function", "function": {"name": "예약", "arguments": '{"명": 2}'}}


def line(**changes) -> dict:
    measured = {
        "id": "0" * 16,
        "origin": "data/held.jsonl:3",
        "messages": [USER],
        "reference": "네, 됩니다.",
        "answers": {"candidate": "아니요", "base": "?"},
        "values": {"candidate": {"exact_match": 0.0}, "base": {"exact_match": 1.0}},
    }
    return measured | changes


def corrected(row: dict, answer: str, **changes) -> dict:
    messages = [*row["messages"][:-1], {"role": "assistant", "content": answer}]
    return {**row, "messages": messages, **changes}


@pytest.mark.parametrize(
    ("gate", "metrics", "name"),
    [
        ([], ["exact_match", "accuracy"], "exact_match"),
        (["accuracy >= 0.8"], ["exact_match", "accuracy"], "accuracy"),
        (["chrf >= 40", "accuracy >= 0.8"], ["exact_match", "chrf", "accuracy"], "accuracy"),
        (["accuracy[lang=ko] >= 0.8"], ["exact_match", "accuracy"], "accuracy"),
        ([], [{"accuracy": {"name": "strict"}}], "strict"),
        ([], ["chrf", "exact_match"], "exact_match"),
        ([], ["chrf", {"judge": {"model": "m", "rubric": "r"}}], None),
        ([], [], None),
        (["stop_rate >= 0.9"], ["exact_match"], "stop_rate"),
    ],
)
def test_the_first_metric_of_rights_and_wrongs_decides(gate, metrics, name):
    chosen = Evaluation.model_validate({"metrics": metrics}).metrics
    assert deciding_metric(gate, chosen) == name


@pytest.mark.parametrize(
    ("value", "is_missed"), [(0, True), (0.0, True), (0.5, False), (1, False), (None, False)]
)
def test_a_miss_is_an_answer_of_the_candidate_that_is_all_wrong(value, is_missed):
    values = {"candidate": {"exact_match": value}, "base": {"exact_match": 0.0}}
    assert missed(line(values=values), "exact_match") is is_missed
    assert missed(line(values=values), "accuracy") is False


def test_a_miss_shows_both_answers_and_waits_for_a_better_one():
    assert miss_of(line()) == {
        "messages": [USER, {"role": "assistant", "content": ""}],
        "ftctl_miss_of": "data/held.jsonl:3",
        "ftctl_wrong_answer": "아니요",
        "ftctl_expected_answer": "네, 됩니다.",
    }


def test_a_miss_keeps_its_tools_and_shows_calls_as_people_write_them():
    tools = [{"type": "function", "function": {"name": "예약"}}]
    found = miss_of(
        line(
            tools=tools,
            origin="",
            reference="",
            reference_calls=[CALL],
            calls={"candidate": [CALL, CALL], "base": [CALL]},
        )
    )
    assert found["tools"] == tools
    assert found["ftctl_miss_of"] == "0" * 16
    assert found["ftctl_expected_answer"] == '예약({"명": 2})'
    assert found["ftctl_wrong_answer"] == '아니요\n예약({"명": 2}), 예약({"명": 2})'


@pytest.mark.parametrize(
    ("row", "is_one"),
    [
        (miss_of(line()), True),
        ({"ftctl_miss_of": "x", "messages": []}, True),
        ({"ftctl_miss_of": "x"}, False),
        ({"ftctl_miss_of": "x", "messages": "?"}, False),
        ({"ftctl_miss_of": "x", "messages": ["?"]}, False),
        ({"messages": [USER]}, False),
        ([], False),
        (None, False),
        ("ftctl_miss_of", False),
    ],
)
def test_only_a_file_of_misses_is_written_over(row, is_one):
    assert is_miss(row) is is_one


@pytest.mark.parametrize(
    ("last", "is_done"),
    [
        ({"role": "assistant", "content": ""}, False),
        ({"role": "assistant", "content": None}, False),
        ({"role": "assistant"}, False),
        ({"role": "assistant", "content": "네"}, True),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, True),
        ({"role": "assistant", "content": "", "tool_calls": []}, False),
    ],
)
def test_an_answer_or_a_call_corrects_a_miss(last, is_done):
    assert is_corrected({"messages": [USER, last]}) is is_done
    assert not is_corrected({"messages": []})
    assert not is_corrected({})


def test_corrections_stay_in_the_place_of_their_misses():
    old = [miss_of(line(origin=f"held.jsonl:{number}")) for number in range(5)]
    done = [corrected(old[1], "하나"), old[2], corrected(old[3], "셋"), corrected(old[4], "넷")]
    found = list(merged(old[:4], done))
    # What is no miss any more, and was corrected, is at the end.
    assert found == [old[0], done[0], old[2], done[2], done[3]]
    assert list(merged(old[:4], found)) == found


def test_every_correction_of_one_miss_stays():
    """A person who writes two good answers to a question copies the line."""
    miss, other = miss_of(line()), miss_of(line(origin="data/held.jsonl:9"))
    done = [corrected(miss, "네."), corrected(miss, "됩니다."), corrected(miss, "네!", note="길게")]
    assert list(merged([miss, other], done)) == [*done, other]
    assert list(merged([other], done)) == [other, *done]


@pytest.mark.parametrize("before", [[], [USER, {"role": "assistant", "content": "네?"}]])
def test_a_correction_of_another_question_is_another_line(before):
    miss = miss_of(line(messages=[*before, USER]))
    asked = {"role": "user", "content": "환불 규정이 있나요?"}
    rewritten = corrected(miss | {"messages": [*before, asked, {}]}, "있습니다.")
    assert list(merged([miss], [rewritten])) == [miss, rewritten]


def test_a_line_is_one_line_of_utf_8():
    written = miss_line(miss_of(line(reference="둘\n줄 \u2028 \ud800")))
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert "환불되나요?".encode() in written
    assert json.loads(written)["ftctl_expected_answer"] == "둘\n줄 \u2028 ?"
