"""How often 95 % intervals cover the true value, by simulation.

Each row draws many held-out sets from a known distribution, makes a sample of each, and counts the
intervals that cover the truth. "left" and "right" are the shares of intervals that lie wholly below
and above it: 2.5 % each is ideal. "none" is the share of sets that give no interval, which the other
columns leave out. With 400 sets, a share near 95 % has a standard error of 1.1 points.

    python tests/benchmarks/interval_coverage.py [--sets N] [--rounds N] [--only TEXT]
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from controller.evaluate.metric import mean
from controller.evaluate.statistics.estimate import difference_of, sample_of
from controller.evaluate.statistics.samples import Sample

LABELS = 4


def scoring(*, combine=mean, percentile=None, is_proportion=False):
    """Return what a metric says about its tallies."""
    return SimpleNamespace(combine=combine, percentile=percentile, is_proportion=is_proportion)


def macro_f1(sums):
    """Return the mean F1 of labels whose sums are (right, wrongly given, missed)."""
    scores = [
        2 * right / (2 * right + extra + missed)
        for right, extra, missed in zip(sums[::3], sums[1::3], sums[2::3], strict=True)
        if right + extra + missed
    ]
    return sum(scores) / len(scores) if scores else None


def f1_tallies(expected, given, labels=LABELS):
    """Return tallies for `macro_f1`."""
    tallies = np.zeros((len(expected), 3 * labels))
    rows = np.arange(len(expected))
    right = expected == given
    tallies[rows[right], expected[right] * 3] = 1
    tallies[rows[~right], given[~right] * 3 + 1] = 1
    tallies[rows[~right], expected[~right] * 3 + 2] = 1
    return tallies.tolist()


PROPORTION = scoring(is_proportion=True)
MEAN = scoring()
F1 = scoring(combine=macro_f1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A distribution of held-out sets."""

    name: str
    sizes: Sequence[int]
    """Numbers of examples; of groups if the examples are grouped."""
    draw: Callable[[Any, int, int], tuple[Sample, float]]
    """Draw a set and return its sample and the true value: generator, size, rounds."""


def _ones(values):
    return [(float(value), 1.0) for value in values]


def _proportion(share):
    def draw(rng, n, rounds):
        return sample_of(_ones(rng.random(n) < share), PROPORTION, seed="s", rounds=rounds), share

    return draw


def _pairs(both, candidate, rival):
    def draw(rng, n, rounds):
        kind = rng.choice(4, size=n, p=[both, candidate, rival, 1 - both - candidate - rival])
        sample = difference_of(
            _ones((kind == 0) | (kind == 1)),
            _ones((kind == 0) | (kind == 2)),
            PROPORTION,
            seed="s",
            rounds=rounds,
        )
        return sample, candidate - rival

    return draw


def _numbers(values, truth):
    def draw(rng, n, rounds):
        return sample_of(_ones(values(rng, n)), MEAN, seed="s", rounds=rounds), truth

    return draw


def _differences(first, second, truth):
    def draw(rng, n, rounds):
        shared = rng.normal(size=n)
        one, other = _ones(first(rng, n, shared)), _ones(second(rng, n, shared))
        return difference_of(one, other, MEAN, seed="s", rounds=rounds), truth

    return draw


def _mostly_equal(share):
    def second(rng, n, shared):
        return shared + (rng.random(n) < share) * rng.normal(-0.3, 1, size=n)

    return _differences(lambda _rng, _n, shared: shared, second, 0.3 * share)


_WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])


def _given(rng, expected, share):
    wrong = rng.choice(LABELS, size=len(expected), p=_WEIGHTS)
    return np.where(rng.random(len(expected)) < share, expected, wrong)


def _true_f1(share):
    """Return the macro F1 of endlessly many answers: right by knowledge or by chance."""
    right = _WEIGHTS * (share + (1 - share) * _WEIGHTS)
    return float((right / _WEIGHTS).mean())


def _f1(share):
    def draw(rng, n, rounds):
        expected = rng.choice(LABELS, size=n, p=_WEIGHTS)
        tallies = f1_tallies(expected, _given(rng, expected, share))
        return sample_of(tallies, F1, seed="s", rounds=rounds), _true_f1(share)

    return draw


