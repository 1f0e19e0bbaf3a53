import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from controller.evaluate.statistics.intervals import (
    Pairs,
    difference_above,
    difference_below,
    difference_interval,
    difference_z,
    mcnemar_above,
    proportion_above,
    proportion_below,
    proportion_z,
    tango_interval,
    wilson_interval,
)

LEVELS = st.floats(min_value=0.5, max_value=0.9999)
COUNTS = st.integers(min_value=0, max_value=300)


def pairs(both, candidate, rival, neither):
    return Pairs(both=both, candidate=candidate, rival=rival, neither=neither)


ALL_PAIRS = st.builds(pairs, COUNTS, COUNTS, COUNTS, COUNTS).filter(lambda one: one.n > 0)


@st.composite
def proportions(draw):
    n = draw(st.integers(min_value=1, max_value=2_000))
    return draw(st.integers(min_value=0, max_value=n)), n


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(right, n, low, high):
    assert wilson_interval(right, n, 0.95) == pytest.approx((low, high), abs=5e-5)


@given(proportions(), LEVELS)
def test_wilson_agrees_with_statsmodels_and_scipy(counted, level):
    right, n = counted

    found = wilson_interval(right, n, level)

    theirs = proportion_confint(right, n, alpha=1 - level, method="wilson")
    assert found == pytest.approx(theirs, abs=1e-9)
    scipys = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert found == pytest.approx((scipys.low, scipys.high), abs=1e-9)


@given(proportions(), LEVELS, LEVELS)
def test_a_wilson_interval_holds_what_was_seen_and_grows_with_its_level(counted, one, other):
    right, n = counted
    narrow, wide = (wilson_interval(right, n, level) for level in sorted((one, other)))

    assert 0 <= wide[0] <= narrow[0] <= right / n <= narrow[1] <= wide[1] <= 1


@given(proportions(), LEVELS)
def test_wilson_treats_right_and_wrong_alike(counted, level):
    right, n = counted
    low, high = wilson_interval(right, n, level)

    assert wilson_interval(n - right, n, level) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(proportions(), LEVELS, st.floats(min_value=-0.2, max_value=1.2))
def test_a_proportions_p_value_agrees_with_its_interval(counted, level, threshold):
    right, n = counted
    low, high = wilson_interval(right, n, level)
    tail = (1 - level) / 2

    if abs(low - threshold) > 1e-9:
        assert (proportion_above(right, n, threshold) < tail) == (low > threshold)
    if abs(high - threshold) > 1e-9:
        assert (proportion_below(right, n, threshold) < tail) == (high < threshold)


@pytest.mark.parametrize(
    ("right", "threshold", "above", "below"),
    [
        (0, 0.0, 1.0, 1.0),
        (1, 0.0, 0.0, 1.0),
        (20, 1.0, 1.0, 1.0),
        (19, 1.0, 1.0, 0.0),
        (0, -0.1, 0.0, 1.0),
        (20, 1.1, 1.0, 0.0),
        (10, 0.5, 0.5, 0.5),
    ],
)
def test_a_proportion_at_the_ends_of_the_scale(right, threshold, above, below):
    assert proportion_above(right, 20, threshold) == above
    assert proportion_below(right, 20, threshold) == below


def test_the_standard_errors_of_a_proportion_by_hand():
    assert proportion_z(60, 100, 0.5) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Bentur 2009, in Fagerland, Lydersen and Laake 2014, BMC Medical Research Methodology 14:30.
        ((1, 1, 7, 12), -0.517, -0.026),
        # Ratings of a prime minister, in Agresti and Min 2005, Statistics in Medicine 24:729.
        ((794, 150, 86, 570), 0.0214, 0.0590),
    ],
)
def test_tango_gives_the_published_intervals(counts, low, high):
    assert tango_interval(pairs(*counts), 0.95) == pytest.approx((low, high), abs=5e-4)


def test_tango_gives_the_published_test_of_a_margin():
    # Contact lenses: Tango 1998, Statistics in Medicine 17:891, margin 0.1.
    seen = pairs(43, 0, 1, 0)

    assert difference_z(seen, -0.1) == pytest.approx(1.709, abs=5e-4)
    assert difference_above(seen, -0.1) == pytest.approx(0.044, abs=5e-4)


