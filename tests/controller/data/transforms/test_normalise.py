import copy
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.canonical import canonical_json, written_json
from controller.data.errors import DataError
from controller.data.examples.example import Example, to_canonical
from controller.data.examples.validate_example import validate_example
from controller.data.select.split import hash_threshold, seeded_hash, stratum_thresholds
from controller.data.transforms.normalise import (
    collapse_whitespace,
    collapsed_text,
    normal_text,
    normalise,
    with_system,
)

ASKED = {"role": "user", "content": "q"}
ANSWERED = {"role": "assistant", "content": "a"}

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": texts},
    optional={"name": texts, "weight": st.sampled_from([0, 1, 1.0]), "extra": values},
)
examples = st.builds(
    Example, st.lists(messages, max_size=4), st.none() | st.lists(values, max_size=2)
)


@given(examples)
def test_the_first_spelling_is_canonical_json(example):
    line, _ = to_canonical(example, recipe=1)
    assert line == canonical_json(example.as_json()) + b"\n"


@given(examples)
def test_the_spelling_says_the_same_and_keeps_the_order_of_tools(example):
    line, _ = to_canonical(example)
    said = json.loads(line)
    assert canonical_json(said) == canonical_json(example.as_json())
    assert written_json(said.get("tools")) == written_json(example.tools)
    if not example.tools and not any("extra" in one for one in example.messages):
        assert line == canonical_json(example.as_json()) + b"\n"


@given(examples)
def test_normalising_twice_is_normalising_once(example):
    once = normalise(example)
    assert normalise(once) is once
    assert "\r" not in json.dumps(once.as_json(), ensure_ascii=False)


@given(texts)
def test_normalising_forgets_how_a_text_was_written(text):
    written = unicodedata.normalize("NFD", text.replace("\r", "\n")).replace("\n", "\r\n")
    assert normal_text(written) == normal_text(text.replace("\r", "\n"))


@given(texts)
def test_collapsing_twice_is_collapsing_once(text):
    assert collapsed_text(collapsed_text(text)) == collapsed_text(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("e\u0301", "é"),
        ("\u1112\u1161\u11ab", "한"),
        ("a\ud800b\r", "a\ufffdb\n"),
        (" as it is \n", " as it is \n"),
    ],
)
def test_normal_text(text, normal):
    assert normal_text(text) == normal


def test_what_is_normal_is_not_copied():
    example = Example([ASKED, ANSWERED, {**ANSWERED, "weight": 1}], [{"type": "function"}])
    assert normalise(example) is example
    assert collapse_whitespace(example) is example


def test_normalising_reaches_tools_parts_and_names():
    part = {"type": "text", "text": "e\u0301\r\n"}
    example = Example([{"role": "user", "content": [part]}], [{"e\u0301": ["e\u0301"]}])
    new = normalise(example)
    assert new.messages[0]["content"] == [{"type": "text", "text": "é\n"}]
    assert new.tools == [{"é": ["é"]}]


@pytest.mark.parametrize(
    ("text", "collapsed"),
    [
        ("  a \t b  ", "a b"),
        ("a\u00a0\u3000b", "a b"),
        ("a  \n\n  - b\n", "a\n\n- b"),
        ("\n\n", ""),
    ],
)
def test_collapsed_text(text, collapsed):
    assert collapsed_text(text) == collapsed


def test_collapsing_leaves_tool_calls_and_images_alone():
    calls = [{"function": {"name": "f", "arguments": '{"a":  1}'}}]
    image = {"type": "image_url", "image_url": {"url": "a  b"}}
    text = {"type": "text", "text": "a  b"}
    new = collapse_whitespace(
        Example([{"role": "user", "content": [text, image]}, {**ANSWERED, "tool_calls": calls}])
    )
    assert new.messages[0]["content"] == [{"type": "text", "text": "a b"}, image]
    assert new.messages[1]["tool_calls"] == calls


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_prompt_of_its_own_stays(role):
    example = Example([{"role": role, "content": "mine"}, ASKED, ANSWERED])
    assert with_system(example, "yours") is example


