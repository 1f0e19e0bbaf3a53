"""Conditions that choose rows: what is read out of them, and for which values they hold."""

import operator
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.spec.where import FORM, parse_where


@pytest.mark.parametrize(
    ("text", "column", "found", "values"),
    [
        ("score >= 4", "score", ">=", ("4",)),
        ("score>=4", "score", ">=", ("4",)),
        (" score  <  -0.5 ", "score", "<", ("-0.5",)),
        ("score <= 1e3", "score", "<=", ("1e3",)),
        ("status == approved", "status", "==", ("approved",)),
        ("status == 'in Arbeit'", "status", "==", ("in Arbeit",)),
        ('상태 != "보류, 삭제"', "상태", "!=", ("보류, 삭제",)),
        ("reply to == a b", "reply to", "==", ("a b",)),
        ("'a == b' == c", "a == b", "==", ("c",)),
        ('"not in" in [a]', "not in", "==", ("a",)),
        ("note == it's", "note", "==", ("it's",)),
        ("expression == a <= b", "expression", "==", ("a <= b",)),
        ("text == one\ntwo", "text", "==", ("one\ntwo",)),
        ("status in [approved]", "status", "==", ("approved",)),
        ("status not in [a, b]", "status", "!=", ("a", "b")),
        ("status not  in[a,b]", "status", "!=", ("a", "b")),
        ("expression in [a == b]", "expression", "==", ("a == b",)),
    ],
)
def test_a_condition_is_read(text, column, found, values):
    condition = parse_where(text)
    assert (condition.column, condition.operator, condition.values) == (column, found, values)
    assert condition.text == text.strip()


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ('"a, b", "c, d"', ("a, b", "c, d")),
        ("'a, b','c, d'", ("a, b", "c, d")),
        ('"a, b" , c ,\t"d"', ("a, b", "c", "d")),
        ("a, 'b, c', d", ("a", "b, c", "d")),
        (" a b ,c ", ("a b", "c")),
        ("a, b,", ("a", "b")),
        ("'a', ", ("a",)),
        ("it's, \"it's\"", ("it's", "it's")),
        ("""'say "hi"'""", ('say "hi"',)),
        ('12" disc, a', ('12" disc', "a")),
        ('"[a]", b', ("[a]", "b")),
        ('"", null', ("", "null")),
        ("' '", (" ",)),
        ("승인, '보류, 삭제'", ("승인", "보류, 삭제")),
        ("a,\n  b", ("a", "b")),
    ],
)
def test_a_list_is_read(written, values):
    assert parse_where(f"status in [{written}]").values == values


@pytest.mark.parametrize(
    "written",
    [
        "", " ", ",", ",a", "a,,b", "a,, ", "'a", '"a, b', "'a' b", "'a' 'b'", "'a'b'", "a [b]",
        "a] and b in [c", "a, ]",
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused_with_the_form(written):
    with pytest.raises(ValueError, match=re.escape(FORM)) as caught:
        parse_where(f"status in [{written}]")
    assert "in its list where a value is expected" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", " ", "score", "== 4", "score = 4", "status in a, b", "status in [a", "in [a]"]
)
def test_what_is_no_condition_is_refused_with_the_form(text):
    with pytest.raises(ValueError, match=re.escape(FORM)):
        parse_where(text)


def test_a_condition_has_a_longest_length_and_is_not_repeated_whole():
    with pytest.raises(ValueError, match="32,002 characters long") as caught:
        parse_where("a" + " " * 32_000 + "x")
    assert len(str(caught.value)) < 200
    longest = f"id in [{', '.join(str(number) for number in range(1_600))}]"
    assert len(parse_where(longest).values) == 1_600


@pytest.mark.parametrize(
    "text",
    ["status in [" + "a" * 9_000 + "[]", "a == " + "'" * 9_000 + " b", "score < " + "x" * 9_000],
)
def test_a_wrong_condition_is_not_repeated_whole(text):
    try:
        said = parse_where(text).operator
    except ValueError as error:
        said = str(error)
    assert len(said) < 400


@pytest.mark.parametrize("value", ["high", "", "nan", "4 5", "1e9999999999999999999"])
def test_an_order_needs_a_number(value):
    with pytest.raises(ValueError, match="no number"):
        parse_where(f"score >= {value}")


LONG = 10**400


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("score >= 4", 4, True),
        ("score >= 4", "4.0", True),
        ("score > 4", 4.0, False),
        ("score >= 4", " 5 ", True),
        ("score < 4", "high", False),
        ("score < 4", None, False),
        ("score < 4", True, False),
        ("score < 4", float("nan"), False),
        ("score < 4", [1], False),
        ("score < inf", 4, True),
        ("score == 4", "4.00", True),
        ("score == 0.1", 0.1, True),
        ("score != 4", 4.0, False),
        ("score in [1, 2]", "2.0", True),
        ("score not in [1, 2]", 2, False),
        ("status == approved", "approved", True),
        ("status == approved", "Approved", False),
        ("status != approved", None, True),
        ("status == null", None, True),
        ("status == true", True, True),
        ("status == 1", True, False),
        ("status in ['']", "", True),
        ("status == 승인", "승인", True),
        # As floats, these would be equal.
        ("id == 12345678901234567", 12345678901234568, False),
        ("id == 12345678901234567", "12345678901234567", True),
        # As a float, this would be none.
        ("score >= 4", LONG, True),
        ("score >= 4", -LONG, False),
        ("score == 4", LONG, False),
        (f"score == {LONG}", LONG, True),
        (f"score < {LONG}", LONG - 1, True),
        ("score != nan", float("nan"), False),
        ("score == sNaN", "sNaN", True),
    ],
)
def test_a_condition_holds(text, value, holds):
    assert parse_where(text).holds(value) is holds


QUOTED = st.text().flatmap(
    lambda text: st.sampled_from([q + text.replace(q, "") + q for q in ("'", '"')])
)


@given(st.lists(QUOTED, min_size=1))
def test_whatever_is_quoted_is_a_value_of_a_list(written):
    values = parse_where(f"column in [{', '.join(written)}]").values
    assert values == tuple(one[1:-1] for one in written)


@given(st.integers() | st.floats(allow_nan=False), st.integers() | st.floats(allow_nan=False))
def test_numbers_are_compared_as_numbers(value, limit):
    for sign, expected in (
        ("<", operator.lt),
        ("<=", operator.le),
        (">", operator.gt),
        (">=", operator.ge),
        ("==", operator.eq),
        ("!=", operator.ne),
    ):
        condition = parse_where(f"score {sign} {limit!r}")
        assert condition.holds(value) is condition.holds(repr(value))
        if type(value) is type(limit):
            assert condition.holds(value) is expected(value, limit)


@given(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text())
def test_any_text_is_a_condition_or_a_value_error(text, value):
    try:
        condition = parse_where(text)
    except ValueError:
        return
    assert condition.holds(value) in (True, False)


@given(st.text(min_size=1).filter(str.strip), st.text())
def test_in_and_not_in_are_opposites(member, value):
    quote = "'" if '"' in member else '"'
    written = quote + member.replace(quote, "") + quote
    chosen, left = (parse_where(f"column {how} [{written}]") for how in ("in", "not in"))
    assert chosen.holds(value) is not left.holds(value)
