"""Calls of functions in the forms that people have them, and whether they can be made."""

import json

import pytest

from controller.data.errors import DataError
from controller.data.examples.example import Example, parse, to_canonical
from controller.data.examples.row_formats import row_converter
from controller.data.examples.tool_calls import in_openai_form
from controller.data.examples.validate_calls import answers_are_equal, remarks_on_calls
from controller.data.examples.validate_example import validate_example
from controller.resolve.preflight import warnings_of
from controller.spec.model import Spec

ASKED = {"role": "user", "content": "재고?"}
ANSWERED = {"role": "assistant", "content": "세 봉지요."}
SCHEMA = {"type": "object", "properties": {"zone": {}, "item": {}}, "required": ["item"]}
FUNCTION = {"name": "get_stock", "description": "d", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]


def call(arguments, number="call_1", name="get_stock"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def called(*calls, **more):
    return {"role": "assistant", "content": None, "tool_calls": list(calls), **more}


def result(content, number="call_1"):
    return {"role": "tool", "content": content, "tool_call_id": number}


WHOLE = [ASKED, called(call('{"zone": 2, "item": "원두"}')), result("3"), ANSWERED]
FORMS = {
    "openai": ({"messages": WHOLE, "tools": TOOLS}),
    "hugging face": {
        "messages": [
            ASKED,
            {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "get_stock", "arguments": {"zone": 2, "item": "원두"}}}]},
            {"role": "tool", "name": "get_stock", "content": "3"},
            ANSWERED,
        ],
        "tools": [FUNCTION],
    },
    "functions without a wrapper": {
        "messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "get_stock", "arguments": {"zone": 2, "item": "원두"}}]}, {"role": "tool", "content": "3"}, ANSWERED],
        "tools": [{"function": FUNCTION}],
    },
    "llama": {
        "messages": [ASKED, {"role": "assistant", "tool_calls": [{"name": "get_stock", "parameters": {"zone": 2, "item": "원두"}}]}, {"role": "tool", "content": "3"}, ANSWERED],
        "tools": [{"type": "function", **FUNCTION}],
    },
    "former": {
        "messages": [
            ASKED,
            {"role": "assistant", "content": None, "function_call": {"name": "get_stock", "arguments": '{"zone": 2, "item": "원두"}'}},
            {"role": "function", "name": "get_stock", "content": "3"},
            ANSWERED,
        ],
        "functions": [FUNCTION],
    },
    "texts in cells": {
        "messages": json.dumps([ASKED, called(call('{"zone": 2, "item": "원두"}')), result("3"), ANSWERED]),
        "tools": json.dumps(TOOLS),
    },
    "sharegpt": {
        "conversations": [
            {"from": "human", "value": "재고?"},
            {"from": "function_call", "value": '{"name": "get_stock", "arguments": {"zone": 2, "item": "원두"}}'},
            {"from": "observation", "value": "3"},
            {"from": "gpt", "value": "세 봉지요."},
        ],
        "tools": json.dumps([FUNCTION]),
    },
    "sharegpt in openai's form": {"conversations": WHOLE, "tools": TOOLS},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_call_comes_out_in_the_protocols(form):
    example = row_converter(None, None)(FORMS[form])
    assert example.messages == WHOLE
    assert example.tools == TOOLS
    validate_example(example)
    assert not any(remarks_on_calls(example))


def test_ids_are_counted_around_those_that_are_written():
    bare = {"function": {"name": "f", "arguments": {}}}
    messages = [
        ASKED,
        called(bare, call("{}", "call_2"), bare),
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2", "tool_call_id": "call_2"},
        {"role": "tool", "content": {"n": [3]}},
    ]
    new = in_openai_form(messages)
    assert [one["id"] for one in new[1]["tool_calls"]] == ["call_1", "call_2", "call_3"]
    assert [one["tool_call_id"] for one in new[2:]] == ["call_1", "call_2", "call_3"]
    assert new[4]["content"] == '{"n": [3]}'
    assert in_openai_form(new) == new


