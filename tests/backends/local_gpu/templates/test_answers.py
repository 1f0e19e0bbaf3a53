"""A model's answer is taken apart into thinking, text and calls, whole and in pieces alike."""

import json
import random
import time
from typing import Any

import pytest

from backends.local_gpu.templates.answers import Answer, AnswerReader, call_of, read_answer
from backends.local_gpu.templates.call_forms import CALL_FORMS, Form, types_of

FORMS = {form.name: form for form in CALL_FORMS}
BAR = "\uff5c"
THINKING = ("<think>", "</think>")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "properties": {
                    "text": {"type": "string"},
                    "number": {"type": "integer"},
                    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "flag": {"type": "boolean"},
                }
            },
        },
    }
]
JSON = Form(thinking=THINKING, call=FORMS["json"])
XML = Form(thinking=THINKING, call=FORMS["xml"])
GLM = Form(thinking=THINKING, call=FORMS["glm"], blank="\n")
BARE = Form(call=FORMS["bare"])
MISTRAL = Form(call=FORMS["mistral"])
GEMMA = Form(thinking=("<|channel>thought\n", "<channel|>"), call=FORMS["gemma"])
CHANNELS = Form(channels=True)
COHERE = Form(
    thinking=("<|START_THINKING|>", "<|END_THINKING|>"),
    call=FORMS["cohere"],
    wraps=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)


def reader(form: Form, opening: str, tools: list[dict[str, Any]] | None) -> AnswerReader:
    return AnswerReader(form=form, types=types_of(tools), offered=bool(tools), opening=opening)


def joined(parts: list[Answer]) -> Answer:
    return Answer(
        text="".join(part.text for part in parts),
        thinking="".join(part.thinking for part in parts),
        calls=tuple(call for part in parts for call in part.calls),
    )


def read(
    form: Form, text: str, opening: str = "", tools: list[dict[str, Any]] | None = None
) -> tuple[str, str, list[tuple[str, Any]]]:
    """Read an answer whole, and in pieces cut at random, which must come to the same."""
    whole = read_answer(reader(form, opening, tools), text)
    for seed in range(20):
        chance = random.Random(seed)
        stream, parts, place = reader(form, opening, tools), [], 0
        while place < len(text):
            end = place + chance.randint(1, 7)
            parts.append(stream.feed(text[place:end]))
            place = end
        assert joined([*parts, stream.end()]) == whole
    calls = [call["function"] for call in whole.calls]
    named = [(call["name"], json.loads(call["arguments"])) for call in calls]
    return whole.thinking, whole.text, named


@pytest.mark.parametrize(
    ("form", "text", "opening", "expected"),
    [
        (JSON, "  def f():\n    pass\n", "", ("", "  def f():\n    pass\n", [])),
        (JSON, "<think>\nwhy\n\nnot\n</think>\n\nPIN", "", ("why\n\nnot", "PIN", [])),
        (JSON, "why\n</think>\n\nPIN", "<|im_start|>assistant\n<think>\n", ("why", "PIN", [])),
        (JSON, "PIN", "<|im_start|>assistant\n<think>\n\n</think>\n\n", ("", "PIN", [])),
        (JSON, "<think>\n\n</think>\n\nPIN", "", ("", "PIN", [])),
        (JSON, "a < b <thin", "", ("", "a < b <thin", [])),
        (GLM, "\n<think></think>\nPIN", "<|assistant|>", ("", "PIN", [])),
        (GEMMA, "<|channel>thought\nwhy\n<channel|>PIN", "", ("why", "PIN", [])),
        (COHERE, "PIN<|END_RESPONSE|>", "<|START_RESPONSE|>", ("", "PIN", [])),
        (Form(blank=" "), " PIN ", "", ("", "PIN ", [])),
        (
            CHANNELS,
            (
                "<|channel|>analysis<|message|>why<|end|>"
                "<|start|>assistant<|channel|>final<|message|>PIN"
            ),
            "<|start|>assistant",
            ("why", "PIN", []),
        ),
        (CHANNELS, "PIN", "<|start|>assistant<|channel|>final<|message|>", ("", "PIN", [])),
        (CHANNELS, "PIN", "<|start|>assistant", ("", "PIN", [])),
    ],
)
def test_thinking_and_marks_are_taken_off_an_answer(
    form: Form, text: str, opening: str, expected: object
) -> None:
    assert read(form, text, opening) == expected


