import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from controller.evaluate.statistics.confidence import PROBABILITIES
from controller.evaluate.statistics.decide import (
    Claim,
    Outcome,
    decide,
    examples_needed,
    fewest_examples,
    holm,
)
from controller.evaluate.statistics.samples import Sample

NO_INTERVAL = Sample(n=5, reason="all 5 examples have the same value")
P_VALUES = st.floats(min_value=0, max_value=1)


def pairs(n, candidate, rival):
    return Sample(n=n, pairs=(n - candidate - rival, candidate, rival, 0))


def normal(n, middle, error):
    """Return the sample of a difference of numbers with a standard error."""
    scores = (-3.29, -2.81, -2.58, -2.24, -1.96, -1.645, -1.28, -0.674, 0)
    bounds = [middle + error * one for one in (*scores, *(-one for one in reversed(scores[:-1])))]
    return Sample(n=n, quantiles=tuple(bounds))


def outcome(sample, threshold, *, level=0.95, below=False, is_difference=True):
    claim = Claim(
        sample=sample, threshold=threshold, level=level, below=below, is_difference=is_difference
    )
    return decide([claim])[0].outcome


@settings(max_examples=8, deadline=None)  # theirs takes long
@given(st.lists(P_VALUES, max_size=12))
def test_holm_agrees_with_statsmodels(p_values):
    theirs = multipletests(p_values, method="holm")[1] if p_values else []

    assert holm(p_values) == pytest.approx(list(theirs))


@pytest.mark.parametrize(
    ("sample", "threshold", "below", "expected"),
    [
        (pairs(200, 30, 5), 0, False, Outcome.BETTER),
        (pairs(200, 5, 30), 0, False, Outcome.WORSE),
        (pairs(200, 12, 8), 0, False, Outcome.CANNOT_TELL),
        (pairs(200, 5, 30), 0, True, Outcome.BETTER),
        (pairs(1000, 5, 5), -0.01, False, Outcome.NOT_WORSE),
        (pairs(1000, 30, 5), -0.01, False, Outcome.BETTER),
        (pairs(100, 5, 5), -0.01, False, Outcome.CANNOT_TELL),
        (pairs(1000, 5, 60), -0.01, False, Outcome.WORSE),
        (pairs(1000, 0, 0), -0.01, False, Outcome.NOT_WORSE),
        (normal(50, 0.4, 0.1), 0, False, Outcome.BETTER),
        (normal(50, 0.1, 0.1), 0, False, Outcome.CANNOT_TELL),
        # A loss: lower is better, and a margin lies above 0.
        (normal(50, -0.4, 0.1), 0, True, Outcome.BETTER),
        (normal(50, 0.0, 0.1), 0.3, True, Outcome.NOT_WORSE),
        (normal(50, -0.4, 0.1), 0.3, True, Outcome.BETTER),
        (normal(50, 0.6, 0.1), 0.3, True, Outcome.WORSE),
        # A lead that is asked for is no margin.
        (normal(50, 0.6, 0.1), 0.3, False, Outcome.BETTER),
        (NO_INTERVAL, 0, False, Outcome.CANNOT_TELL),
    ],
)
def test_outcomes_of_differences(sample, threshold, below, expected):
    assert outcome(sample, threshold, below=below) is expected


@pytest.mark.parametrize(
    ("right", "threshold", "level", "expected"),
    [
        (190, 0.9, 0.95, Outcome.BETTER),
        (186, 0.9, 0.95, Outcome.CANNOT_TELL),
        (186, 0.9, 0.6, Outcome.BETTER),
        (150, 0.9, 0.95, Outcome.WORSE),
    ],
)
def test_outcomes_of_scores(right, threshold, level, expected):
    sample = Sample(n=200, right=right)

    assert outcome(sample, threshold, level=level, is_difference=False) is expected


def test_conditions_of_one_gate_are_corrected_for_their_number():
    nearly = Claim(sample=pairs(200, 17, 5), threshold=0, level=0.95, is_difference=True)
    assert decide([nearly])[0].holds
    assert not any(one.holds for one in decide([nearly] * 3))

    sure = Claim(sample=pairs(200, 40, 5), threshold=0, level=0.95, is_difference=True)
    found = decide([nearly, sure])
    assert [one.holds for one in found] == [True, True]
    assert found[1].p_value == pytest.approx(2 * sure.p_value(0))


