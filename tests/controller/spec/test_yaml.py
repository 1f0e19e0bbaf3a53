"""YAML 1.2 core and nothing more, with the line of every key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.spec.yaml import MAX_BYTES, MAX_DEPTH, parse_yaml


def value_of(text: str | bytes):
    document, problems = parse_yaml(text.encode() if isinstance(text, str) else text, "a.yaml")
    assert not problems
    return document.value


def problems_of(text: str | bytes) -> list[str]:
    document, problems = parse_yaml(text.encode() if isinstance(text, str) else text, "a.yaml")
    assert document is None
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("1e-4", 1e-4),
        ("2E5", 2e5),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("5.", 5.0),
        ("-1.5", -1.5),
        ("012", 12),
        ("0o14", 12),
        ("0x0C", 12),
        ("+3", 3),
        ("-0", 0),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("2026-11-20", "2026-11-20"),
        ("=", "="),
        ("<<", "<<"),
        ('"1"', "1"),
        ("'true'", "true"),
        ("카페", "카페"),
        (".inf", float("inf")),
        ("-.Inf", float("-inf")),
        ("e5", "e5"),
        ("1e", "1e"),
        ("--1", "--1"),
        ("1.2.3", "1.2.3"),
        ("|\n  a\n  b\n", "a\nb\n"),
        (">-\n  a\n  b\n", "a b"),
    ],
)
def test_scalars_are_read_by_yaml_1_2_core(scalar: str, expected: object):
    found = value_of(f"key: {scalar}\n")["key"]
    assert (type(found), found) == (type(expected), expected)


def test_nan_is_a_number():
    found = value_of("key: .nan")["key"]
    assert found != found  # noqa: PLR0124


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab가\n\"\\': #"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab가: "), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_json_is_yaml(value):
    text = json.dumps({"key": value}, ensure_ascii=False).replace("Infinity", ".inf")
    assert value_of(text) == {"key": value}


@given(st.binary(max_size=200))
def test_no_bytes_break_it(text: bytes):
    document, problems = parse_yaml(text, "a.yaml")
    assert (document is None) == bool(problems)


@given(st.text("- :[]{}&*!|>'\"#%@`ab1\n\t?,<", max_size=60))
def test_no_text_of_indicators_breaks_it(text: str):
    document, problems = parse_yaml(text.encode(), "a.yaml")
    assert (document is None) == bool(problems)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a.yaml: is empty"),
        ("\n# only a comment\n", "a.yaml: is empty"),
        ("null\n", "a.yaml: is empty"),
        ("---\n", "a.yaml: is empty"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: a: is given twice, first in line 1"),
        ("a:\n  b: 1\n  b: 2\n", "a.yaml:3: a.b: is given twice, first in line 2"),
        ("a: [{b: 1, b: 2}]\n", "a.yaml:1: a[0].b: is given twice, first in line 1"),
        ("a: !!python/object:os.system x\n", "only plain YAML is read"),
        ("a: !!str 1\nb: !mine 2\n", "a.yaml:2: b: has the tag '!mine'"),
        ("a: !!timestamp 2026-01-01\n", "only plain YAML is read"),
        ("!!set {a, b}\n", "only plain YAML is read"),
        ("a: !!int x\n", "a.yaml:1: a: cannot be read: 'x'"),
        ("1: a\n", "a.yaml:1: has a key that is not text"),
        ("true: a\n", 'Quote it: "true"'),
        ("? [a]\n: b\n", "a.yaml:1: has a key that is not text"),
        ("a:\n\tb: 1\n", "Indent with blanks, not tabs."),
        ("a: b: c\n", "a.yaml:1: is not YAML: mapping values are not allowed"),
        ("a: [1\n", "is not YAML"),
        ("a: *nowhere\n", "is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", "is not YAML"),
        (b"a: caf\xe9\n", "a.yaml:1: is not UTF-8\n    Save the file as UTF-8."),
        (b"a: 1\nb: \xff\n", "a.yaml:2: is not UTF-8"),
        ("a: 1\n".encode("utf-16"), "a.yaml:1: is not UTF-8"),
        ("a: \x00\n", "is not YAML"),
        ("x" * (MAX_BYTES + 1), "a.yaml: is 1,048,577 bytes long; at most 1,048,576 are read"),
    ],
)
def test_what_is_refused_is_said_with_its_line(text: str | bytes, expected: str):
    assert expected in "\n".join(problems_of(text))


def test_every_duplicate_is_reported():
    assert len(problems_of("a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    assert value_of("\ufeffbackend: x\n".encode()) == {"backend": "x"}


def test_windows_line_ends_are_line_ends():
    document, _ = parse_yaml(b"a: 1\r\nb:\r\n  c: 2\r\n", "a.yaml")
    assert document.value == {"a": 1, "b": {"c": 2}}
    assert document.line(("b", "c")) == 3


def test_nesting_is_limited():
    assert "nested too deeply" in problems_of("[" * (MAX_DEPTH + 5) + "]" * (MAX_DEPTH + 5))[0]
    assert len(problems_of("[" * 100_000)) == 1
    assert len(problems_of("a: " + "{b: " * 200_000)) == 1


def test_aliases_cannot_multiply():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    assert "expands to too much" in problems_of(bomb)[0]


def test_an_alias_that_holds_itself_ends():
    assert "nested too deeply" in problems_of("a: &a [*a]\n")[0]


def test_a_plain_alias_is_followed():
    assert value_of("a: &x {b: 1}\nc: *x\n") == {"a": {"b": 1}, "c": {"b": 1}}


def test_merge_keys_are_refused_by_name_and_quoted_ones_are_text():
    assert problems_of("a: &x {b: 1}\nc:\n  <<: *x\nd: {<<: 1}\n") == [
        f"a.yaml:{line}: {key}.<<: merges keys in YAML 1.1; YAML 1.2 has no merging\n"
        "    Write the keys out."
        for line, key in ((3, "c"), (4, "d"))
    ]
    assert value_of("c: {'<<': 1}\n")["c"] == {"<<": 1}


def test_every_key_has_its_line():
    document, _ = parse_yaml(b"a: 1\ndata:\n  train:\n    - path: x\n    - path: y\n", "a.yaml")
    assert document.line(("data", "train", 1, "path")) == 5
    assert document.line(("data", "train", 0)) == 4
    assert document.line(("data", "train", 0, "columns", "user")) == 4  # the nearest around it
    assert document.line(("seed",)) == 1