@pytest.mark.parametrize(
    ("form", "text", "calls"),
    [
        (
            JSON,
            '<tool_call>\n{"name": "f", "arguments": {"text": "</tool_call>"}}\n</tool_call>',
            1,
        ),
        (JSON, '<tool_call>{"name": "f", "arguments": "{\\"text\\": \\"</tool_call>\\"}"}', 1),
        (
            XML,
            (
                "<tool_call>\n<function=f>\n<parameter=text>\n5\n</parameter>\n"
                "<parameter=number>\n5\n</parameter>\n<parameter=flag>\nTrue\n</parameter>\n"
                "<parameter=maybe>\nnull\n</parameter>\n</function>\n</tool_call>"
            ),
            {"text": "5", "number": 5, "flag": True, "maybe": None},
        ),
        (
            GLM,
            (
                "\n<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>a\nb</arg_value>\n"
                "<arg_key>number</arg_key>\n<arg_value>7</arg_value>\n</tool_call>"
            ),
            {"text": "a\nb", "number": 7},
        ),
        (BARE, '{"name": "f", "parameters": {"text": "x"}}', {"text": "x"}),
        (MISTRAL, '[TOOL_CALLS] [{"name": "f", "arguments": {}, "id": "012345678"}]', {}),
        (MISTRAL, '[TOOL_CALLS]f[CALL_ID]012345678[ARGS]{"number": 1}', {"number": 1}),
        (
            GEMMA,
            '<|tool_call>call:f{text:<|"|>{a:1}<tool_call|><|"|>,list:[1,{b:true}]}<tool_call|>',
            {"text": "{a:1}<tool_call|>", "list": [1, {"b": True}]},
        ),
        (
            Form(call=FORMS["python"]),
            "<|tool_call_start|>[f(text='it\\'s', number=-2, more={\"a\": null})]<|tool_call_end|>",
            {"text": "it's", "number": -2, "more": {"a": None}},
        ),
        (
            Form(call=FORMS["deepseek"]),
            (
                f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>function<{BAR}tool▁sep{BAR}>f\n```json\n"
                f'{{"number": 1}}\n```<{BAR}tool▁call▁end{BAR}><{BAR}tool▁calls▁end{BAR}>'
            ),
            {"number": 1},
        ),
        (
            Form(call=FORMS["deepseek"]),
            f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>f<{BAR}tool▁sep{BAR}>{{}}<{BAR}tool▁call▁end{BAR}>",
            {},
        ),
        (
            Form(call=FORMS["kimi"]),
            (
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
                "<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"
            ),
            {},
        ),
        (COHERE, '<|START_ACTION|>[{"tool_name": "f", "parameters": {}}]<|END_ACTION|>', {}),
        (CHANNELS, " to=functions.f<|channel|>commentary json<|message|>{}", {}),
        (
            CHANNELS,
            '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"text":"x"}',
            {"text": "x"},
        ),
    ],
)
def test_calls_of_every_form_are_read(form: Form, text: str, calls: Any) -> None:
    opening = "<|start|>assistant" if form.channels else ""
    thinking, said, named = read(form, text, opening, TOOLS)
    wanted = {"text": "</tool_call>"} if calls == 1 else calls
    assert (thinking, said, named) == ("", "", [("f", wanted)])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (JSON, '<tool_call>{"name": "f", "argum'),
        (JSON, "<tool_call>{bad}</tool_call>"),
        (JSON, '<tool_call>{"name": 5}</tool_call>'),
        (JSON, '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>'),
        (JSON, "<tool_call>" + "[" * 5000 + "</tool_call>"),
        (XML, "<tool_call>\n<function=f>\nhello\n</function>\n</tool_call>"),
        (GLM, "<tool_call>not a call</tool_call>"),
        (BARE, '{"name": "Kim", "age": 7}'),
        (BARE, '["name"]'),
        (MISTRAL, "[TOOL_CALLS] none"),
        (GEMMA, "<|tool_call>call:f{text:x}<tool_call|>"),
        (Form(call=FORMS["python"]), "<|tool_call_start|>[f(1), **x]<|tool_call_end|>"),
    ],
)
def test_a_malformed_call_stays_text(form: Form, text: str) -> None:
    assert read(form, text, "", TOOLS) == ("", text, [])


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (
            GLM,
            (
                "<tool_call>f\n<arg_key>text</arg_key>\n<arg_value>ab</arg_value>\n"
                "<arg_key>number</arg_key>\n<arg_value>7</arg_value>\n</tool_call>"
            ),
        ),
        (JSON, '<tool_call>\n{"name": "f", "arguments": {"number": 12}}\n</tool_call>'),
        (
            XML,
            (
                "<tool_call>\n<function=f>\n<parameter=text>\nab\n</parameter>\n"
                "<parameter=number>\n12\n</parameter>\n</function>\n</tool_call>"
            ),
        ),
        (BARE, '{"name": "f", "parameters": {"number": 12}}'),
        (MISTRAL, '[TOOL_CALLS]f[ARGS]{"number": 12}'),
        (GEMMA, '<|tool_call>call:f{text:<|"|>ab<|"|>,number:12}<tool_call|>'),
        (
            Form(call=FORMS["python"]),
            "<|tool_call_start|>[f(text='ab', number=12)]<|tool_call_end|>",
        ),
    ],
)
def test_a_call_that_is_cut_short_is_the_whole_call_or_text(form: Form, text: str) -> None:
    called = read(form, text, "", TOOLS)[2]
    assert called
    for cut in range(1, len(text)):
        assert read(form, text[:cut], "", TOOLS) in (("", text[:cut], []), ("", "", called))