def test_results_are_matched_by_name_where_they_have_one():
    made = called({"name": "a", "arguments": {}}, {"name": "b", "arguments": {}})
    results = [{"role": "tool", "name": name, "content": name} for name in ("b", "a")]
    new = in_openai_form([ASKED, made, *results])
    assert [one["tool_call_id"] for one in new[2:]] == ["call_2", "call_1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('"{\\"item\\": \\"0\\"}"', "JSON text of JSON text"),
        ("{'item': 0}", "are not JSON"),
        ("", "are not JSON"),
        ("[1]", "are not an object: \\[1\\]"),
        ("3", "are not an object: 3"),
        ('{"a": NaN}', "are not JSON: NaN is not a number of JSON"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "have 'c' twice"),
    ],
)
def test_arguments_that_nobody_can_pass_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        validate_example(Example([ASKED, called(call(arguments))]))
    with pytest.raises(DataError, match=message):
        validate_example(Example([ASKED, ANSWERED], rejected=called(call(arguments))))


def test_a_call_of_a_function_that_is_not_among_the_tools_is_a_remark():
    made = called(call("{}", name="get_stokc"), call("{}", name="get_stokc"), call("{}", name="x"))
    remarks = remarks_on_calls(Example([ASKED, made], TOOLS))
    assert remarks == (("'get_stokc' (did you mean 'get_stock'?)", "'x'"), "")
    # What is not learnt shows what not to do, and without tools nothing is known of them.
    unlearnt = Example([ASKED, called(call("{}", name="x"), weight=0), ANSWERED], TOOLS)
    pair = Example([ASKED, ANSWERED], TOOLS, rejected=called(call("{}", name="x")))
    for example in (unlearnt, pair, Example([ASKED, made])):
        assert not any(remarks_on_calls(example))


def test_functions_that_are_called_and_not_defined_are_counted_by_name(repository):
    rows = [
        {
            "messages": [{**ASKED, "content": f"{n}?"}, called(call("{}", name=name))],
            "tools": TOOLS,
        }
        for n, name in enumerate(["get_stock"] * 4 + ["get_stokc"] * 12 + ["x"] * 3)
    ]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    dataset = repository.build("a.jsonl")
    assert dataset.train.examples + dataset.held_out.examples == 19
    meant = "'get_stokc' (did you mean 'get_stock'?)"
    assert dataset.report.sources[0].undefined == {meant: 12, "'x'": 3}
    [step] = [step for step in dataset.report.steps if step.name == "tools"]
    assert step.noted == 15
    assert step.reasons[0] == f"finetunes/a.jsonl:5: {meant} called, and not among the row's tools"
    data = {"train": [{"path": "a.jsonl"}], "held_out": {"fraction": 0.2}}
    spec = Spec.model_validate(
        {"backend": "local-gpu", "base_model": "org/m", "method": "supervised", "data": data}
    )
    assert (
        f"examples that call a function which is not among their tools: 15: {meant}, 'x'"
        in list(warnings_of(spec, dataset, Silent()))
    )


class Silent:
    """An inspector that has nothing to say."""

    def warnings(self, *_: object) -> tuple[str, ...]:
        return ()


def test_a_call_without_an_argument_that_is_required_is_noted(repository):
    rows = [
        {"messages": [{**ASKED, "content": f"{n}?"}, called(call('{"zone": 1}'))], "tools": TOOLS}
        for n in range(20)
    ]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    steps = {step.name: step for step in repository.build("a.jsonl").report.steps}
    assert steps["calls"].noted == 20
    expected = "get_stock is called without 'item', which it requires"
    assert steps["calls"].reasons[0] == f"finetunes/a.jsonl:1: {expected}"


def test_an_answer_cannot_have_calls_in_both_forms():
    both = called(call("{}"), function_call={"name": "f", "arguments": "{}"})
    with pytest.raises(DataError, match="both `function_call` and `tool_calls`"):
        in_openai_form([ASKED, both])


