import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.evaluate.statistics.confidence import PROBABILITIES
from controller.evaluate.statistics.intervals import wilson_interval
from controller.evaluate.statistics.samples import Sample, few_groups_warning

BOUNDS = tuple(float(place) for place in range(len(PROBABILITIES)))
NUMBERS = st.floats(min_value=-1e6, max_value=1e6)
ALL_BOUNDS = st.lists(NUMBERS, min_size=17, max_size=17).map(sorted)


def test_counts_give_the_intervals_and_tests_of_proportions():
    sample = Sample(n=100, right=80)

    assert sample.interval(0.95) == wilson_interval(80, 100, 0.95)
    assert sample.p_above(0.7) == pytest.approx(0.01454, abs=5e-5)
    assert sample.p_below(0.9) == pytest.approx(0.000429, abs=5e-6)


def test_pairs_give_the_exact_test_at_zero_and_tangos_at_a_margin():
    sample = Sample(n=44, pairs=(43, 0, 1, 0))

    assert sample.p_above(0) == 1.0
    assert sample.p_below(0) == 0.5
    assert sample.p_above(-0.1) == pytest.approx(0.0438, abs=5e-5)


def test_quantiles_give_the_recorded_bounds():
    sample = Sample(n=50, quantiles=BOUNDS)

    assert sample.interval(0.95) == (4.0, 12.0)
    assert sample.interval(0.999) == (0.0, 16.0)
    assert sample.interval(0.9999) == (None, None)
    assert sample.p_above(4.0) == pytest.approx(0.025)
    assert sample.p_below(12.0) == pytest.approx(0.025)


def test_agreeing_groups_count_as_one_example_each():
    assert Sample(n=200, groups=20, right=200).interval(0.95) == wilson_interval(20, 20, 0.95)
    assert Sample(n=200, groups=20, right=0).interval(0.95) == wilson_interval(0, 20, 0.95)
    alone = Sample(n=20, pairs=(20, 0, 0, 0))
    assert Sample(n=200, groups=20, pairs=(150, 0, 0, 50)).interval(0.9) == alone.interval(0.9)


def test_a_reason_gives_neither_interval_nor_p_value():
    sample = Sample(n=0, reason="no example counts")

    assert sample.interval(0.95) == (None, None)
    assert sample.p_above(0) is None
    assert sample.p_below(0) is None


@settings(max_examples=50, deadline=None)
@given(ALL_BOUNDS, st.floats(min_value=0.5, max_value=0.999), NUMBERS)
def test_p_values_of_quantiles_agree_with_intervals(bounds, level, threshold):
    sample = Sample(n=50, quantiles=tuple(bounds))
    low, high = sample.interval(level)
    tail = (1 - level) / 2

    assert low <= high
    if sample.p_above(threshold) < tail - 1e-9:
        assert low >= threshold
    if low > threshold:
        assert sample.p_above(threshold) <= tail + 1e-9
    if sample.p_below(threshold) < tail - 1e-9:
        assert high <= threshold
    if high < threshold:
        assert sample.p_below(threshold) <= tail + 1e-9


@settings(max_examples=50, deadline=None)
@given(ALL_BOUNDS, NUMBERS, NUMBERS)
def test_a_larger_threshold_is_never_surer(bounds, one, other):
    sample = Sample(n=50, quantiles=tuple(bounds))
    small, large = sorted((one, other))

    assert sample.p_above(small) <= sample.p_above(large) + 1e-12
    assert sample.p_below(small) >= sample.p_below(large) - 1e-12


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"n": 3}, "exactly one"),
        ({"n": 3, "right": 1, "reason": "x"}, "exactly one"),
        ({"n": 3, "right": 4}, "right: 4, allowed: 0 to 3"),
        ({"n": 0, "right": 0}, "has a reason"),
        ({"n": 3, "pairs": (1, 1, 1, 1)}, "the sum 3"),
        ({"n": 2, "pairs": (1, -1, 1, 1)}, "four counts"),
        ({"n": 3, "groups": 4, "right": 3}, "groups <= n"),
        ({"n": 3, "groups": 2, "right": 1}, "need quantiles"),
        ({"n": 3, "groups": 2, "pairs": (2, 1, 0, 0)}, "need quantiles"),
        ({"n": 3, "quantiles": (1.0,)}, "1 numbers, allowed: 17"),
        ({"n": 3, "quantiles": (*BOUNDS[:-1], math.nan)}, "finite numbers"),
        ({"n": 3, "quantiles": BOUNDS[::-1]}, "do not fall"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(fields, problem):
    with pytest.raises(ValueError, match=problem):
        Sample(**fields)


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        Sample(n=5, quantiles=BOUNDS).interval(95)


@pytest.mark.parametrize("groups", [None, 20, 300])
def test_enough_groups_are_no_warning(groups):
    assert few_groups_warning(Sample(n=1_200, groups=groups, quantiles=BOUNDS)) is None


@pytest.mark.parametrize(("groups", "words"), [(19, "19 groups"), (1, "1 group")])
def test_few_groups_are_said(groups, words):
    assert few_groups_warning(Sample(n=1_200, groups=groups, quantiles=BOUNDS)) == (
        f"The 1,200 examples come from only {words}. Intervals and verdicts from fewer than 20 "
        "groups are rough."
    )
