"""Texts and amounts as people read them: nothing is hidden, invented or cut off."""

import math
import unicodedata
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import Progress
from controller.render.text import (
    as_written,
    dollars,
    duration,
    escape_control,
    file_size,
    hours_text,
    most_dollars,
    progress_text,
)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0, 0, "$0.00"),
        (-0.0, -0.0, "$0.00"),
        (0, 2.25, "$0.00 - $2.25"),
        (1.5, 2.25, "$1.50 - $2.25"),
        (1234.5, 1234.5, "$1,234.50"),
        (1.001, 1.002, "$1.00"),
        (0.0048, 0.01, "$0.00 - $0.01"),
        (0.0048, 0.0053, "$0.0048 - $0.0053"),
        (0, 0.0053, "$0.0000 - $0.0053"),
        (0.0001, 0.0001, "$0.0001"),
        (0.00001, 0.00002, "less than $0.0001"),
    ],
)
def test_a_job_that_costs_less_than_a_cent_is_not_shown_as_free(low, high, text):
    assert dollars(low, high) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (2, "$2.00"),
        (2.001, "$2.01"),
        (3.3000000000000003, "$3.30"),
        (0.07 * 100, "$7.00"),
        (1999.999, "$2,000.00"),
        (0.0099, "$0.0099"),
        (0.00001, "less than $0.0001"),
        (1e15, "$1,000,000,000,000,000.00"),
    ],
)
def test_the_most_that_a_job_may_cost_is_rounded_up_to_cents(usd, text):
    assert most_dollars(usd) == text


@given(st.decimals(min_value="0.01", max_value=10**9, places=4))
def test_the_most_is_never_below_the_cost_and_never_a_cent_above(usd):
    shown = Decimal(most_dollars(float(usd)).replace("$", "").replace(",", ""))
    assert shown == usd.quantize(Decimal("0.01"), rounding=ROUND_CEILING)


@given(st.decimals(min_value=0, max_value=10**9, places=2))
def test_a_budget_is_shown_with_every_digit_that_was_written(usd):
    assert Decimal(as_written(float(usd))) == usd


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (2.2, "2.2"), (1234567.89, "1234567.89"), (0.001, "0.001")]
)
def test_a_budget_is_shown_as_people_write_it(value, text):
    assert as_written(value) == text


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.05123, "0.05123"),
        (1.5, "1.5"),
        (10.04, "10.04"),
        (123, "123"),
        (999.9, "999.9"),
        (1000, "1,000"),
        (123456.7, "123,457"),
    ],
)
def test_many_gpu_hours_are_no_power_of_ten(hours, text):
    assert hours_text(hours) == text


FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
SHOWN = "\t\n\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
"""Line ends and tabs, joiners of emoji and of Persian, and signs around Arabic numbers."""


def test_what_nobody_sees_is_shown_as_what_it_is():
    for code in (*range(0x10000), *range(0x1BCA0, 0x1D200), *range(0xE0000, 0xE0080)):
        sign = chr(code)
        unseen = unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"} or sign in FILLERS
        if unseen and sign not in SHOWN:
            assert escape_control(sign) == ascii(sign)[1:-1]
        elif unicodedata.category(sign) != "Cn":
            assert escape_control(sign) == sign


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("영업 시간은 9시부터", "영업 시간은 9시부터"),
        ("👩\u200d💻 ❤\ufe0f 🇰🇷 क\u094dष", "👩\u200d💻 ❤\ufe0f 🇰🇷 क\u094dष"),
        ("답\U000e0041\U000e0042", r"답\U000e0041\U000e0042"),
        ("ㅤfaq", r"\u3164faq"),
        ("pay\u2060pal", r"pay\u2060pal"),
        ("co\xadop", r"co\xadop"),
        ("$1\x1b[1A", r"$1\x1b[1A"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
    ],
)
def test_texts_in_any_language_are_shown_as_written_and_tricks_are_not(text, shown):
    assert escape_control(text) == shown


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 kB"),
        (1_499, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (1_000_000, "1 MB"),
        (999_499_999, "999 MB"),
        (999_500_001, "1.0 GB"),
        (1_250_000_000, "1.2 GB"),
        (2_000_000_000_000, "2,000.0 GB"),
    ],
)
def test_a_size_never_has_a_thousand_of_a_unit(size, text):
    assert file_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3600.0, "0 s"),
        (-0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_a_time_span_is_never_negative(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("eta_s", [math.inf, -math.inf, math.nan, None])
def test_a_time_that_is_not_known_is_left_out(eta_s):
    assert progress_text(Progress(step=4, total_steps=9, eta_s=eta_s)) == "step 4/9"
    assert progress_text(Progress(step=4, total_steps=9, eta_s=61)) == "step 4/9, 1 min 1 s left"
