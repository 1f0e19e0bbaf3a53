"""Keys beside a conversation: read, refused where they change what is meant, or named."""

import pytest

from controller.data.errors import DataError
from controller.data.examples.row_formats import row_converter
from controller.spec.data import Columns

ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}
CHAT = {"messages": [ASKED, ANSWERED]}
SYSTEM = {"role": "system", "content": "s"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(
    ("method", "row"),
    [
        ("supervised", CHAT),
        ("supervised", {"prompt": "q", "completion": "a"}),
        ("supervised", {"instruction": "q", "output": "a"}),
        ("supervised", {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
        ("dpo", PAIR),
        ("dpo", {"chosen": [ASKED, ANSWERED], "rejected": [ASKED, {**ANSWERED, "content": "b"}]}),
        ("dpo", {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["system", "system_prompt"])
def test_a_system_prompt_beside_a_conversation_is_read_in_every_shape(method, row, key):
    example = row_converter(None, None, method)({**row, key: "s"})
    assert example.messages == [SYSTEM, ASKED, ANSWERED]
    assert example.unread == ()


def test_a_system_prompt_that_is_repeated_is_read_once_and_another_is_refused():
    convert = row_converter(None, None)
    assert convert({"messages": [SYSTEM, ASKED, ANSWERED], "system": "s"}).messages[0] == SYSTEM
    with pytest.raises(DataError, match="there are two system prompts"):
        convert({"messages": [SYSTEM, ASKED, ANSWERED], "system": "another"})
    with pytest.raises(DataError, match="`system` is not text"):
        convert({**CHAT, "system": ["s"]})


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("label", False, "tells whether the answer is good"),
        ("label", "true", "tells whether the answer is good"),
        ("kto_tag", True, "tells whether the answer is good"),
        ("weight", 0, "weighs the row"),
        ("weight", 0.3, "weighs the row"),
        ("score", 2, "rates the row"),
        ("reward", "0.1", "rates the row"),
        ("rejected", "b", "is another answer of a pair"),
        ("rejected_response", "b", "is another answer of a pair"),
        ("images", ["a.png"], "is beside the conversation"),
        ("tool_choice", "required", "decides which tool is called"),
        ("function_call", {"name": "f"}, "decides which tool is called"),
        ("response_format", {"type": "json_object"}, "asks for a form of the answer"),
        ("history", [["a", "b"]], "seems to be a part of the question"),
        ("context", "c", "seems to be a part of the question"),
        ("instructions", "be short", "seems to be a system prompt"),
        ("chat_template_kwargs", {"enable_thinking": False}, "changes how the chat template writes"),
    ],
)  # fmt: skip
def test_a_key_that_changes_what_is_meant_is_refused_by_name(key, value, what):
    row = {**CHAT, key: value}
    with pytest.raises(DataError) as caught:
        row_converter(None, None)(row)
    assert caught.value.message.startswith(f"`{key}` {what}")
    assert caught.value.remedy.endswith(f"ignore: [{key}]")
    # Whoever names it in the spec has thought of it.
    ignoring = row_converter(None, None, ignored=frozenset({key}))
    assert ignoring(row).messages == CHAT["messages"]
    assert ignoring(row).unread == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("label", "예약"), ("label", 3), ("weight", 1), ("score", "good"), ("images", [])),
        *(("tool_choice", "auto"), ("response_format", {"type": "text"}), ("id", 7)),
        *(("history", []), ("context", ""), ("model", "gpt-4.1"), ("temperature", 0.2)),
    ],
)
def test_a_key_that_changes_nothing_is_named(key, value):
    assert row_converter(None, None)({**CHAT, key: value}).unread == (key,)


def test_keys_within_the_input_of_a_pair_are_looked_at_too():
    row = {
        "input": {"messages": [ASKED], "metadata": {"a": 1}},
        "preferred_output": [ANSWERED],
        "non_preferred_output": [{**ANSWERED, "content": "b"}],
        "id": 3,
    }
    assert row_converter(None, None, "dpo")(row).unread == ("id", "input.metadata")
    row["input"]["tool_choice"] = "none"
    with pytest.raises(DataError, match=r"`input\.tool_choice` decides"):
        row_converter(None, None, "dpo")(row)


def test_a_message_that_says_in_another_way_that_it_is_not_learnt_is_refused():
    row = {"messages": [ASKED, {**ANSWERED, "loss": False}]}
    with pytest.raises(DataError, match="has `loss` to tell whether the model learns it"):
        row_converter(None, None)(row)


def test_what_a_condition_or_the_split_names_may_stand_beside_a_conversation(
    repository, chat_lines
):
    lines = chat_lines.splitlines()
    rows = [f'{line[:-1]}, "score": {number % 5}}}' for number, line in enumerate(lines)]
    repository.write("a.jsonl", "\n".join(rows))
    (*_, last) = repository.problems("a.jsonl")
    assert last.message == "and 37 more of these problems"
    dataset = repository.build({"path": "a.jsonl", "where": ["score >= 1"]})
    assert dataset.train.examples + dataset.held_out.examples == 32
    grouped = repository.build("a.jsonl", held_out={"fraction": 0.25, "stratify_by": "score"})
    assert not grouped.report.sources[0].unread


def test_the_first_recipe_reads_what_it_read():
    convert = row_converter(None, None, recipe=1)
    row = {**CHAT, "system": "s", "parallel_tool_calls": False, "functions": [{"name": "f"}]}
    example = convert(row)
    assert (example.messages, example.tools, example.options) == (CHAT["messages"], None, None)


@pytest.mark.parametrize(
    ("columns", "row", "unread"),
    [
        ({"user": "{c}\n{q}", "assistant": "a"}, {"c": "1", "q": "2", "a": "3", "id": 4}, ("id",)),
        ({"user": "m.q", "assistant": "m.a"}, {"m": {"q": "1", "a": "2", "z": 3}}, ("m.z",)),
        ({"user": "\ubb38\uc758", "assistant": "a"}, {"\u1106\u116e\u11ab\u110b\u1174": "1", "a": "2"}, ()),
        ({"user": "m.q", "assistant": "a"}, {"m.q": "1", "a": "2", "m": 3}, ("m",)),
    ],
)  # fmt: skip
def test_columns_that_a_spec_reads_by_path_or_joined_are_not_called_unread(columns, row, unread):
    assert row_converter(Columns(**columns), None)(row).unread == unread
