"""Answers found in rendered conversations, for templates that make it hard to find them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.errors import BackendError
from backends.local_gpu.templates.rendering import CLOSE, OPEN, compile_template
from backends.local_gpu.templates.turns import Apart, Rendered, Span, Ways, by_marks, rendered_text

pytestmark = pytest.mark.torch

ASK, SAY = {"role": "user", "content": "ask"}, {"role": "assistant", "content": "say"}
MORE, LAST = {"role": "user", "content": "more"}, {"role": "assistant", "content": "last"}
TURNS = [ASK, SAY, MORE, LAST]
PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<e>\n{% endfor %}"
    "{{ '<assistant>' if add_generation_prompt }}"
)
ENDS_LAST = PLAIN + "{{ '<stop>' if not add_generation_prompt }}"
NEXT_TURN_ENDS = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{{ '<assistant>' if add_generation_prompt }}"
)
SHORTENS = (
    "{% for m in messages %}<{{ m.role }}>"
    "{{ 'long ' if m.role == 'assistant' and loop.last }}{{ m.content }}<e>{% endfor %}"
    "{{ '<assistant>long ' if add_generation_prompt }}"
)
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<e>{% endgeneration %}{% else %}{{ m.content }}<e>{% endif %}"
    "{% endfor %}{{ '<assistant>' if add_generation_prompt }}"
)


def ways(source, ends=("<e>", "<stop>"), **settings):
    jinja = compile_template(source, source, {})
    return Ways(jinja=jinja, thinking=False, ends=ends, **settings)


def answers(rendered):
    return [rendered.text[span.start : span.end] for span in rendered.answers]


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        (PLAIN, {}, ["say<e>", "last<e>"]),
        (ENDS_LAST, {}, ["say<e>", "last<e>\n<stop>"]),
        (
            NEXT_TURN_ENDS,
            {"ends": ("<user>",), "after": {False: "<user>"}},
            ["say<user>", "last<user>"],
        ),
        (SHORTENS, {}, ["say<e>", "last<e>"]),
        (MARKED, {"marked": True}, ["say<e>", "last<e>"]),
    ],
)
def test_every_answer_is_found_with_its_end(source, settings, expected):
    found = ways(source, **settings).rendered(TURNS, None)
    assert answers(found) == expected


@pytest.mark.parametrize("source", [PLAIN, ENDS_LAST, SHORTENS])
@pytest.mark.parametrize("count", [1, 3])
def test_what_precedes_an_answer_is_its_prompt(source, count):
    template = ways(source)
    prompt = template.prompt(TURNS[:count], None)
    trained = template.rendered(TURNS[: count + 1], None)
    assert trained.text[: trained.answers[-1].start] == prompt


def test_a_text_before_every_answer_belongs_to_the_prompt():
    template = ways(PLAIN.replace("'<assistant>'", "'<assist'"), lead={False: "ant>"})
    assert template.prompt([ASK], None) == "<user>ask<e>\n<assistant>"
    assert answers(template.rendered(TURNS, None)) == ["say<e>", "last<e>"]


def test_an_answer_without_the_text_that_begins_answers_is_refused():
    with pytest.raises(BackendError, match="does not begin as this model's answers do"):
        ways(PLAIN, lead={False: "ant>"}).rendered(TURNS, None)


def test_a_prompt_without_messages_begins_an_answer():
    source = "<s>" + PLAIN
    assert ways(source).prompt([], None) == "<s><assistant>"


def test_the_opening_of_an_answer_is_what_follows_the_messages():
    assert ways(PLAIN).opening([ASK], None) == "<assistant>"
    assert ways(PLAIN).opening([], None) == "<assistant>"
    assert ways(PLAIN, cut="ant>", lead={False: "!"}).opening([ASK], None) == "<assist!"


def test_a_block_that_only_prompts_have_is_cut_off():
    source = PLAIN.replace("'<assistant>'", "'<assistant><think></think>'")
    template = ways(source, cut="<think></think>")
    assert template.prompt([ASK], None).endswith("\n<assistant>")
    assert answers(template.rendered(TURNS, None)) == ["say<e>", "last<e>"]


def test_a_conversation_that_the_template_refuses_is_refused_with_its_words():
    source = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(BackendError, match="refuses this conversation: roles must alternate"):
        rendered_text(compile_template(source, source, {}), [ASK], None, {})
    for source in ("{{ messages[9].role }}", "{{ messages + 1 }}", "{{ {}['a'].b }}"):
        with pytest.raises(BackendError, match="refuses this conversation"):
            ways(source).prompt([ASK], None)


def test_answers_that_cannot_be_told_from_their_prompts_are_refused():
    backwards = "{% for m in messages | reverse %}{{ m.content }}<e>{% endfor %}"
    with pytest.raises(BackendError):
        ways(backwards + "{{ '<a>' if add_generation_prompt }}").rendered(TURNS, None)


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("no mark", "no mark", []),
        (f"a{OPEN}b \n{CLOSE}c{OPEN}d{CLOSE}", "ab \ncd", ["b", "d"]),
        (f"{OPEN}{CLOSE}", "", [""]),
        (f"{OPEN}never closed", "never closed", ["never closed"]),
    ],
)
def test_marks_become_spans_without_the_blanks_at_their_end(text, expected, found):
    rendered = by_marks(text)
    assert rendered.text == expected
    assert answers(rendered) == found


@given(
    pieces=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=4),
    rest=st.text(max_size=5),
)
def test_pieces_join_to_the_whole_text(pieces, rest):
    rendered = Apart(pieces=pieces, rest=rest).rendered()
    assert rendered.text == "".join(before + answer for before, answer in pieces) + rest
    assert answers(rendered) == [answer.rstrip() for _, answer in pieces]


def test_spans_are_in_characters():
    rendered = Apart(pieces=[("카페 ", "🙂 ")], rest="").rendered()
    assert rendered == Rendered(text="카페 🙂 ", answers=[Span(start=3, end=4)])