def test_a_claim_without_an_interval_says_so_and_counts_as_a_test():
    unknown = Claim(sample=NO_INTERVAL, threshold=0, level=0.95)
    known = Claim(sample=pairs(200, 17, 5), threshold=0, level=0.95, is_difference=True)

    found = decide([unknown, known])

    assert found[0].p_value is None
    assert found[0].needed is None
    assert found[1].p_value == pytest.approx(2 * known.p_value(0))


def test_at_99_9_percent_quantiles_still_decide():
    assert outcome(normal(50, 1, 0.1), 0, level=0.999) is Outcome.BETTER


@pytest.mark.parametrize(
    ("sample", "threshold", "expected"),
    [
        # z = 1: ((1.96 + 0.84) / 1)^2 = 7.85 times as many.
        (normal(100, 0.1, 0.1), 0, 790),
        (normal(100, -0.1, 0.1), 0, 790),
        (normal(100, 0.05, 0.1), 0, 3200),
        (normal(100, 0, 0.1), 0, None),
        (Sample(n=100, right=90), 0.9, None),
        (Sample(n=100, right=93), 0.9, 790),
        (NO_INTERVAL, 0, None),
        (pairs(20, 0, 0), 0, None),
        (normal(100, 1e-9, 1), 0, None),
    ],
)
def test_how_many_examples_would_decide(sample, threshold, expected):
    assert examples_needed(sample, threshold, 0.95) == expected


def test_as_many_examples_as_needed_do_decide():
    small = Sample(n=100, right=93)
    needed = examples_needed(small, 0.9, 0.95)
    large = Sample(n=needed, right=round(needed * 0.93))

    assert outcome(small, 0.9, is_difference=False) is Outcome.CANNOT_TELL
    assert outcome(large, 0.9, is_difference=False) is Outcome.BETTER


@given(st.integers(10, 500), st.floats(0.01, 0.99), st.integers(0, 10))
def test_more_conditions_need_more_examples(n, threshold, wrong):
    sample = Sample(n=n, right=n - wrong)
    one, five = (examples_needed(sample, threshold, 0.95, conditions=of) for of in (1, 5))

    assert one is None or five is None or n < one <= five


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(
    ("threshold", "below", "is_difference"),
    [
        (0.8, False, False),
        (0.95, False, False),
        (0.1, True, False),
        (-0.01, False, True),
        (0.05, True, True),
        (0.0, False, True),
        (0.0, True, True),
        (0.5, False, True),
    ],
)
def test_the_fewest_examples_are_the_fewest(threshold, level, below, is_difference):
    fewest = fewest_examples(threshold, level, below=below, is_difference=is_difference)

    def best(n):
        if not is_difference:
            return Sample(n=n, right=0 if below else n)
        lead = n if (-threshold if below else threshold) >= 0 else 0
        return pairs(n, 0, lead) if below else pairs(n, lead, 0)

    options = {"level": level, "below": below, "is_difference": is_difference}
    good = {Outcome.BETTER, Outcome.NOT_WORSE}
    assert outcome(best(fewest), threshold, **options) in good
    assert fewest == 1 or outcome(best(fewest - 1), threshold, **options) not in good


@pytest.mark.parametrize(
    ("threshold", "is_difference", "expected"),
    [
        (0.9, False, 35),
        (-0.01, True, 381),
        (-0.05, True, 73),
        (0.0, True, 6),
        (1.0, False, None),
        (0.0, False, 1),
        (1.0, True, None),
        (-1.0, True, 1),
    ],
)
def test_the_fewest_examples_by_hand(threshold, is_difference, expected):
    assert fewest_examples(threshold, 0.95, is_difference=is_difference) == expected


def test_the_mirror_of_probabilities_that_the_tests_assume():
    assert len(normal(9, 0, 1).quantiles) == len(PROBABILITIES)
