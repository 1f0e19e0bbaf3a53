"""The short way of the common conversation, held against the long one."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.data.errors import DataError
from controller.data.examples.example import CanonicalExample, Example, parse, to_canonical
from controller.data.examples.fast_path import canonical_line, canonical_line_of
from controller.data.examples.row_formats import row_converter
from controller.data.examples.validate_example import validate_example
from controller.data.readers import parse_line
from controller.data.transforms.normalise import normal_text, normalise

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


def the_long_way(example: Example) -> CanonicalExample:
    new = normalise(example)
    validate_example(new)
    return to_canonical(new)


def takes_the_short_way(conversation) -> bool:
    """Say whether nothing of a conversation needs to be looked at by the long way."""
    try:
        validate_example(Example(conversation))
    except DataError:
        return False
    roles = [one["role"] for one in conversation]
    talk = roles[roles[0] == "system" :]
    said = all(one["content"].strip() for one in conversation)
    is_normal = normalise(Example(conversation)).messages == conversation
    return said and is_normal and talk[0] == "user" and "system" not in talk


@given(conversations | usual)
def test_what_takes_the_short_way_comes_out_as_by_the_long_one(conversation):
    short = canonical_line_of({"messages": conversation})
    if short is not None:
        assert short == the_long_way(Example(conversation))


@given(usual)
def test_what_needs_no_change_takes_the_short_way(conversation):
    if takes_the_short_way(conversation):
        assert canonical_line_of({"messages": conversation}) is not None


def in_sharegpt(conversation):
    names = {"user": "human", "assistant": "gpt"}
    return [
        {"from": names.get(one["role"], one["role"]), "value": one["content"]}
        for one in conversation
    ]


forms = st.sampled_from(["messages", "conversations"])


@given(usual, forms, st.booleans(), st.sampled_from([None, (",", ":")]))
def test_a_line_that_needs_no_change_is_spelt_at_once(conversation, form, escaped, separators):
    if not takes_the_short_way(conversation):
        return
    row = {form: conversation if form == "messages" else in_sharegpt(conversation)}
    line = json.dumps(row, ensure_ascii=escaped, separators=separators).encode()
    assert canonical_line(line) == the_long_way(Example(conversation))


broken = st.tuples(
    st.integers(0, 200),
    st.integers(0, 3),
    st.sampled_from([b"", b"\\", b'"', b",", b"\\ud800", b"[]"]),
)


@given(conversations | usual, forms, st.booleans(), st.none() | broken)
def test_a_line_that_is_spelt_at_once_comes_out_as_by_the_long_way(
    conversation, form, escaped, broken
):
    row = {form: conversation if form == "messages" else in_sharegpt(conversation)}
    line = json.dumps(row, ensure_ascii=escaped).encode(errors="surrogatepass")
    if broken is not None:
        at, size, new = broken
        line = line[:at] + new + line[at + size :]
    short = canonical_line(line)
    if short is not None:
        row = parse_line(line)
        assert isinstance(row, dict)
        assert short == the_long_way(row_converter(None, None)(row))


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"messages": []}',
        b'{"messages": null}',
        b'{"conversations": [], "messages": [{"role": "user", "content": "a"}]}',
        (
            b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],'
            b' "tools": []}'
        ),
        (
            b'{"messages": [{"role": "user", "content": "a", "name": "b"},'
            b' {"role": "assistant", "content": "b"}]}'
        ),
        (
            b'{"conversations": [{"from": "human", "value": "a"}, {"from": "observation", "value": "b"},'
            b' {"from": "gpt", "value": "c"}]}'
        ),
        (
            b'{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "c"}],'
            b' "system": "b"}'
        ),
    ],
)
def test_whatever_is_more_than_a_plain_conversation_goes_the_long_way(line):
    assert canonical_line(line) is None


def test_a_shape_that_is_said_is_the_only_one():
    chat = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}'
    share = b'{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}'
    assert (
        canonical_line(chat, "chat") == canonical_line(share, "sharegpt") == canonical_line(share)
    )
    assert canonical_line(chat, "sharegpt") is None
    assert canonical_line(share, "chat") is None


@pytest.mark.parametrize("plane", range(17))
def test_every_character_is_spelt_alike(plane):
    surrogates = range(0xD800, 0xE000)
    codes = (code for code in range(plane << 16, (plane + 1) << 16) if code not in surrogates)
    text = normal_text(".".join(map(chr, codes)))
    said = [{"content": text, "role": "user"}, {"content": text, "role": "assistant"}]
    assert canonical_line_of({"messages": said}) == to_canonical(Example(said))


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
        line = to_canonical(normalise(forms[form]))[0]
    except UnicodeEncodeError:
        return
    assert to_canonical(parse(line))[0] == line
