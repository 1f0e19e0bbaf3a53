"""`numeric`: numbers in texts of four languages, and tolerances."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import AnsweredExample
from controller.evaluate.metrics import metric_called
from controller.evaluate.metrics.numbers import numbers_in

NUMERIC = metric_called("numeric")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("42", ["42"]),
        ("정답: 42.", ["42"]),
        ("1,234.5", ["1234.5"]),
        ("\uff11\uff0c\uff12\uff13\uff14", ["1234"]),
        ("12,34", ["12", "34"]),
        ("0.5", ["0.5"]),
        ("1e-3", ["0.001"]),
        ("-3도", ["-3"]),
        ("\u22123", ["-3"]),
        ("x=-5", ["-5"]),
        ("10-20", ["10", "20"]),
        ("2026-05-07", ["2026", "5", "7"]),
        ("GPT4 a1", []),
        ("$1,200", ["1200"]),
        ("-₩3,000", ["-3000"]),
        ("총4500원입니다", ["4500"]),
        ("3kg", ["3"]),
        ("12.3%", ["0.123"]),
        ("50 퍼센트", ["0.5"]),
        ("\uff15\uff10\uff05", ["0.5"]),
        ("3프로", ["0.03"]),
        ("3프로그램", ["3"]),
        ("3천", ["3000"]),
        ("100만", ["1000000"]),
        ("3만 5천 원", ["35000"]),
        ("3만5000원", ["35000"]),
        ("3만 500원", ["30500"]),
        ("3만 2개월", ["30000", "2"]),
        ("2천5백만 원", ["25000000"]),
        ("1.5천만원", ["15000000"]),
        ("1백2십3", ["123"]),
        ("1억 2,000만 원", ["120000000"]),
        ("12조 3,456억 7,890만 원", ["12345678900000"]),
        ("-1만 2천", ["-12000"]),
        ("2천 3천", ["2000", "3000"]),
        ("5만 3만", ["50000", "30000"]),
        ("20만 명 중 3만 명", ["200000", "30000"]),
        ("5만큼 2조각", ["5", "2"]),
        ("1億2000万円", ["120000000"]),
        ("1亿2千万元", ["120000000"]),
        ("3万5千円", ["35000"]),
        ("하지만 천천히, 만약", []),
        ("", []),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, numbers: list[str]):
    assert numbers_in(text) == [Decimal(one) for one in numbers]


@settings(deadline=None)
@given(st.integers(-(10**15), 10**15))
def test_a_number_is_read_in_every_spelling(number: int):
    assert numbers_in(f"약 {number}") == [number]
    assert numbers_in(f"{number:,}원") == [number]
    size, sign = abs(number), "-" if number < 0 else ""
    parts = [(size // 10**12, "조"), (size // 10**8 % 10**4, "억"), (size // 10**4 % 10**4, "만")]
    pieces = [f"{count:,}{unit}" for count, unit in parts if count]
    if size % 10**4:
        pieces.append(f"{size % 10**4}")
    if pieces:
        assert numbers_in(f"{sign}{' '.join(pieces)} 원") == [number]
        assert numbers_in(f"{sign}{''.join(pieces)}원") == [number]


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789,.-% 만천억조원eE²½٣a"), max_size=40))
def test_no_text_is_too_odd(text: str):
    assert all(number.is_finite() for number in numbers_in(text))


def score(expected: str, given_text: str, *, calls=(), **settings) -> list[float | None]:
    one = AnsweredExample(
        expected=Answer(text=expected),
        given=Answer(text=given_text, calls=calls),
        completion=Completion(text=given_text, finish_reason="stop"),
    )
    return [NUMERIC.value(t) for t in NUMERIC.tally(NUMERIC.settings(**settings), [one])]


@pytest.mark.parametrize(
    ("settings", "expected", "given_text", "is_right"),
    [
        ({}, "35,000원", "모두 3만 5천 원입니다.", True),
        ({}, "35000", "35001", False),
        ({}, "0.1", "0.10", True),
        ({}, "12.3%", "0.123", True),
        ({}, "50%", "50", False),
        ({}, "-3", "3", False),
        ({}, "42", "모르겠어요.", False),
        ({}, "42", "", False),
        ({"absolute": 1}, "42", "43", True),
        ({"absolute": 1}, "42", "43.01", False),
        ({"absolute": 0.1}, "0.3", "0.4", True),
        ({"relative": 0.01}, "1000", "1010", True),
        ({"relative": 0.01}, "1000", "1010.1", False),
        ({"relative": 0.01}, "-1000", "-990", True),
        ({"relative": 0.5}, "0", "0.1", False),
        ({"relative": 0.001, "absolute": 5}, "100", "104", True),
        ({}, "7", "3 더하기 4는 7", True),
        ({"which": "first"}, "7", "3 더하기 4는 7", False),
        ({"which": "first"}, "7", "7이에요. 3과 4를 더했어요.", True),
    ],
)
def test_a_number_is_right_within_the_tolerance(settings, expected, given_text, is_right):
    assert score(expected, given_text, **settings) == [is_right]


def test_an_answer_that_calls_a_tool_has_no_number():
    calls = (Call(name="add", arguments="{}"),)
    assert score("7", "7", calls=calls) == [False]


def test_an_expected_answer_without_a_number_is_refused_before_anyone_pays():
    answers = [
        Answer(text="7"),
        Answer(text="", calls=(Call(name="add", arguments="{}"),)),
        Answer(text="모름"),
        Answer(text="여덟"),
    ]
    assert NUMERIC.misfit(NUMERIC.settings(), answers[:2]) is None
    misfit = NUMERIC.misfit(NUMERIC.settings(), answers)
    assert misfit.place == 2
    assert misfit.message == "needs a number in every expected answer"
    assert score("모름", "7") == [None]