def _f1_difference(share, other):
    def draw(rng, n, rounds):
        expected = rng.choice(LABELS, size=n, p=_WEIGHTS)
        ours, theirs = (f1_tallies(expected, _given(rng, expected, one)) for one in (share, other))
        sample = difference_of(ours, theirs, F1, seed="s", rounds=rounds)
        return sample, _true_f1(share) - _true_f1(other)

    return draw


def group_numbers(rng, m, *, equal=False):
    """Return the group of each example; about nine examples a group, of unequal numbers."""
    sizes = np.full(m, 10) if equal else 1 + rng.poisson(rng.gamma(1, 8, size=m))
    return np.repeat(np.arange(m), sizes)


def _grouped_proportion(share, correlation, *, equal=False):
    def draw(rng, m, rounds):
        groups = group_numbers(rng, m, equal=equal)
        scale = (1 - correlation) / correlation
        ability = rng.beta(share * scale, (1 - share) * scale, size=m)
        right = rng.random(len(groups)) < ability[groups]
        sample = sample_of(
            _ones(right), PROPORTION, seed="s", groups=groups.tolist(), rounds=rounds
        )
        return sample, share

    return draw


def _grouped_pairs(rng, m, rounds):
    groups = group_numbers(rng, m)
    lead = rng.choice([-0.1, 0.05, 0.2], size=m)[groups]
    kind = rng.random(len(groups))
    candidate = kind < 0.15 + lead / 2
    rival = (kind > 0.5) & (kind < 0.65 - lead / 2)
    both = kind > 0.8
    sample = difference_of(
        _ones(candidate | both),
        _ones(rival | both),
        PROPORTION,
        seed="s",
        groups=groups.tolist(),
        rounds=rounds,
    )
    return sample, 0.05


def _grouped_numbers(rng, m, rounds):
    groups = group_numbers(rng, m)
    values = rng.exponential(size=m)[groups] + rng.normal(size=len(groups))
    sample = sample_of(_ones(values), MEAN, seed="s", groups=groups.tolist(), rounds=rounds)
    return sample, 1.0


def _grouped_f1(rng, m, rounds):
    groups = group_numbers(rng, m)
    expected = rng.choice(LABELS, size=len(groups), p=_WEIGHTS)
    share = rng.choice([0.5, 0.9], size=m)
    given = np.empty_like(expected)
    for one in (0.5, 0.9):
        mine = share[groups] == one
        given[mine] = _given(rng, expected[mine], one)
    tallies = f1_tallies(expected, given)
    sample = sample_of(tallies, F1, seed="s", groups=groups.tolist(), rounds=rounds)
    return sample, _true_f1(0.7)


def _percentile(percent):
    def draw(rng, n, rounds):
        values = _ones(rng.lognormal(0, 0.5, size=n))
        sample = sample_of(values, scoring(percentile=percent), seed="s", rounds=rounds)
        return sample, _lognormal_at(percent)

    return draw


def _lognormal_at(percent):
    return math.exp(0.5 * {50: 0.0, 95: 1.6448536}[percent])


def _percentile_difference(percent):
    def draw(rng, n, rounds):
        load = rng.normal(size=n)
        ours = np.exp(0.5 * (0.8 * load + 0.6 * rng.normal(size=n)))
        theirs = np.exp(0.5 * (0.8 * load + 0.6 * rng.normal(size=n))) * 1.1
        sample = difference_of(
            _ones(ours), _ones(theirs), scoring(percentile=percent), seed="s", rounds=rounds
        )
        return sample, -0.1 * _lognormal_at(percent)

    return draw


