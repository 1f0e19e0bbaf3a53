"""How a template writes answers, found by rendering probes."""

import json

import pytest

from backends.local_gpu.templates.answer_forms import (
    PROBES,
    form_of,
    probe_call,
    shows_thought,
    thinking_marks,
    ways_of,
)
from backends.local_gpu.templates.rendering import compile_template

pytestmark = pytest.mark.torch

HERMES = (
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}"
)
MISTRAL = (
    "{% for c in m.tool_calls or [] %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
    "{{ c.function.arguments | tojson }}{% endfor %}"
)
THOUGHT = "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"


def template(answer, opens="", more="", turn_end="<e>\n"):
    return (
        "{{ tools | tojson if tools }}{% for m in messages %}<{{ m.role }}>"
        "{% if m.role == 'assistant' %}" + answer + "{% else %}{{ m.content }}{% endif %}"
        f"{turn_end}{{% endfor %}}"
        "{% if add_generation_prompt %}<assistant>" + opens + "{% endif %}" + more
    )


def found(source, *, thinking=False):
    jinja = compile_template(source, source, {})
    ways = ways_of(jinja, ["<e>"], thinking=thinking)
    return ways, form_of(ways, source)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("{{ m.content }}", None),
        ("{{ m.content }}" + HERMES, "json"),
        ("{{ m.content }}" + MISTRAL, "mistral"),
        # An answer in JSON without marks.
        (
            (
                '{% if m.tool_calls %}{"name": "{{ m.tool_calls[0].function.name }}", '
                '"parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
                "{% else %}{{ m.content }}{% endif %}"
            ),
            "bare",
        ),
        # Calls whose arguments cannot be read back are no form.
        (
            "{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}!{% endfor %}",
            None,
        ),
    ],
)
def test_the_form_of_calls_is_the_one_that_reads_them_back(answer, name):
    _, form = found(template(answer))
    assert (form.call.name if form.call is not None else None) == name


@pytest.mark.parametrize(
    ("source", "marks"),
    [
        ("<think> … </think>", ("<think>", "</think>")),
        ("</think>", ("<think>", "</think>")),
        ("[THINK][/THINK]", ("[THINK]", "[/THINK]")),
        ("<think>", None),
        ("", None),
    ],
)
def test_the_marks_around_thinking(source, marks):
    assert thinking_marks(source) == marks


def test_a_template_that_shows_thinking_is_told_from_one_that_drops_it():
    shows = template(THOUGHT + "{{ m.content }}")
    drops = template("{{ m.content }}", more="{# </think> #}")
    for source, expected in ((shows, True), (drops, False)):
        ways, form = found(source, thinking=True)
        assert form.thinking == ("<think>", "</think>")
        assert shows_thought(ways, form) is expected


def test_a_template_that_refuses_the_probe_shows_no_thinking():
    source = "{{ raise_exception('no') }}{# </think> #}"
    ways, form = found(source, thinking=True)
    assert shows_thought(ways, form) is False
    assert form.call is None


@pytest.mark.parametrize(
    ("opens", "answer", "cut"),
    [
        ("<think>\n", "", "<think>\n"),
        # Where answers have the block too, nothing is cut.
        ("<think>\n", "<think>\n", ""),
        # A whole block without thoughts belongs to the prompt.
        ("<think>\n\n</think>\n\n", "", ""),
        ("", "", ""),
    ],
)
def test_a_block_that_only_prompts_open_is_cut(opens, answer, cut):
    ways, _ = found(template(answer + "{{ m.content }}", opens=opens, more="{# </think> #}"))
    assert ways.cut == cut


def test_a_text_that_begins_every_answer_is_its_lead():
    ways, _ = found(template("final: {{ m.content }}"))
    assert ways.lead == {False: "final: ", True: "final: "}
    calls = "{% if m.tool_calls %}" + HERMES + "{% else %}final: {{ m.content }}{% endif %}"
    ways, _ = found(template(calls))
    # Where tools are offered, an answer may be a call instead.
    assert ways.lead == {False: "final: ", True: ""}


def test_blanks_before_every_answer_are_blanks_and_no_lead():
    ways, form = found(template(" {{ m.content }}"))
    assert (ways.lead, form.blank) == ({False: "", True: ""}, " ")


def test_a_token_that_the_next_turn_writes_ends_an_answer():
    source = template("{{ m.content }}" + HERMES, turn_end="").replace(
        "<{{ m.role }}>", "<e>{{ m.role }}"
    )
    ways, _ = found(source)
    assert ways.after == {False: "<e>", True: "<e>"}
    ways, _ = found(template("{{ m.content }}"))
    assert ways.after == {False: "", True: ""}


def test_a_template_with_marks_is_trusted_only_where_it_marks_every_answer():
    marked = "{% generation %}{{ m.content }}{% endgeneration %}"
    ways, _ = found(template(marked))
    assert ways.marked
    ways, _ = found(
        template("{% if loop.last %}" + marked + "{% else %}{{ m.content }}{% endif %}")
    )
    assert not ways.marked


def test_channels_are_a_form_of_their_own():
    _, form = found(template("<|channel|>final<|message|>{{ m.content }}"))
    assert form.channels
    assert form.call is None


def test_probes_are_conversations_that_occur():
    assert len(PROBES) == 6
    for probe in PROBES:
        assert [message["role"] for message in probe["messages"]][-1] == "assistant"
    json.dumps(PROBES)
    assert probe_call("other")["id"] == "other"
