"""Equal things have equal digests. The literals here must never change."""

import json
import unicodedata
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.canonical import canonical_json, digest

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}'),
        (1.0, b"1"),
        (-0.0, b"0"),
        (1e3, b"1000"),
        (1e-4, b"0.0001"),
        (1e-7, b"1e-07"),
        (0.1 + 0.2, b"0.30000000000000004"),
        (True, b"true"),
        ([1, 2.0], b"[1,2]"),
        ((1, 2), b"[1,2]"),
        ("가\n", '"가\\n"'.encode()),
        ({"가": 1, "Z": 2, "a": 3}, '{"Z":2,"a":3,"가":1}'.encode()),
        ("\ud800", b'"?"'),
        ({}, b"{}"),
    ],
)
def test_canonical_bytes(value, expected: bytes):
    assert canonical_json(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"),
        ({}, "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"),
        (
            {"learning_rate": 2e-4, "이름": "카페", "r": 16.0, "x": [1, None, True]},
            "7c968182e4817023a85b3b5cb4cc762467ef6279d16b5771bf1a4b264518f9ee",
        ),
    ],
)
def test_digests_are_pinned(value, expected: str):
    assert digest(value) == expected


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [float("-inf")], {"a": float("nan")}]
)
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(value)


def test_text_is_not_normalised():
    composed, decomposed = "카페", unicodedata.normalize("NFD", "카페")
    assert composed != decomposed
    assert digest(composed) != digest(decomposed)
    assert json.loads(canonical_json(decomposed)) == decomposed


def shuffled(value, reverse):
    if isinstance(value, dict):
        items = [(key, shuffled(item, reverse)) for key, item in value.items()]
        return dict(reversed(items) if reverse else items)
    if isinstance(value, list):
        return [shuffled(item, reverse) for item in value]
    return value


@given(values)
def test_the_order_of_keys_does_not_matter(value):
    assert digest(value) == digest(shuffled(value, reverse=True))


@given(values)
def test_reading_and_writing_again_changes_nothing(value):
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text


@given(
    values | st.integers(0, 10**18).map(float) | st.sampled_from([".0]", "1.0", "2e+16", "v14.0"])
)
def test_the_spelling_is_the_same_whatever_type_of_mapping_holds_a_value(value):
    assert canonical_json({"key": value}) == canonical_json(MappingProxyType({"key": value}))
