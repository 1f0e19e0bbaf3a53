"""Values of rows by the names that people write."""

import time
import unicodedata

import pytest

from controller.data.lookup import find_value, is_same_name, join_values, without_nulls

DECOMPOSED = unicodedata.normalize("NFD", "문의")


@pytest.mark.parametrize(
    ("row", "name", "found"),
    [
        ({"q": 1}, "q", (True, 1)),
        ({"q": None}, "q", (True, None)),
        ({"q": 1}, "Q", (False, None)),
        ({"meta": {"q": 1}}, "meta.q", (True, 1)),
        ({"meta": {"q": None}}, "meta.q", (True, None)),
        ({"meta": {"q": 1}, "meta.q": 2}, "meta.q", (True, 2)),
        ({"a": {"b": {"c": 1}}}, "a.b.c", (True, 1)),
        ({"a.b": {"c": 1}, "a": {"b": {"c": 2}}}, "a.b.c", (True, 1)),
        ({"a.b": 3, "a": {"b": {"c": 2}}}, "a.b.c", (True, 2)),
        ({"a": {"b.c": 1}}, "a.b.c", (True, 1)),
        ({"a": [1]}, "a.0", (False, None)),
        ({"a": 1}, "a.b", (False, None)),
        ({"a": 1}, ".a", (False, None)),
        ({DECOMPOSED: 1}, "문의", (True, 1)),
        ({"문의": 1}, DECOMPOSED, (True, 1)),
        ({"문의": 1, DECOMPOSED: 2}, DECOMPOSED, (True, 2)),
        ({"메타": {DECOMPOSED: 1}}, "메타.문의", (True, 1)),
    ],
)
def test_a_name_is_literal_or_leads_into_objects(row, name, found):
    assert find_value(row, name) == found


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("{c}\n{q}", "문맥\n질문"),
        ("문맥: {c}\n질문: {q}", "문맥: 문맥\n질문: 질문"),
        ("{none}\n{q}", "질문"),
        ("입력: {none}\n{q}", "질문"),
        ("{q} {none}", "질문 "),
        ("{none}", ""),
        ("지시:\n{q}", "지시:\n질문"),
        ("{q}{c}", "질문문맥"),
        ("{} {q}", "{} 질문"),
    ],
)
def test_columns_are_joined_and_lines_without_values_left_out(written, text):
    row = {"c": "문맥", "q": "질문", "none": ""}
    assert join_values(written, row.__getitem__) == text


def test_a_joined_value_is_not_read_as_a_column():
    assert join_values("{q}", {"q": "{c}"}.__getitem__) == "{c}"


def test_nulls_are_left_out_of_nested_objects_alone():
    row = {"a": None, "b": {"c": None, "d": [None, {"e": None, "f": 1}]}, "g": {"h": None}}
    assert without_nulls(row) == {"a": None, "b": {"d": [None, {"f": 1}]}, "g": {}}


def test_names_look_the_same_however_composed():
    assert is_same_name(DECOMPOSED, "문의")
    assert not is_same_name("a", "A")


@pytest.mark.parametrize(
    "name", ["a" + ".a" * 300_000, "." * 600_000, "가." * 200_000, "{" * 500_000]
)
def test_a_long_name_takes_no_long_time(name):
    row = {"a": {"a": {"a": 1}}, "가": {}, "": {}}
    started = time.monotonic()
    for _ in range(5):
        assert find_value(row, name) == (False, None)
        join_values(name, str)
    assert time.monotonic() - started < 5