def tango_by_search(seen, threshold):
    """Return the score statistic with the shares that a search finds to be the likeliest."""
    only, other, n = seen.candidate, seen.rival, seen.n

    def unlikely(share):
        lead, rest = share + threshold, 1 - 2 * share - threshold
        terms = ((only, lead), (other, share), (n - only - other, rest))
        return -sum(count * math.log(max(of, 1e-300)) for count, of in terms if count)

    bounds = (max(0.0, -threshold), (1 - threshold) / 2)
    found = optimize.minimize_scalar(
        unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    )
    variance = (2 * found.x + threshold - threshold**2) / n
    return (seen.difference - threshold) / math.sqrt(variance)


@given(
    st.builds(pairs, COUNTS, st.integers(1, 100), st.integers(1, 100), COUNTS),
    st.floats(min_value=-0.9, max_value=0.9),
)
def test_tangos_statistic_is_that_of_the_likeliest_shares(seen, threshold):
    expected = tango_by_search(seen, threshold)

    assert difference_z(seen, threshold) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@given(COUNTS, COUNTS)
def test_mcnemar_agrees_with_scipy_and_statsmodels(only, other):
    seen = pairs(5, only, other, 5)

    found = mcnemar_above(seen)

    if only + other:
        theirs = stats.binomtest(only, only + other, alternative="greater").pvalue
        assert found == pytest.approx(theirs, rel=1e-9)
        both = min(1.0, 2 * min(found, mcnemar_above(seen.swapped())))
        table = [[5, only], [other, 5]]
        assert both == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
    else:
        assert found == 1.0


def test_mcnemar_of_many_pairs_is_still_exact():
    expected = stats.binomtest(100_600, 200_000, alternative="greater").pvalue

    assert mcnemar_above(pairs(0, 100_600, 99_400, 0)) == pytest.approx(expected, rel=1e-6)


@given(ALL_PAIRS, LEVELS, st.floats(min_value=-1.2, max_value=1.2) | st.just(0.0))
def test_a_differences_p_value_agrees_with_its_interval(seen, level, threshold):
    low, high = difference_interval(seen, level)
    tail = (1 - level) / 2

    above = difference_above(seen, threshold)
    if abs(low - threshold) > 1e-9 and abs(above - tail) > 1e-9:
        assert (above < tail) == (low > threshold)
    below = difference_below(seen, threshold)
    if abs(high - threshold) > 1e-9 and abs(below - tail) > 1e-9:
        assert (below < tail) == (high < threshold)


@given(ALL_PAIRS, LEVELS, LEVELS)
def test_an_interval_of_a_difference_holds_what_was_seen_and_grows(seen, one, other):
    narrow, wide = (difference_interval(seen, level) for level in sorted((one, other)))
    ends = (wide[0], narrow[0], seen.difference, narrow[1], wide[1])

    assert wide[0] >= -1
    assert wide[1] <= 1
    assert all(left <= right + 1e-9 for left, right in pairwise(ends))


@given(ALL_PAIRS, LEVELS)
def test_exchanged_models_have_the_opposite_interval(seen, level):
    low, high = difference_interval(seen, level)

    assert difference_interval(seen.swapped(), level) == pytest.approx((-high, -low), abs=1e-9)


@given(ALL_PAIRS, st.lists(st.floats(min_value=-1, max_value=1), min_size=2, max_size=5))
def test_a_larger_threshold_is_never_surer(seen, thresholds):
    p_values = [difference_above(seen, one) for one in sorted([*thresholds, 0.0])]

    assert all(left <= right + 1e-12 for left, right in pairwise(p_values))


def test_an_interval_does_not_claim_what_the_exact_test_does_not():
    seen = pairs(1, 1, 7, 12)

    assert tango_interval(seen, 0.95)[1] < 0
    assert difference_interval(seen, 0.95)[1] == 0
    assert difference_below(seen, 0) == pytest.approx(0.0352, abs=5e-5)


@pytest.mark.parametrize("level", [0, 1, -1, 95, math.nan])
def test_a_level_that_is_none_is_refused(level):
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson_interval(1, 2, level)