def test_a_good_call_behind_a_bad_one_is_read_and_no_text_is_lost() -> None:
    text = 'A.\n<tool_call>{bad}</tool_call>\n<tool_call>{"name": "f"}</tool_call>\nB.'
    assert read(JSON, text) == ("", "A.\n<tool_call>{bad}</tool_call>\nB.", [("f", {})])


def test_an_answer_in_json_is_a_call_only_where_tools_are_offered() -> None:
    text = '{"name": "f", "parameters": {}}'
    assert read(BARE, text) == ("", text, [])
    assert read(BARE, text, "", TOOLS) == ("", "", [("f", {})])


def test_text_is_shown_as_soon_as_it_is_sure() -> None:
    stream = reader(JSON, "", None)
    assert stream.feed("Hello ").text == "Hello"
    assert stream.feed("you <").text == " you"
    assert stream.feed("b").text == " <b"


def test_the_id_of_a_call_follows_from_the_call_and_suits_every_template() -> None:
    first = call_of("f", {"a": 1}, 0)
    assert first == call_of("f", {"a": 1}, 0)
    assert len({first["id"], call_of("f", {"a": 1}, 1)["id"], call_of("g", {"a": 1}, 0)["id"]}) == 3
    assert len(first["id"]) == 9
    assert first["id"].isalnum()


@pytest.mark.parametrize("unit", ["<tool_call>", '<tool_call>"</tool_call>', "</tool_call>", "<"])
def test_reading_takes_no_longer_than_in_proportion(unit: str) -> None:
    took = []
    for count in (2_000, 8_000):
        start = time.process_time()
        read_answer(reader(JSON, "", TOOLS), unit * count)
        took.append(time.process_time() - start)
    assert took[1] < 10 * max(took[0], 0.02)
