"""What of an example is compared when near duplicates are looked for."""

import json

import pytest

from controller.data.examples.compared_parts import rest_of, texts_of
from controller.data.examples.example import Example

ASKED = {"role": "user", "content": "재고가 얼마나 있는지 알려 주세요"}
ANSWERED = {"role": "assistant", "content": "네, 확인해 보겠습니다."}
TOOL = {"type": "function", "function": {"name": "get_stock"}}


def called(arguments, number="c1"):
    function = {"name": "get_stock", "arguments": arguments}
    calls = [{"id": number, "type": "function", "function": function}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def with_image(url):
    image = {"type": "image_url", "image_url": {"url": url}}
    return {**ASKED, "content": [{"type": "text", "text": ASKED["content"]}, image]}


PLAIN = Example([ASKED, ANSWERED])
CALL = Example([ASKED, called('{"item": "1"}')])


def test_an_example_of_texts_alone_has_no_rest():
    system = {"role": "system", "content": "s"}
    assert rest_of(PLAIN) == rest_of(Example([system, ASKED, ANSWERED])) == b""
    assert rest_of(Example([], text="글")) == b""


@pytest.mark.parametrize(
    "other",
    [
        Example([ASKED, called('{"item": "2"}')]),
        Example([ASKED, called('{"item": "1"}')], [TOOL]),
        Example([ASKED, called('{"item": "1"}')], options={"parallel_tool_calls": False}),
        Example([with_image("a"), called('{"item": "1"}')]),
        Example([ASKED, ANSWERED], rejected=called('{"item": "1"}')),
    ],
)
def test_what_is_not_text_has_to_be_equal(other):
    assert rest_of(other) != rest_of(CALL)


def test_ids_and_the_spelling_of_arguments_do_not_count():
    assert rest_of(Example([ASKED, called('{ "item":"1" }', "other")])) == rest_of(CALL)
    assert rest_of(Example([ASKED, called({"item": "1"})])) == rest_of(CALL)


def test_what_is_thought_is_compared_as_text():
    thinking = {**ANSWERED, "reasoning_content": "흠"}
    assert texts_of(Example([ASKED, thinking])) == [ASKED["content"], "흠", ANSWERED["content"]]
    assert rest_of(Example([ASKED, thinking])) == b""


def test_the_first_recipe_compares_contents():
    assert rest_of(CALL, 1) == b""
    assert texts_of(Example([ASKED, {**ANSWERED, "thinking": "흠"}]), 1) == texts_of(PLAIN)


def test_rows_that_differ_in_their_calls_alone_stay(repository):
    asked = {"role": "user", "content": "Get the stock of the item that I named before"}
    rows = [{"messages": [asked, called(json.dumps({"item": f"{n}"}))]} for n in range(30)]
    rows += [
        {"messages": [{**asked, "content": f"{asked['content']}!"}, row["messages"][1]]}
        for row in rows
    ]
    repository.write("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    repository.write("b.jsonl", json.dumps({"messages": [ASKED, ANSWERED]}))
    held_out = [{"path": "b.jsonl"}]
    dataset = repository.build("a.jsonl", held_out=held_out, prepare={"deduplicate": "near"})
    assert dataset.train.examples == 30
    [near] = [step for step in dataset.report.steps if step.name == "near"]
    assert near.dropped == 30
