"""Whatever a row says is learnt, kept for the service, refused, or named in the report."""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.data.errors import DataError, EmptyExample
from controller.data.examples.compared_parts import rest_of
from controller.data.examples.example import parse, to_canonical
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_calls import answers_are_equal, remarks_on_calls
from controller.data.examples.validate_example import validate_example
from controller.data.recipes import is_the_same_by_all
from controller.data.transforms.normalise import collapse_whitespace, normalise
from controller.data.transforms.pii.apply import PiiPolicy
from controller.spec.data import Columns, Prepare

ASKED = {"role": "user", "content": "질문"}
ANSWERED = {"role": "assistant", "content": "답"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"a": "b"}'}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "결과"}
FUNCTION = {
    "name": "find",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
TOOLS = [{"type": "function", "function": FUNCTION}]
HF_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "find", "arguments": {"a": "b"}}}],
}
FORMER = {
    "role": "assistant",
    "content": None,
    "function_call": {"name": "find", "arguments": "{}"},
}

ROWS = {
    "chat": ("supervised", {"messages": [ASKED, CALLED, RESULT, ANSWERED], "tools": TOOLS, "system": "너는", "parallel_tool_calls": False}),
    "hugging face": ("supervised", {"messages": [ASKED, HF_CALL, {"role": "tool", "name": "find", "content": "결과"}, ANSWERED], "tools": [FUNCTION]}),
    "former": ("supervised", {"messages": [ASKED, FORMER, {"role": "function", "name": "find", "content": "x"}, ANSWERED], "functions": [FUNCTION]}),
    "prompt": ("supervised", {"prompt": "질문", "completion": {"뜻": ["하나"]}, "system": "너는"}),
    "prompt with messages": ("supervised", {"prompt": [ASKED], "completion": [ANSWERED]}),
    "alpaca": ("supervised", {"instruction": "질문", "input": "더", "output": "답", "history": [["가", "나"]], "system": "너는", "tools": TOOLS}),
    "sharegpt": ("supervised", {"conversations": [{"from": "human", "value": "질문"}, {"from": "function_call", "value": '{"name": "find", "arguments": {"a": "b"}}'}, {"from": "observation", "value": "결과"}, {"from": "gpt", "value": "답"}], "tools": TOOLS, "system": "너는"}),
    "sharegpt in OpenAI's form": ("supervised", {"conversations": [ASKED, CALLED, RESULT, ANSWERED], "tools": TOOLS}),
    "pair": ("dpo", {"prompt": "질문", "chosen": "좋은", "rejected": "나쁜", "system": "너는"}),
    "pair of messages": ("dpo", {"prompt": [ASKED], "chosen": [CALLED], "rejected": [ANSWERED], "tools": TOOLS}),
    "whole pair": ("dpo", {"prompt": "질문", "chosen": [ASKED, ANSWERED], "rejected": [ASKED, {"role": "assistant", "content": "나쁜"}]}),
    "dialogues": ("dpo", {"chosen": "\n\nHuman: 질문\n\nAssistant: 좋은", "rejected": "\n\nHuman: 질문\n\nAssistant: 나쁜"}),
    "pair in OpenAI's form": ("dpo", {"input": {"messages": [ASKED], "tools": TOOLS, "parallel_tool_calls": True}, "preferred_output": [ANSWERED], "non_preferred_output": [{"role": "assistant", "content": "나쁜"}]}),
    "sharegpt pair": ("dpo", {"conversations": [{"from": "human", "value": "질문"}], "chosen": {"from": "gpt", "value": "좋은"}, "rejected": {"from": "gpt", "value": "나쁜"}}),
    "graded": ("reinforcement", {"messages": [ASKED], "answer": {"값": ["하나"]}, "tools": TOOLS}),
    "text": ("continued-pretraining", {"text": "글", "title": "제목"}),
}  # fmt: skip

MARK = "심은것"


def places(value, at=()) -> Iterator[tuple]:
    """Yield every place of a row where something can be planted: objects, arrays and texts."""
    yield at
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*at, key))
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*at, number))


def planted(value, at, what):
    if at:
        copy = value.copy()
        copy[at[0]] = planted(value[at[0]], at[1:], what)
        return copy
    if isinstance(value, dict):
        return {**value, **what}
    if isinstance(value, list):
        return [*value, next(iter(what.values()))]
    if isinstance(value, str):
        return value + MARK
    return MARK


keys = st.sampled_from(
    [
        *("label", "weight", "score", "name", "id", "meta", "functions", "images", "tool_choice"),
        *("system", "system_prompt", "tools", "rejected", "history", "input", "content", "value"),
        *("function_call", "tool_calls", "reasoning_content", "refusal", "loss", "text", "prompt"),
        *("tool_call_id", "arguments", "parameters", "conversations", "messages", "description"),
        *("response_format", "parallel_tool_calls", "documents", "type", "strict", "from"),
    ]
)
values = st.sampled_from(
    [MARK, [MARK], {"a": MARK}, [{"role": "user", "content": MARK}], {MARK: 1}]
)


