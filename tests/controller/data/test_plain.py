"""The short way of the common conversation, held against the long one."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from controller.data.example import Example, Spelt, parse, spell
from controller.data.plain import spell_plain
from controller.data.prepare import check, normalise
from controller.data.unusable import Unusable

texts = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    ["", " ", "\r\n", "가", unicodedata.normalize("NFD", "가"), "\ud800", 'a"b', "é", "\x00"]
)
contents = texts | st.none() | st.just([{"type": "text", "text": "a"}])
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "human", None, 3])
messages = st.fixed_dictionaries(
    {"content": contents, "role": roles}, optional={"weight": st.sampled_from([0, 1])}
)
conversations = st.lists(messages, max_size=5)
usual = st.lists(
    st.fixed_dictionaries(
        {"content": texts, "role": st.sampled_from(["system", "user", "assistant"])}
    ),
    min_size=1,
    max_size=4,
)


def the_long_way(example: Example) -> Spelt:
    new = normalise(example)
    check(new)
    return spell(new)


@given(conversations | usual)
def test_what_takes_the_short_way_comes_out_as_by_the_long_one(conversation):
    example = Example(conversation)
    short = spell_plain({"messages": conversation})
    if short is not None:
        assert short == the_long_way(example)


@given(usual)
def test_what_needs_no_change_takes_the_short_way(conversation):
    example = Example(conversation)
    try:
        check(example)
    except Unusable:
        return
    roles = [one["role"] for one in conversation]
    talk = roles[roles[0] == "system" :]
    if normalise(example) is example and talk[0] == "user" and "system" not in talk:
        assert spell_plain({"messages": conversation}) is not None


@given(usual, st.sampled_from(["plain", "tools", "pair", "graded", "text"]))
def test_a_canonical_line_is_read_back(conversation, form):
    example = Example(conversation)
    forms = {
        "plain": example,
        "tools": example._replace(tools=[{"type": "function", "function": {"name": "f"}}]),
        "pair": example._replace(rejected={"role": "assistant", "content": "no"}),
        "graded": example._replace(graded={"answer": 3, "text": "also a key"}),
        "text": Example([], text="글"),
    }
    try:
        line = spell(normalise(forms[form])).line
    except UnicodeEncodeError:
        return
    assert spell(parse(line)).line == line