EXAMPLES = (20, 50, 100, 500)
GROUPS = (10, 20, 50)
SCENARIOS = (
    *(
        Scenario(name=f"proportion {share}", sizes=EXAMPLES, draw=_proportion(share))
        for share in (0.5, 0.8, 0.95)
    ),
    Scenario(name="pairs 0.6 0.2 0.1", sizes=EXAMPLES, draw=_pairs(0.6, 0.2, 0.1)),
    Scenario(name="pairs 0.8 0.1 0.05", sizes=EXAMPLES, draw=_pairs(0.8, 0.1, 0.05)),
    Scenario(name="pairs equal 0.1 0.1", sizes=EXAMPLES, draw=_pairs(0.7, 0.1, 0.1)),
    Scenario(name="normal", sizes=EXAMPLES, draw=_numbers(lambda rng, n: rng.normal(size=n), 0.0)),
    Scenario(
        name="scores near 1 (beta)",
        sizes=EXAMPLES,
        draw=_numbers(lambda rng, n: rng.beta(5, 1.2, size=n), 5 / 6.2),
    ),
    Scenario(
        name="skewed (exponential)",
        sizes=EXAMPLES,
        draw=_numbers(lambda rng, n: rng.exponential(size=n), 1.0),
    ),
    Scenario(
        name="very skewed (lognormal)",
        sizes=EXAMPLES,
        draw=_numbers(lambda rng, n: rng.lognormal(size=n), math.exp(0.5)),
    ),
    Scenario(
        name="paired numbers",
        sizes=EXAMPLES,
        draw=_differences(
            lambda rng, n, shared: shared + rng.normal(0.2, 1, size=n),
            lambda rng, n, shared: shared + rng.normal(0, 1, size=n),
            0.2,
        ),
    ),
    Scenario(name="pairs half equal", sizes=EXAMPLES, draw=_mostly_equal(0.5)),
    Scenario(name="pairs mostly equal", sizes=EXAMPLES, draw=_mostly_equal(0.2)),
    Scenario(name="macro F1", sizes=EXAMPLES, draw=_f1(0.7)),
    Scenario(name="macro F1 difference", sizes=EXAMPLES, draw=_f1_difference(0.75, 0.65)),
    Scenario(name="median", sizes=EXAMPLES, draw=_percentile(50)),
    Scenario(name="95th percentile", sizes=EXAMPLES, draw=_percentile(95)),
    Scenario(name="median difference", sizes=EXAMPLES, draw=_percentile_difference(50)),
    Scenario(name="95th percentile difference", sizes=EXAMPLES, draw=_percentile_difference(95)),
    Scenario(
        name="groups: equal sizes", sizes=GROUPS, draw=_grouped_proportion(0.8, 0.3, equal=True)
    ),
    Scenario(name="groups: proportion", sizes=GROUPS, draw=_grouped_proportion(0.8, 0.3)),
    Scenario(name="groups: near 1", sizes=GROUPS, draw=_grouped_proportion(0.95, 0.2)),
    Scenario(name="groups: pairs", sizes=GROUPS, draw=_grouped_pairs),
    Scenario(name="groups: skewed", sizes=GROUPS, draw=_grouped_numbers),
    Scenario(name="groups: macro F1", sizes=GROUPS, draw=_grouped_f1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Shares of simulated sets whose intervals cover, or miss on one side."""

    covered: float
    left: float
    right: float
    none: float


def simulate(scenario, size, *, sets, rounds, seed=1, level=0.95):
    """Return the coverage of one scenario at one size."""
    rng = np.random.default_rng([seed, size])
    left = right = none = 0
    for _ in range(sets):
        sample, truth = scenario.draw(rng, size, rounds)
        low, high = sample.interval(level)
        none += low is None and high is None
        left += high is not None and high < truth
        right += low is not None and low > truth
    there = max(1, sets - none)
    return Coverage(
        covered=1 - (left + right) / there,
        left=left / there,
        right=right / there,
        none=none / sets,
    )


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description="Coverage of 95 % intervals, by simulation.")
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=600)
    parser.add_argument("--only", default="", help="scenarios whose name holds this text")
    options = parser.parse_args()
    print(f"{'scenario':28}{'n':>5}{'covered':>10}{'left':>8}{'right':>8}{'none':>8}")
    for scenario in SCENARIOS:
        if options.only not in scenario.name:
            continue
        for size in scenario.sizes:
            found = simulate(scenario, size, sets=options.sets, rounds=options.rounds)
            print(
                f"{scenario.name:28}{size:>5}{found.covered:>10.1%}{found.left:>8.1%}"
                f"{found.right:>8.1%}{found.none:>8.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