def fate(method, row, columns=None) -> tuple[str, str]:
    """Return the canonical text of a row with what is named of it, or why it is refused."""
    try:
        example = normalise(row_converter(columns, None, method)(row))
        validate_example(example)
        line = to_canonical(example)[0]
    except DataError as error:
        return "", f"{error.message} {error.remedy}"
    assert to_canonical(parse(line))[0] == line
    return line.decode(), " ".join(example.unread)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_as_people_write_it_is_read_whole(name):
    method, row = ROWS[name]
    line, said = fate(method, row)
    assert line
    assert said in ("", "title")


@given(st.sampled_from(sorted(ROWS)), st.data(), keys, values)
def test_what_is_planted_in_a_row_is_kept_refused_or_named(name, data, key, value):
    method, row = ROWS[name]
    at = data.draw(st.sampled_from(list(places(row))))
    with_it = planted(row, at, {key: value})
    line, said = fate(method, with_it)
    is_refused = not line
    is_named = any(one.rpartition(".")[2] in (key, *at) for one in said.split())
    assert MARK in line or is_refused or is_named, (with_it, line, said)
    if is_refused:
        assert said.strip()


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.just(0.5)
    | st.sampled_from(["", "a", "{", "["]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=4,
)


def replaced(value, at, new):
    if not at:
        return new
    copy = value.copy()
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


@settings(deadline=None)
@given(st.sampled_from(sorted(ROWS)), st.data(), keys, anything)
def test_no_value_anywhere_in_a_row_is_a_crash(name, data, key, value):
    method, row = ROWS[name]
    at = data.draw(st.sampled_from(list(places(row))[1:]))
    for broken in (replaced(row, at, value), planted(row, at, {key: value})):
        for recipe in (1, 2):
            with suppress(DataError):
                example = normalise(row_converter(None, None, method, recipe)(broken))
                validate_example(example)
                remarks_on_calls(example)
                answers_are_equal(example)
                PiiPolicy(Prepare(pii="warn"), recipe).apply(example)
                rest_of(collapse_whitespace(example, recipe), recipe)
                to_canonical(example, recipe)


def outcome(row, recipe):
    try:
        example = collapse_whitespace(
            normalise(row_converter(None, None, recipe=recipe)(row)), recipe
        )
        validate_example(example)
    except EmptyExample:
        return "dropped"
    except DataError:
        return None
    return to_canonical(example, recipe)[0]


LEARNT = sorted(name for name, (method, _) in ROWS.items() if method == "supervised")
TEXTS = st.sampled_from(
    ["  a  b ", "[1]", '[{"role": "user", "content": "a"}]', "\n\nHuman: a", "x"]
)


@given(st.sampled_from(LEARNT), st.data(), keys, values, TEXTS)
def test_a_row_that_is_the_same_by_all_recipes_is(name, data, key, value, said):
    _, row = ROWS[name]
    row = json.loads(json.dumps(row).replace(json.dumps("질문"), json.dumps(said)))
    at = data.draw(st.sampled_from(list(places(row))))
    row = planted(row, at, {key: value}) if data.draw(st.booleans()) else row
    new, old = outcome(row, 2), outcome(row, 1)
    if old is not None and new is not None and is_the_same_by_all(row):
        assert new == old, row


def test_plain_rows_are_the_same_by_every_recipe(repository, chat_lines):
    repository.write("a.jsonl", chat_lines.replace('{"messages"', '{"id": 1, "messages"'))
    assert not repository.build("a.jsonl").recipe_matters


@pytest.mark.parametrize(
    ("columns", "method", "row"),
    [
        (Columns(user="q", assistant="a"), "supervised", {"q": "질문", "a": "답", "날짜": MARK}),
        (Columns(user="q", chosen="a", rejected="b"), "dpo", {"q": "?", "a": "1", "b": "2", "날짜": MARK}),
        (Columns(text="q"), "continued-pretraining", {"q": "글", "날짜": MARK}),
    ],
)  # fmt: skip
def test_columns_that_the_spec_does_not_name_are_named(columns, method, row):
    line, said = fate(method, row, columns)
    assert line
    assert said == "날짜"


def test_the_report_counts_the_keys_that_nothing_reads_for_each_source(repository, chat_lines):
    rows = [json.loads(line) for line in chat_lines.splitlines()]
    for number, row in enumerate(rows):
        row["id"] = number
        if number % 2:
            row["메모"] = {"누가": "김"}
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    repository.write("b.jsonl", chat_lines.replace("질문", "물음"))
    dataset = repository.build("a.jsonl", "b.jsonl")
    of_a, of_b = dataset.report.sources
    assert dict(of_a.unread) == {"id": 40, "메모": 20}
    assert not of_b.unread
    ignoring = repository.build({"path": "a.jsonl", "ignore": ["id"]}, "b.jsonl")
    assert dict(ignoring.report.sources[0].unread) == {"메모": 20}
    assert ignoring.train.digest == dataset.train.digest
