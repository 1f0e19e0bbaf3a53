"""A short form of `tests/benchmarks/interval_coverage.py`, with fixed seeds."""

from dataclasses import replace

import pytest

from controller.evaluate.statistics.samples import Sample
from tests.benchmarks.interval_coverage import SCENARIOS, group_numbers, simulate

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize(
    ("name", "size", "sets"),
    [
        ("proportion 0.8", 20, 1_000),
        ("pairs 0.6 0.2 0.1", 50, 1_000),
        ("normal", 20, 1_000),
        ("scores near 1 (beta)", 50, 1_000),
        ("skewed (exponential)", 50, 1_000),
        ("pairs half equal", 50, 1_000),
        ("macro F1", 50, 400),
        ("groups: proportion", 20, 1_000),
        ("groups: pairs", 50, 500),
    ],
)
def test_95_percent_intervals_cover_93_to_97_percent(name, size, sets):
    found = simulate(BY_NAME[name], size, sets=sets, rounds=300, seed=1)

    assert 0.93 <= found.covered <= 0.97
    assert found.none == 0


def test_ignoring_groups_would_be_found():
    grouped = BY_NAME["groups: proportion"]

    def forgetful(rng, size, _rounds):
        groups = group_numbers(rng, size)
        ability = rng.beta(0.8 * 7 / 3, 0.2 * 7 / 3, size=size)
        right = rng.random(len(groups)) < ability[groups]
        return Sample(n=len(right), right=int(right.sum())), 0.8

    found = simulate(replace(grouped, draw=forgetful), 20, sets=300, rounds=0)

    assert found.covered < 0.7
