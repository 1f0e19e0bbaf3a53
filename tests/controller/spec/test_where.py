"""Conditions that choose rows: how they are parsed, and for which values they hold."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.pydantic_errors import InvalidValue
from controller.spec.where import parse_where


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
def test_what_is_not_a_list_is_refused(written):
    with pytest.raises(InvalidValue, match="expected a value of the list at character") as caught:
        parse_where(f"status in [{written}]")
    assert caught.value.remedy == FORM


FORM = (
    "Write COLUMN >= VALUE, or COLUMN in [VALUE, 'VALUE, WITH COMMA'] (also == != < <= > not in)."
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *((text, " has no operator") for text in ("", "score", "== 4", "score = 4", "in [a]")),
        ("status in a, b", " has no operator"),
        ("status in [a", " has no operator"),
        (
            "상태 in [승인, 보류,, 삭제]",
            ": expected a value of the list at character 15, found ', 삭제'",
        ),
        ("상태 not in []", ": expected a value of the list at character 12, found nothing"),
        ("점수 >= 높음", ": expected a number at character 7, found '높음'"),
        ("점수 >=", ": expected a number at character 6, found nothing"),
        ("score < '4 5'", ": expected a number at character 9, found \"'4 5'\""),
    ],
)
def test_an_error_points_at_the_part_that_is_wrong(text, problem):
    with pytest.raises(InvalidValue) as caught:
        parse_where(f" {text}")
    assert str(caught.value) == f"{text!r}{problem}"
    assert caught.value.remedy == FORM


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
    with pytest.raises(InvalidValue, match=r"expected a number at character (9|10), found"):
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
    except InvalidValue:
        return
    assert condition.holds(value) in (True, False)
    if condition.is_order and not condition.compares(value):
        assert not condition.holds(value)


@given(st.text(min_size=1).filter(str.strip), st.text())
def test_in_and_not_in_are_opposites(member, value):
    quote = "'" if '"' in member else '"'
    written = quote + member.replace(quote, "") + quote
    chosen, left = (parse_where(f"column {how} [{written}]") for how in ("in", "not in"))
    assert chosen.holds(value) is not left.holds(value)


@pytest.mark.parametrize(
    ("text", "value", "is_cell", "is_met"),
    [
        ("x == true", "TRUE", True, True),
        ("x == true", "TRUE", False, False),
        ("x == True", True, False, True),
        ("x in [예, true]", " True ", True, True),
        ("x != false", "False", True, False),
        ("x == null", "", True, True),
        ("x == null", "", False, False),
        ("x != null", "", True, False),
        ("x == 승인", "승인", True, True),
        ("x >= 4", "", True, False),
        ("x >= 4", "TRUE", True, False),
        ("x == 1", True, True, False),
    ],
)
def test_a_condition_means_what_its_author_meant(text, value, is_cell, is_met):
    assert parse_where(text).means(value, is_cell=is_cell) is is_met


@given(st.sampled_from(["<", "<=", ">", ">="]), st.decimals(allow_nan=False, allow_infinity=False))
def test_an_order_holds_for_every_spelling_of_a_number(sign, limit):
    condition = parse_where(f"x {sign} {limit}")
    assert condition.is_order
    assert condition.holds(str(limit)) is condition.holds(f" {limit:f} ") is ("=" in sign)


@given(st.lists(st.integers(-5, 5), min_size=1), st.integers(-5, 5))
def test_a_number_is_among_the_numbers_of_a_list(members, value):
    condition = parse_where(f"x in {members}")
    for spelled in (value, float(value), str(value), f"{value}.0"):
        assert condition.holds(spelled) is (value in members)
