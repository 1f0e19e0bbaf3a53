"""Amounts as people read them: no cent is hidden, none is invented, and no digit is lost."""

from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.render.text import as_written, dollars, hours_text, most_dollars


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
