"""Rows that cannot be used, where nobody can edit them; and those that can, and need a word."""

import json

import pytest

from controller.data.errors import DataError
from controller.data.examples.example import Example
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_example import validate_example
from controller.spec.data import Columns

ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}
GREETED = {"role": "assistant", "content": "어서 오세요."}


def steps(dataset):
    return {step.name: step for step in dataset.report.steps}


def test_a_source_may_set_unusable_rows_aside_with_a_count_and_the_reasons(repository, chat_lines):
    broken = '{"messages": []}\n{"messages": 3}\nnot json\n{"messages": [{"role": "x", "content": "y"}]}\n'
    repository.write("a.jsonl", broken + chat_lines)
    assert len(repository.problems("a.jsonl")) == 4
    dataset = repository.build({"path": "a.jsonl", "unusable": "drop"})
    step = steps(dataset)["unusable"]
    assert (step.dropped, step.kept) == (4, 40)
    assert step.reasons[1] == "finetunes/a.jsonl:2: `messages` is not an array"
    assert dataset.report.sources[0].dropped == 4
    written = dataset.report.reasons.read_text().splitlines()
    assert sum(": unusable: " in line for line in written) == 4
    assert dataset.train.examples + dataset.held_out.examples == 40


def test_a_source_of_nothing_but_unusable_rows_says_why(repository):
    repository.write("a.jsonl", '{"messages": 3}\n' * 30)
    problems = repository.problems({"path": "a.jsonl", "unusable": "drop"})
    assert "30 dropped by unusable" in problems[0].message
    assert "`messages` is not an array" in problems[0].message


def test_what_is_wrong_with_a_table_as_a_whole_stays_an_error(repository):
    repository.write("a.csv", "frage,antwort\n" + "".join(f"q{n},a\n" for n in range(20)))
    columns = {"user": "question", "assistant": "antwort"}
    (problem,) = repository.problems({"path": "a.csv", "columns": columns, "unusable": "drop"})
    assert "there is no column 'question'" in problem.message


def test_a_conversation_that_the_assistant_opens_is_learnt_and_noted(repository, chat_lines):
    lines = [json.loads(line) for line in chat_lines.splitlines()]
    for row in lines[:3]:
        row["messages"].insert(0, GREETED)
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in lines))
    dataset = repository.build("a.jsonl")
    step = steps(dataset)["greeting"]
    assert (step.noted, step.dropped) == (3, 0)
    assert step.reasons[0] == (
        "finetunes/a.jsonl:1: the assistant speaks first: it learns to, without a question"
    )


@pytest.mark.parametrize(
    "messages", [[GREETED], [GREETED, ANSWERED, ASKED, ANSWERED], [GREETED, {**ASKED, "content": " "}, ANSWERED]]
)  # fmt: skip
def test_a_greeting_alone_is_no_conversation(messages):
    with pytest.raises(DataError):
        validate_example(Example(messages))


@pytest.mark.parametrize(
    ("value", "learnt"),
    [
        ({"z": "가", "a": [1, True, None]}, '{"z": "가", "a": [1, true, null]}'),
        (["b", "a"], '["b", "a"]'),
        (True, "true"),
        (3, "3"),
        (2.5, "2.5"),
        ("text", "text"),
    ],
)
def test_any_json_value_may_be_an_answer(value, learnt):
    rows = [
        ({"prompt": "q", "completion": value}, row_converter(None, None)),
        ({"instruction": "q", "output": value}, row_converter(None, None)),
        ({"u": "q", "a": value}, row_converter(Columns(user="u", assistant="a"), None)),
    ]
    for row, convert in rows:
        assert convert(row).messages[-1] == {"role": "assistant", "content": learnt}


def test_messages_that_are_json_text_are_read_from_tables(repository, chat_lines):
    rows = [json.dumps(json.loads(line)["messages"]) for line in chat_lines.splitlines()]
    cells = "".join(f'{n},"{row.replace(chr(34), chr(34) * 2)}"\n' for n, row in enumerate(rows))
    repository.write("a.csv", "id,messages\n" + cells)
    repository.write("b.jsonl", chat_lines)
    dataset = repository.build("a.csv")
    assert dataset.train.digest == repository.build("b.jsonl").train.digest
    assert dict(dataset.report.sources[0].unread) == {"id": 40}


def test_two_keys_that_are_one_in_unicode_are_not_merged(repository, chat_lines):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"é": 1, "e\u0301": 2}}}
    rows = [{**json.loads(line), "tools": [tool]} for line in chat_lines.splitlines()]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    problems = repository.problems("a.jsonl")
    assert problems[0].message.startswith("an object has two keys that are equal")