def test_the_order_of_keys_is_the_authors_in_what_a_model_reads():
    tools = [
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"z": 1, "a": {"y": 1.0, "b": 2}}},
        }
    ]
    graded = {"want": {"z": 1, "a": 2}}
    kept = '{"z":1,"a":{"y":1,"b":2}}'
    example = Example([ASKED, called(call({"when": 1, "at": 2}, name="f"))], tools)
    line = to_canonical(example)[0].decode()
    assert f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{kept}}}}}]' in line
    assert '{"function":{"arguments":{"when":1,"at":2},"name":"f"},"id":"call_1"' in line
    assert '"want":{"z":1,"a":2}' in to_canonical(Example([ASKED], graded=graded))[0].decode()
    pair = Example([ASKED, ANSWERED], tools, rejected=called(call({"z": 1, "a": 2})))
    for one in (example, pair, Example([ASKED], tools, graded=graded)):
        assert to_canonical(parse(to_canonical(one)[0])) == to_canonical(one)
    # The first recipe sorts them.
    assert '{"a":{"b":2,"y":1},"z":1}' in to_canonical(example, recipe=1)[0].decode()


def test_conversations_with_arguments_as_text_keep_their_bytes():
    example = Example(WHOLE)
    assert to_canonical(example) == to_canonical(example, recipe=1)


def test_parallel_tool_calls_is_kept_where_the_protocol_has_it():
    row = {"messages": WHOLE, "tools": TOOLS, "parallel_tool_calls": False}
    line = to_canonical(row_converter(None, None)(row))[0]
    assert b'],"parallel_tool_calls":false,"tools":[' in line
    assert to_canonical(parse(line))[0] == line
    pair = {
        "input": {**row, "messages": [ASKED]},
        "preferred_output": [ANSWERED],
        "non_preferred_output": [called(call("{}"))],
    }
    line = to_canonical(row_converter(None, None, "dpo")(pair))[0]
    assert json.loads(line)["input"]["parallel_tool_calls"] is False
    with pytest.raises(DataError, match="`parallel_tool_calls` is neither true nor false"):
        row_converter(None, None)({**row, "parallel_tool_calls": "no"})


def test_the_first_recipe_leaves_calls_as_they_are():
    row = FORMS["hugging face"]
    example = row_converter(None, None, recipe=1)(row)
    assert example.messages[1]["tool_calls"] == row["messages"][1]["tool_calls"]
    assert example.messages[2] == row["messages"][2]


@pytest.mark.parametrize(
    ("preferred", "rejected", "equal"),
    [
        ({"content": "a"}, {"content": "a"}, True),
        ({"content": "a"}, {"content": "a", "weight": 1}, True),
        ({"content": "a"}, {"content": "b"}, False),
        (called(call('{"a": 1}')), called(call('{ "a":1 }', "other")), True),
        (called(call('{"a": 1}')), called(call('{"a": 2}')), False),
        ({"content": "a", "reasoning_content": "x"}, {"content": "a"}, False),
    ],
)
def test_pairs_of_equal_answers(preferred, rejected, equal):
    pair = Example(
        [ASKED, {"role": "assistant", **preferred}], rejected={"role": "assistant", **rejected}
    )
    assert answers_are_equal(pair) is equal


@pytest.mark.parametrize(
    "made",
    [
        {"function": {"name": "f"}, "arguments": {"a": 1}},
        {"function": {"name": "f", "arguments": {"a": 1}}, "name": "g"},
        {"function": {"name": "f", "arguments": "{}", "parameters": {"a": 1}}},
    ],
)
def test_parts_of_a_call_that_nothing_would_read_are_refused(made):
    example = row_converter(None, None)({"messages": [ASKED, called(made)]})
    with pytest.raises(DataError, match="which nothing would read"):
        validate_example(example)
    validate_example(
        row_converter(None, None)({"messages": [ASKED, called({**call("{}"), "name": None})]})
    )


@pytest.mark.parametrize("said", [False, True, 0, "false", "True", "0"])
def test_turns_that_say_whether_they_are_learnt_are_refused_in_every_shape(said):
    turn = {"from": "gpt", "value": "b", "loss": said}
    message = {"role": "assistant", "content": "b", "train": said}
    for row in (
        {"conversations": [{"from": "human", "value": "a"}, turn]},
        {"messages": [ASKED, message]},
    ):
        with pytest.raises(DataError, match="whether the model learns it"):
            row_converter(None, None)(row)
    assert row_converter(None, None)(
        {"messages": [ASKED, {**message, "train": None, "loss": 0.35}]}
    )