@pytest.mark.parametrize(
    "example",
    [
        [ASKED, ANSWERED],
        [{"role": "system", "content": "s"}, ANSWERED],
        [
            ASKED,
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        ],
        [ASKED, {**ANSWERED, "weight": 0}, ASKED, {**ANSWERED, "weight": 1}],
        [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ANSWERED],
    ],
)
def test_what_can_be_learned(example):
    given = Example(copy.deepcopy(example))
    validate_example(given)
    assert given.messages == example


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ([], "there is no assistant turn to learn from"),
        ([ASKED], "there is no assistant turn to learn from"),
        ([ANSWERED], "the answer comes before any question"),
        ([{**ASKED, "content": " \n"}, ANSWERED], "the question is empty"),
        ([ASKED, ANSWERED, ASKED], "the last turn is the user's, and an answer is missing after it"),
        ([ASKED, {**ANSWERED, "content": " "}], "an answer is empty"),
        ([ASKED, {**ANSWERED, "content": None}], "an answer is empty"),
        ([{**ASKED, "content": None}, ANSWERED], "the user's message has no content"),
        ([{**ASKED, "content": 3}, ANSWERED], "the content of the user's message is neither text nor parts"),
        ([{**ASKED, "content": ["q"]}, ANSWERED], "the content of the user's message is neither text nor parts"),
        ([{**ASKED, "role": "human"}, ANSWERED], "'human' is not a role"),
        ([{**ASKED, "role": ["user"]}, ANSWERED], "['user'] is not a role"),
        ([{"content": "q"}, ANSWERED], "a message has no role"),
        ([ASKED, {**ANSWERED, "weight": 0}], "there is no assistant turn to learn from"),
        ([ASKED, {**ANSWERED, "weight": 0.5}], "a weight is 0.5"),
        ([ASKED, {**ANSWERED, "tool_calls": "f()"}], "`tool_calls` is not a list of function calls"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned(example, message):
    with pytest.raises(DataError) as caught:
        validate_example(Example(example))
    assert caught.value.message == message
    assert caught.value.remedy


# --- split -------------------------------------------------------------------------------------


def is_held_out(conversation, *, fraction=0.5, seed=0) -> bool:
    return seeded_hash(seed)(to_canonical(Example(conversation))[1]) < hash_threshold(fraction)


@given(texts, texts, texts, texts)
def test_neither_answer_nor_system_prompt_chooses_the_side(asks, answer, other, system):
    asked = {"role": "user", "content": asks}
    here = [asked, {"role": "assistant", "content": answer}]
    there = [
        {"role": "system", "content": system},
        asked,
        {"role": "assistant", "content": other, "weight": 1},
    ]
    assert is_held_out(here) == is_held_out(there)


@given(texts, st.floats(0.01, 0.98), st.integers(0, 9))
def test_a_greater_fraction_only_adds(asks, fraction, seed):
    conversation = [{"role": "user", "content": asks}, ANSWERED]
    if is_held_out(conversation, fraction=fraction, seed=seed):
        assert is_held_out(conversation, fraction=fraction + 0.01, seed=seed)


def test_about_the_fraction_is_held_out_and_the_seed_chooses():
    conversations = [[{"role": "user", "content": f"q{n}"}, ANSWERED] for n in range(4000)]
    first = [is_held_out(one, fraction=0.1) for one in conversations]
    second = [is_held_out(one, fraction=0.1, seed=1) for one in conversations]
    assert 340 < sum(first) < 460
    assert 340 < sum(second) < 460
    assert first != second
    # The split of an example is recorded in lockfiles, by the digests: it never changes.
    assert [number for number, held_out in enumerate(first) if held_out][:6] == [
        7,
        37,
        39,
        42,
        59,
        65,
    ]


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.integers(0, 2**64 - 1)), unique=True)
)
def test_each_stratum_has_its_share_on_both_sides(hashes):
    limits = stratum_thresholds(hashes, 0.2)
    for stratum in {stratum for stratum, _ in hashes}:
        of_it = [number for one, number in hashes if one == stratum]
        held_out = sum(number < limits[stratum] for number in of_it)
        assert held_out == min(max(round(0.2 * len(of_it)), 1), len(of_it) - 1)
