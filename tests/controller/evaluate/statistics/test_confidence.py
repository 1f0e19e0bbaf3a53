import math
from itertools import pairwise
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from controller.evaluate.statistics.confidence import (
    HIGHEST_LEVEL,
    PROBABILITIES,
    bound,
    confidence_below,
)
from controller.evaluate.statistics.percentiles import order_bounds
from controller.evaluate.statistics.student import student_quantile

NORMAL = NormalDist(3, 2)
BOUNDS = tuple(NORMAL.inv_cdf(one) for one in PROBABILITIES)
INSIDE = st.floats(min_value=0.0006, max_value=0.9994)


def test_probabilities_are_mirrored():
    assert [round(1 - one, 6) for one in reversed(PROBABILITIES)] == list(PROBABILITIES)
    assert pytest.approx(0.999) == HIGHEST_LEVEL


@given(INSIDE)
def test_a_normal_distribution_is_reproduced(probability):
    there = bound(BOUNDS, probability)

    assert there == pytest.approx(NORMAL.inv_cdf(probability), abs=1e-9)
    assert confidence_below(BOUNDS, there) == pytest.approx((probability, probability), abs=1e-9)


@pytest.mark.parametrize(
    ("bounds", "threshold", "least", "greatest"),
    [
        (BOUNDS, -100, 0.0, 0.0005),
        (BOUNDS, 100, 0.9995, 1.0),
        ((*range(16), None), 100, 0.9975, 1.0),
        ((None, *range(16)), -100, 0.0, 0.0025),
        ((*range(15), 14, 14), 14, 0.995, 1.0),
        ((0, 0, *range(15)), 0, 0.0, 0.005),
        ((None,) * 17, 0, 0.0, 1.0),
        ((1.0,) * 17, 1.0, 0.0, 1.0),
    ],
)
def test_a_threshold_outside_or_on_repeated_bounds(bounds, threshold, least, greatest):
    assert confidence_below(bounds, threshold) == pytest.approx((least, greatest))


@pytest.mark.parametrize("probability", [0.0004, 0.9996])
def test_there_are_no_bounds_beyond_those_recorded(probability):
    assert bound(BOUNDS, probability) is None


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 19, 99, 100, 101, 500, 4_999])
@pytest.mark.parametrize("probability", [0.0005, 0.025, 0.25, 0.5, 0.75, 0.99, 0.9995])
def test_students_quantiles_agree_with_scipy(freedom, probability):
    expected = stats.t.ppf(probability, freedom)

    assert student_quantile(probability, freedom) == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_upper_bound_of_a_percentile_needs_enough_values():
    few = order_bounds(range(20), 95)
    enough = order_bounds(range(100), 95)

    # 0.95^20 = 0.36, so no value is surely above; 0.95^100 = 0.006.
    assert bound(few, 0.975) is None
    assert bound(few, 0.025) is not None
    assert bound(enough, 0.975) is not None
    assert bound(enough, 0.9995) is None


@given(
    st.lists(st.integers(0, 1_000), min_size=5, max_size=120),
    st.sampled_from([10, 50, 90, 95]),
)
def test_bounds_of_a_percentile_lie_between_those_of_scipy(values, percent):
    bounds = order_bounds(values, percent)

    known = [one for one in bounds if one is not None]
    assert known == sorted(known)
    for level in (0.9, 0.95):
        theirs = stats.quantile_test(values, p=percent / 100).confidence_interval(level)
        low, high = bound(bounds, (1 - level) / 2), bound(bounds, (1 + level) / 2)
        # Scipy takes the value outside; ours lies between it and the next one inside.
        assert (low is None) == math.isnan(theirs.low)
        assert (high is None) == math.isnan(theirs.high)
        assert low is None or low >= theirs.low - 1e-9
        assert high is None or high <= theirs.high + 1e-9


def test_equal_values_make_flat_bounds():
    assert all(left == right == 7 for left, right in pairwise(order_bounds([7] * 100, 50)))
