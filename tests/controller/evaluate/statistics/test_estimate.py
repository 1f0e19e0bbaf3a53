import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from controller.evaluate.metric import RIGHT, WRONG, mean
from controller.evaluate.metrics.exact_match import METRIC as EXACT_MATCH
from controller.evaluate.statistics.bootstrap import combined_bounds, mean_bounds
from controller.evaluate.statistics.confidence import PROBABILITIES
from controller.evaluate.statistics.estimate import difference_of, sample_of


def scoring(*, combine=mean, percentile=None, is_proportion=False):
    return SimpleNamespace(combine=combine, percentile=percentile, is_proportion=is_proportion)


def ratio(sums):
    """Return a mean that nobody takes for one."""
    return sums[0] / sums[1] if sums[1] else None


def ones(values):
    return [(float(value), 1.0) for value in values]


NUMBERS = scoring()
PROPORTION = scoring(is_proportion=True)
RNG = np.random.default_rng(7)
SKEWED = RNG.exponential(size=400)
NOISE = RNG.normal(size=400)


def test_a_proportion_is_counted():
    tallies = [RIGHT, WRONG, None, RIGHT]

    sample = sample_of(tallies, EXACT_MATCH, seed="s")

    assert (sample.n, sample.right, sample.groups) == (3, 2, None)


def test_pairs_are_counted_where_both_count():
    candidate = [RIGHT, RIGHT, WRONG, WRONG, RIGHT, None, RIGHT]
    rival = [RIGHT, WRONG, RIGHT, WRONG, RIGHT, RIGHT, None]

    sample = difference_of(candidate, rival, EXACT_MATCH, seed="s")

    assert (sample.n, sample.pairs) == (5, (2, 1, 1, 1))


def test_the_seed_decides_the_draws():
    first = sample_of(ones(SKEWED), NUMBERS, seed="a", rounds=500)

    assert sample_of(ones(SKEWED), NUMBERS, seed="a", rounds=500) == first
    assert sample_of(ones(SKEWED), NUMBERS, seed="b", rounds=500) != first


def test_the_bounds_of_a_seed_are_known():
    part = np.array(ones([1, 2, 3, 5, 8, 13, 21, 34]))

    bounds = mean_bounds([part], "s", rounds=2_000)

    # Student's lower end and the bootstrap-t's upper end reach farther.
    expected = stats.t.interval(0.95, 7, 10.875, stats.sem(part[:, 0]))
    assert bounds[4] == pytest.approx(expected[0], abs=1e-6)
    assert bounds[8] == 10.875
    assert bounds[12] == 28.66751
    assert bounds[12] > expected[1] + 5


def test_the_mean_of_many_values_agrees_with_students_interval():
    sample = sample_of(ones(NOISE), NUMBERS, seed="s")

    low, high = sample.interval(0.95)

    error = stats.sem(NOISE)
    expected = stats.t.interval(0.95, len(NOISE) - 1, NOISE.mean(), error)
    assert (low, high) == pytest.approx(expected, abs=0.15 * error)
    assert low <= expected[0] + 1e-6
    assert high >= expected[1] - 1e-6


def test_a_combined_score_of_many_examples_agrees_with_scipys_bca():
    def spread(sums):
        return sums[0] / sums[2] - (sums[1] / sums[2]) ** 2

    tallies = [(value * value, value, 1.0) for value in SKEWED]

    low, high = sample_of(tallies, scoring(combine=spread), seed="s").interval(0.95)

    theirs = stats.bootstrap(
        (SKEWED,), np.var, n_resamples=9_999, method="BCa", rng=np.random.default_rng(1), batch=500
    )
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert low == pytest.approx(theirs.confidence_interval.low, abs=0.08 * width)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=0.08 * width)


