import json

import pytest

from controller.data.errors import DataError
from controller.data.examples.row_formats import row_converter
from controller.spec.data import Columns

ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}
FUNCTION = {"name": "search", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}


def call(number, arguments):
    function = {"name": "search", "arguments": arguments}
    return {"id": f"call_{number}", "type": "function", "function": function}


def sharegpt(*turns, **keys):
    return {"conversations": [{"from": who, "value": value} for who, value in turns], **keys}


@pytest.mark.parametrize(
    ("row", "messages", "tools"),
    [
        ({"messages": [ASKED, ANSWERED]}, [ASKED, ANSWERED], None),
        ({"messages": [ASKED, ANSWERED], "tools": [], "id": 3}, [ASKED, ANSWERED], None),
        ({"messages": [ASKED, ANSWERED], "tools": [TOOL]}, [ASKED, ANSWERED], [TOOL]),
        ({"messages": [ASKED, ANSWERED], "tools": json.dumps([FUNCTION])}, [ASKED, ANSWERED], [TOOL]),
        (
            {"messages": [{**ASKED, "name": "kim", "tool_calls": None}, {**ANSWERED, "weight": 0}]},
            [{**ASKED, "name": "kim"}, {**ANSWERED, "weight": 0}],
            None,
        ),
        (
            {"messages": [ASKED, {"role": "assistant", "tool_calls": [call(1, "{}")]}]},
            [ASKED, {"role": "assistant", "content": None, "tool_calls": [call(1, "{}")]}],
            None,
        ),
        ({"messages": [ASKED, {**ANSWERED, "tool_calls": []}]}, [ASKED, ANSWERED], None),
        ({"prompt": "q", "completion": "a"}, [ASKED, ANSWERED], None),
        ({"prompt": [ASKED], "completion": [ANSWERED]}, [ASKED, ANSWERED], None),
        ({"instruction": "q", "input": "", "output": "a"}, [ASKED, ANSWERED], None),
        ({"instruction": "q", "output": "a"}, [ASKED, ANSWERED], None),
        (
            {
                "instruction": "q",
                "input": "i",
                "output": "a",
                "system": "s",
                "history": [["q", "a"]],
            },
            [{"role": "system", "content": "s"}, ASKED, ANSWERED, {**ASKED, "content": "q\ni"}, ANSWERED],
            None,
        ),
        (sharegpt(("human", "q"), ("gpt", "a")), [ASKED, ANSWERED], None),
        ({"conversations": [ASKED, ANSWERED]}, [ASKED, ANSWERED], None),
        (
            sharegpt(("human", "q"), ("gpt", "a"), system="s", tools=[TOOL]),
            [{"role": "system", "content": "s"}, ASKED, ANSWERED],
            [TOOL],
        ),
        (
            sharegpt(
                ("human", "q"),
                ("function_call", '{"name": "search", "arguments": {"z": "한", "a": 1}}'),
                ("observation", "found"),
                ("function_call", '[{"name": "search", "arguments": "{}"}, {"name": "search"}]'),
                ("observation", "1"),
                ("observation", "2"),
                ("gpt", "a"),
                tools="[]",
            ),
            [
                ASKED,
                {"role": "assistant", "content": None, "tool_calls": [call(1, '{"z": "한", "a": 1}')]},
                {"role": "tool", "content": "found", "tool_call_id": "call_1"},
                {"role": "assistant", "content": None, "tool_calls": [call(2, "{}"), call(3, "{}")]},
                {"role": "tool", "content": "1", "tool_call_id": "call_2"},
                {"role": "tool", "content": "2", "tool_call_id": "call_3"},
                ANSWERED,
            ],
            None,
        ),
    ],
)  # fmt: skip
def test_rows_become_examples(row, messages, tools):
    example = row_converter(None, None)(row)
    assert example.messages == messages
    assert example.tools == tools


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"u": "q", "a": "a"}, [ASKED, ANSWERED]),
        ({"u": "q", "a": "a", "s": "s"}, [{"role": "system", "content": "s"}, ASKED, ANSWERED]),
        ({"u": "q", "a": "a", "s": ""}, [ASKED, ANSWERED]),
        (
            {"u": 1, "a": 2.5, "s": None},
            [{**ASKED, "content": "1"}, {**ANSWERED, "content": "2.5"}],
        ),
    ],
)
def test_declared_columns(row, messages):
    row = {"s": "", **row}
    columns = Columns(user="u", assistant="a", system="s")
    assert row_converter(columns, None)(row).messages == messages


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "answer": "a"}, "question and answer are not recognised; the columns are: question, answer"),
        ({"chosen": "a", "rejected": "b"}, "a preference pair (chosen, rejected), which supervised training cannot use"),
        ({"messages": "hello"}, "`messages` is not an array"),
        ({"messages": ["hello"]}, "a message is not an object"),
        ({"prompt": 3, "completion": "a"}, "`prompt` is neither text nor messages"),
        ({"instruction": ["q"], "output": "a"}, "`instruction` is not text"),
        ({"instruction": "q", "output": "a", "history": [["a"]]}, "`history` holds values other than pairs"),
        ({"conversations": None}, "`conversations` is not an array"),
        ({"conversations": ["x"]}, "a turn is not recognised"),
        (sharegpt(("observation", "x")), "an observation that answers no function call"),
        (sharegpt(("function_call", "x")), "a function call is not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (sharegpt(("function_call", "[{}]")), "a function call has no name"),
        ({"messages": [], "tools": {}, "x": 1}, None),
        ({"messages": [], "tools": {"a": 1}}, "`tools` is not an array"),
        ({"messages": [], "tools": [3]}, "a tool has no name"),
        ({"messages": [], "tools": "["}, "`tools` is not valid JSON: Expecting value: line 1 column 2 (char 1)"),
    ],
)  # fmt: skip
def test_rows_without_a_shape(row, message):
    if message is None:
        assert row_converter(None, None)(row).tools is None
        return
    with pytest.raises(DataError) as caught:
        row_converter(None, None)(row)
    assert caught.value.message == message
    assert caught.value.remedy


@pytest.mark.parametrize("shape", ["chat", "prompt-completion", "alpaca", "sharegpt"])
def test_a_declared_shape_names_the_key_that_is_missing(shape):
    with pytest.raises(DataError, match="there is no '") as caught:
        row_converter(None, shape)({"mesages": [], "promt": 1, "instuction": 1, "conversation": []})
    assert "Did you mean" in caught.value.remedy


def test_a_missing_column_names_the_nearest():
    with pytest.raises(DataError) as caught:
        row_converter(Columns(user="qestion", assistant="a"), None)({"question": "q", "a": "a"})
    assert caught.value.field == "columns.user"
    assert caught.value.remedy == "Did you mean `question`? Use one of: question, a."
