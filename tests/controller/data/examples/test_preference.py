"""Preference pairs in the forms that people have them."""

import json

import pytest

from controller.data.errors import DataError
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_example import validate_example

ASKED = {"role": "user", "content": "질문"}
GOOD = {"role": "assistant", "content": "좋은"}
BAD = {"role": "assistant", "content": "나쁜"}
SYSTEM = {"role": "system", "content": "너는"}


def hh(*turns):
    return "".join(f"\n\n{who}: {said}" for who, said in turns)


FORMS = {
    "texts": {"prompt": "질문", "chosen": "좋은", "rejected": "나쁜"},
    "messages": {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    "whole conversations": {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    "a prompt and whole conversations": {
        "prompt": "질문", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD],
    },
    "messages that are text": {
        "chosen": json.dumps([ASKED, GOOD]), "rejected": json.dumps([ASKED, BAD]),
    },
    "answers that are text of messages": {
        "prompt": json.dumps([ASKED]), "chosen": json.dumps([GOOD]), "rejected": json.dumps([BAD]),
    },
    "dialogues": {
        "chosen": hh(("Human", "질문"), ("Assistant", "좋은")),
        "rejected": hh(("Human", "질문"), ("Assistant", "나쁜")),
    },
    "a dialogue as the prompt": {
        "prompt": "\n\nHuman: 질문\n\nAssistant:", "chosen": " 좋은".strip(), "rejected": "나쁜",
    },
    "OpenAI's": {
        "input": {"messages": [ASKED]}, "preferred_output": [GOOD], "non_preferred_output": [BAD],
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_pair_is_the_same_pair(form):
    example = row_converter(None, None, "dpo")(FORMS[form])
    assert (example.messages, example.rejected) == ([ASKED, GOOD], BAD)
    assert example.unread == ()
    validate_example(example)


def test_a_dialogue_of_several_turns():
    before = [("Human", "가\n\n나"), ("Assistant", "다"), ("Human", "라")]
    row = {
        "chosen": hh(*before, ("Assistant", "좋은")),
        "rejected": hh(*before, ("Assistant", "나쁜")),
    }
    example = row_converter(None, None, "dpo")(row)
    assert [one["content"] for one in example.messages] == ["가\n\n나", "다", "라", "좋은"]
    assert [one["role"] for one in example.messages] == ["user", "assistant"] * 2


def test_a_system_prompt_may_stand_before_the_prompt_that_is_repeated():
    row = {"prompt": "질문", "chosen": [SYSTEM, ASKED, GOOD], "rejected": [SYSTEM, ASKED, BAD]}
    assert row_converter(None, None, "dpo")(row).messages == [SYSTEM, ASKED, GOOD]


def test_a_prompt_that_the_conversations_do_not_have_is_not_lost():
    row = {"prompt": "다른 질문", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}
    with pytest.raises(DataError, match="does not begin with the `prompt`"):
        row_converter(None, None, "dpo")(row)


def test_the_first_recipe_learns_texts_as_they_are():
    convert = row_converter(None, None, "dpo", recipe=1)
    row = FORMS["a dialogue as the prompt"]
    assert convert(row).messages[0]["content"] == row["prompt"]
    row = FORMS["answers that are text of messages"]
    assert convert(row).rejected["content"] == row["rejected"]


def test_pairs_with_equal_answers_are_dropped_and_counted(repository):
    rows = [
        {"prompt": f"질문 {n}", "chosen": "좋은", "rejected": "좋은" if n < 5 else "나쁜"}
        for n in range(30)
    ]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    dataset = repository.build("a.jsonl", method="dpo")
    steps = {step.name: step for step in dataset.report.steps}
    assert steps["pairs"].dropped == 5
    assert steps["pairs"].reasons[0] == (
        "finetunes/a.jsonl:1: both answers are the same: nothing is preferred"
    )
    assert dataset.train.examples + dataset.held_out.examples == 25


def test_pairs_that_masking_makes_equal_are_dropped_too(repository):
    rows = [
        {
            "prompt": f"질문 {n}",
            "chosen": "a@example.com" if n else "b",
            "rejected": "c@example.com",
        }
        for n in range(20)
    ]
    rows += [{"prompt": f"물음 {n}", "chosen": "a", "rejected": "b"} for n in range(20)]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    dataset = repository.build("a.jsonl", method="dpo", prepare={"pii": "mask"})
    assert not {"pairs"} & {step.name for step in dataset.report.steps}