def test_examples_of_one_group_are_drawn_together():
    groups = [number // 10 for number in range(400)]
    values = ones(SKEWED[[number // 10 for number in range(400)]])

    grouped = sample_of(values, NUMBERS, seed="s", groups=groups)
    one_each = sample_of(ones(SKEWED[:40]), NUMBERS, seed="s")
    alone = sample_of(values, NUMBERS, seed="s")

    assert (grouped.n, grouped.groups) == (400, 40)
    assert grouped.interval(0.95) == pytest.approx(one_each.interval(0.95))
    width = alone.interval(0.95)[1] - alone.interval(0.95)[0]
    assert grouped.interval(0.95)[1] - grouped.interval(0.95)[0] > 2.5 * width


def test_groups_of_one_example_are_no_groups():
    tallies = ones([0, 1, 1, 1, 0, 1])

    assert sample_of(tallies, PROPORTION, seed="s", groups="abcdef") == sample_of(
        tallies, PROPORTION, seed="s"
    )


def test_a_grouped_proportion_stays_between_0_and_1():
    groups = [number // 10 for number in range(60)]
    tallies = ones([1] * 55 + [0] * 5)

    sample = sample_of(tallies, PROPORTION, seed="s", groups=groups, rounds=1_000)

    assert sample.quantiles is not None
    assert min(sample.quantiles) >= 0
    assert max(sample.quantiles) == 1


def test_differences_ignore_what_both_models_share():
    shared = RNG.normal(0, 50, size=400)
    ours, theirs = ones(shared + NOISE + 0.3), ones(shared)

    difference = difference_of(ours, theirs, NUMBERS, seed="s", rounds=1_000)

    assert difference.interval(0.95) == pytest.approx(
        sample_of(ones(NOISE + 0.3), NUMBERS, seed="s", rounds=1_000).interval(0.95), abs=1e-5
    )


def test_weights_that_differ_between_models_are_both_resampled():
    ours = [(value * 2, 2.0) for value in SKEWED]
    theirs = ones(SKEWED - NOISE)

    weighted = difference_of(ours, theirs, NUMBERS, seed="s", rounds=4_000)
    equal = difference_of(ones(SKEWED), theirs, NUMBERS, seed="s", rounds=4_000)

    assert weighted.interval(0.95) == pytest.approx(equal.interval(0.95), abs=1e-5)


def test_the_two_ways_to_resample_a_mean_agree():
    part = np.array(ones(NOISE))

    fast = mean_bounds([part], "s", rounds=4_000)
    plain = combined_bounds([part], ratio, "s", rounds=4_000)

    assert plain[2:-2] == pytest.approx(fast[2:-2], abs=0.3 * NOISE.std() / 20)


def test_exchanged_models_have_mirrored_bounds():
    ours, theirs = ones(SKEWED), ones(NOISE)

    one = difference_of(ours, theirs, NUMBERS, seed="s")
    other = difference_of(theirs, ours, NUMBERS, seed="s")

    mirrored = [-bound for bound in reversed(other.quantiles)]
    assert list(one.quantiles) == pytest.approx(mirrored, abs=0.01)


def test_percentiles_of_one_model_and_of_a_difference():
    p50 = scoring(percentile=50)

    low, high = sample_of(ones(SKEWED), p50, seed="s").interval(0.95)
    assert low < math.log(2) < high
    difference = difference_of(ones(SKEWED + 5), ones(SKEWED), p50, seed="s", rounds=500)
    assert difference.reason is not None
    difference = difference_of(ones(SKEWED * 2), ones(SKEWED), p50, seed="s", rounds=500)
    low, high = difference.interval(0.95)
    assert low < math.log(2) < high


def test_a_grouped_percentile_is_wider():
    values = ones(np.repeat(SKEWED[:40], 10))
    p50 = scoring(percentile=50)

    grouped = sample_of(values, p50, seed="s", groups=[number // 10 for number in range(400)])
    alone = sample_of(values, p50, seed="s")

    widths = [sample.interval(0.95)[1] - sample.interval(0.95)[0] for sample in (grouped, alone)]
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(
    ("tallies", "how", "groups", "reason"),
    [
        ([], NUMBERS, None, "no example counts"),
        ([None, None], NUMBERS, None, "no example counts"),
        (ones([1, math.nan, 2]), NUMBERS, None, "a value is not a finite number"),
        (ones([1, math.inf, 2]), NUMBERS, None, "a value is not a finite number"),
        (
            ones([3.3] * 20),
            NUMBERS,
            None,
            "all 20 examples have the same value, so chance cannot be estimated",
        ),
        (
            ones([0.1, 0.2] * 6),
            NUMBERS,
            [number // 2 for number in range(12)],
            "all 6 groups have the same value, so chance cannot be estimated",
        ),
        (
            ones([0.1] * 20),
            scoring(combine=ratio),
            None,
            "all 20 examples have the same value, so chance cannot be estimated",
        ),
        (ones([1, 2]), NUMBERS, None, "2 examples are too few for an interval; 5 would do"),
        (ones([1]), NUMBERS, None, "1 example is too few for an interval; 5 would do"),
        (ones([1, 2, 3]), NUMBERS, "aaa", "1 group is too few for an interval; 5 would do"),
        (ones([1, 1, 1]), PROPORTION, "aaa", "1 group is too few for an interval; 5 would do"),
        ([(1.0, 0.0)] * 9, NUMBERS, None, "the score is not a finite number"),
        ([(1.0, 0.0)] * 9, scoring(combine=ratio), None, "the score is not a finite number"),
        (
            [(1.0, 0.0)] * 9 + [(1.0, 1.0)],
            scoring(combine=ratio),
            None,
            "35% of the resampled sets have no score",
        ),
        (
            ones(range(40)),
            scoring(percentile=95),
            [number // 2 for number in range(40)],
            "the percentile of 20 groups depends on the outermost few; 100 would do",
        ),
    ],
)
def test_an_interval_that_cannot_be_had_has_a_reason(tallies, how, groups, reason):
    sample = sample_of(tallies, how, seed="s", groups=groups, rounds=4_000)

    assert sample.reason == reason
    assert sample.interval(0.95) == (None, None)


def test_equal_answers_of_both_models():
    values = ones(SKEWED)

    assert "have the same value" in difference_of(values, values, NUMBERS, seed="s").reason
    right = ones([1] * 60)
    assert difference_of(right, right, PROPORTION, seed="s").pairs == (60, 0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"tallies": ones([1, 0]), "groups": "a"}, "of \\[1, 2\\] examples"),
        ({"tallies": ones([0.5, 0])}, "not \\(0 or 1, 1\\)"),
        ({"tallies": [(1.0, 2.0)]}, "not \\(0 or 1, 1\\)"),
    ],
)
def test_a_callers_mistake_is_an_error(arguments, problem):
    with pytest.raises(ValueError, match=problem):
        sample_of(scoring=PROPORTION, seed="s", **arguments)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=40),
    st.sampled_from([NUMBERS, scoring(combine=ratio), scoring(percentile=50)]),
    st.booleans(),
)
def test_bounds_never_fall_whatever_the_values(values, how, grouped):
    groups = [number // 2 for number in range(len(values))] if grouped else None

    sample = sample_of(ones(values), how, seed="s", groups=groups, rounds=200)

    # `Sample` itself refuses bounds that fall or are not finite.
    assert (sample.reason is None) == (sample.quantiles is not None)
    assert sample.quantiles is None or len(sample.quantiles) == len(PROBABILITIES)
