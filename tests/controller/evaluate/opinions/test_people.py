"""Scores of people → tallies and a remark; IDs and texts that say nothing about a model."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from backends.contract.jobs import BaseModel
from controller.evaluate.answer_file import AnswerFile, prompt_key
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.answers import Answer, given_answer
from controller.evaluate.ask import KeptAnswers, key_of
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.opinions.answer_ids import ANSWER_ID, answer_id, answer_ids, kept_answer
from controller.evaluate.opinions.opinions import Opinions, joined
from controller.evaluate.opinions.people import ids_of, people_say
from controller.evaluate.opinions.read_sheet import SheetRow, SheetScores
from controller.evaluate.opinions.shown import answer_text, question_text, reference_text
from controller.evaluate.prompts.held_out import HeldOut
from tests.splits import split_of

BASE = BaseModel(reference="acme/base", revision="1", identity="scripted:acme/base@1")
CALL = {"id": "1", "type": "function", "function": {"name": "예약", "arguments": '{"a":1,"b":2}'}}
IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


def model(role: str) -> EvaluatedModel:
    return EvaluatedModel(
        role=role, place="scripted", base_model=BASE, model_id=None, identity=role
    )


def sheet(*rows: tuple[str, str, float | None]) -> SheetScores:
    return SheetScores(
        rows=[
            SheetRow(place="s.csv:1", answer_id=one, rater=rater, score=score, values={})
            for one, rater, score in rows
        ]
    )


def said_of(answers: dict[str, list[str]], *rows) -> Opinions:
    """Return what people say of answers, which are called by their IDs."""
    models = [model(role) for role in answers]
    return people_say("human", sheet(*rows), "s.csv", models, lambda one: iter(answers[one.role]))


def test_an_answer_has_the_mean_of_its_scores_whoever_gave_it():
    answers = {"candidate": ["a", "b", "c"], "base": ["x", "b", "y"]}
    found = said_of(
        answers, ("a", "p", 4), ("b", "p", 5), ("b", "q", 2), ("y", "", 0), ("z", "p", 1)
    )
    assert found.tallies == {
        "candidate": {"human": [(4, 1), (3.5, 1), None]},
        "base": {"human": [None, (3.5, 1), (0, 1)]},
    }


SCORED = "answers of this build have scores"
NOBODY = "human: no answer of this build has a score in s.csv"


def agreement(rated: str, raters: int, answers: int, alpha: str) -> str:
    return (
        f"human: {rated} {SCORED}, by {raters} raters; their agreement on {answers} answers that "
        f"two or more scored (Krippendorff's alpha) is {alpha}"
    )


@pytest.mark.parametrize(
    ("rows", "remark"),
    [
        ([], NOBODY),
        ([("a", "p", None), ("x", "p", 3), ("old", "p", 3)], NOBODY),
        ([("a", "p", 0)], f"human: 1 of 3 {SCORED}, by one rater"),
        ([("a", "", 4), ("b", "", 4)], f"human: 2 of 3 {SCORED}, by one rater"),
        ([("a", "p", 4), ("b", "q", 4)], f"human: 2 of 3 {SCORED}, by 2 raters, none of them by two"),
        ([("a", "p", 4), ("old", "q", 4)], f"human: 1 of 3 {SCORED}, by one rater"),
        ([("a", "p", 4), ("a", "q", 4), ("b", "p", 2), ("x", "q", 2)], agreement("2 of 3", 2, 1, "not defined, since all are equal")),
        ([("a", "p", 4), ("a", "q", 4), ("b", "p", 2), ("b", "q", 2), ("b", "r", 2)], agreement("2 of 3", 3, 2, "1.00")),
        ([("a", "p", 1), ("a", "q", 2), ("x", "p", 2), ("x", "q", 1)], agreement("1 of 3", 2, 2, "-0.50")),
        ([("a", "p", 4), ("a", "q", 4), ("b", "p", 2), ("b", "q", 2), ("old", "p", 1), ("old", "q", 5)], agreement("2 of 3", 2, 2, "1.00")),
    ],
)  # fmt: skip
def test_a_remark_tells_how_many_scored_and_how_far_they_agree(rows, remark):
    found = said_of({"candidate": ["a", "b", "c"], "base": ["x", "x", "y"]}, *rows)
    assert found.remarks == (remark,)


def test_opinions_of_several_metrics_are_one():
    first = Opinions(tallies={"candidate": {"a": [(1, 1)]}, "base": {"a": [None]}}, remarks=("x",))
    second = Opinions(tallies={"candidate": {"b": [(2, 1)]}}, remarks=("y", "z"))
    found = joined([first, second])
    assert found.tallies == {"candidate": {"a": [(1, 1)], "b": [(2, 1)]}, "base": {"a": [None]}}
    assert found.remarks == ("x", "y", "z")
    assert joined([]) == Opinions()


def line(**changes) -> dict:
    return {"id": "1", "answers": {"candidate": "네", "base": "네"}, "reference": "답"} | changes


@pytest.mark.parametrize(
    ("changes", "are_equal"),
    [
        ({}, True),
        ({"answers": {"candidate": "네", "base": "네 "}}, False),
        ({"calls": {"candidate": [CALL]}}, False),
        ({"calls": {"candidate": [CALL], "base": [CALL]}}, True),
        ({"calls": {"candidate": [CALL], "base": [CALL, CALL]}}, False),
        (
            {
                "calls": {
                    "candidate": [CALL],
                    "base": [{"function": {"name": "예약", "arguments": '{"b": 2, "a": 1}'}}],
                }
            },
            True,
        ),
    ],
)
def test_equal_answers_to_one_question_have_one_id(changes, are_equal):
    found = answer_ids(line(**changes))
    assert (found["candidate"] == found["base"]) is are_equal
    assert all(ANSWER_ID.fullmatch(one) for one in found.values())
    assert found["candidate"] != answer_ids(line(id="2", **changes))["candidate"]


@settings(deadline=None)
@given(st.text(max_size=20), st.lists(st.sampled_from(["{}", "[", "1e5", '"x"']), max_size=2))
def test_a_kept_answer_has_the_id_that_it_had_when_it_was_given(text, arguments):
    """Sheets are written from the file of an evaluation, and read beside the answers themselves."""
    calls = [{"function": {"name": "f", "arguments": one}} for one in arguments]
    fresh = given_answer(Completion(text=text, finish_reason="stop", tool_calls=calls))
    kept = line(answers={"candidate": fresh.text}, calls={"candidate": calls} if calls else {})
    assert kept_answer(kept, "candidate") == Answer(text=fresh.text, calls=fresh.calls)
    assert answer_ids(kept) == {"candidate": answer_id("1", fresh)}


USER = {"role": "user", "content": "몇 시에 여나요?"}


def test_answers_have_the_ids_under_which_a_sheet_shows_them(tmp_path):
    path = tmp_path / "held.jsonl"
    asked = [{"messages": [USER, {"role": "assistant", "content": f"{n}시"}]} for n in range(2)]
    path.write_text("".join(json.dumps(one) + "\n" for one in asked))
    held_out, candidate = HeldOut(split_of(path)), model("candidate")
    file = AnswerFile(tmp_path / "answers", key_of(candidate))
    given = [
        Completion(text="<think>음</think>9시", finish_reason="stop"),
        Completion(text="", finish_reason="stop", tool_calls=[CALL]),
    ]
    for prompt, one in zip(held_out, given, strict=True):
        file.append(prompt_key(prompt), one)
    kept = KeptAnswers(store=AnswerStore(tmp_path / "answers"), prompts=held_out)
    rows = [row.id for row in held_out.rows()]
    lines = [
        {"id": rows[0], "answers": {"x": "9시"}},
        {"id": rows[1], "answers": {"x": ""}, "calls": {"x": [CALL]}},
    ]
    found = list(ids_of(held_out, kept)(candidate))
    assert found == [answer_ids(one)["x"] for one in lines]
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ([], ""),
        ([USER], "몇 시에 여나요?"),
        ([{"role": "system", "content": "카페"}, USER], "system: 카페\n\nuser: 몇 시에 여나요?"),
        ([{"role": "user", "content": [{"type": "text", "text": "이건?"}, IMAGE]}], "이건? (image_url)"),
        ([{"role": "user", "content": [IMAGE, IMAGE]}], "(image_url) (image_url)"),
        ([{"role": "user", "content": [{"text": "글"}]}], "글"),
        ([USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
         'user: 몇 시에 여나요?\n\nassistant: 예약({"a":1,"b":2})'),
        ([USER, {"role": "assistant", "content": "볼게요.", "tool_calls": [CALL]}, {"role": "tool", "content": "9시"}],
         'user: 몇 시에 여나요?\n\nassistant: 볼게요.\n예약({"a":1,"b":2})\n\ntool: 9시'),
        ([{"role": "user", "content": None}], ""),
    ],
)  # fmt: skip
def test_a_conversation_is_shown_as_people_read_it(messages, shown):
    assert question_text(messages) == shown


def test_answers_are_shown_with_their_calls_and_without_the_role():
    called = line(calls={"base": [CALL]}, reference=None, reference_calls=[CALL])
    assert answer_text(called, "candidate") == "네"
    assert answer_text(called, "base") == '네\n예약({"a":1,"b":2})'
    assert reference_text(called) == '예약({"a":1,"b":2})'
    assert reference_text(line(reference=None)) == ""
    assert reference_text(line()) == "답"
