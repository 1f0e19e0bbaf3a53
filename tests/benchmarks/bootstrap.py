"""Resampling of scores: 10,000 rounds over 5,000 pairs, against `scipy.stats.bootstrap`.

Both give an interval of a difference of paired means. scipy runs its fastest method, the percentile
bootstrap; ours is the bootstrap-t, which estimates a standard error in each round. Both run in one
process, one after the other, and the processor's seconds of all threads count. Other scores and
judging follow.

    python tests/benchmarks/bootstrap.py [--pairs N] [--rounds N]
"""

import argparse
import time
from resource import RUSAGE_SELF, getrusage

import numpy as np
from scipy import stats

from controller.evaluate.statistics.decide import Claim, decide
from controller.evaluate.statistics.estimate import difference_of, sample_of
from controller.evaluate.statistics.samples import Sample
from tests.benchmarks.interval_coverage import f1_tallies, macro_f1, scoring

LABELS = 20
BUILDS, CONDITIONS = 1_000, 6


def measured(name, work, *, scipys=None):
    """Run work, print a line, and return its seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    ratio = "" if scipys is None else f"{scipys / processor:>12.1f}x"
    print(f"{name:44}{wall:>8.2f} s{processor:>10.2f} s{ratio}", flush=True)
    return processor


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description="Speed of resampling and of judging.")
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=10_000)
    options = parser.parse_args()
    print(f"{options.rounds:,} rounds over {options.pairs:,} pairs")
    print(f"{'':44}{'elapsed':>10}{'processor':>12}{'of scipy':>13}")
    measure_resampling(options.pairs, options.rounds)
    print(f"memory at most: {getrusage(RUSAGE_SELF).ru_maxrss // 1024} MB, packages included")
    measure_judging()


def measure_resampling(pairs, rounds):
    """Print a line for scipy, and one for each kind of score."""
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(0.1, 1, pairs), rng.normal(0, 1, pairs)
    tallies = [[(float(value), 1.0) for value in one] for one in (ours, theirs)]
    expected = rng.integers(LABELS, size=pairs)
    labelled = [
        f1_tallies(
            expected,
            np.where(rng.random(pairs) < share, expected, rng.integers(LABELS)),
            LABELS,
        )
        for share in (0.8, 0.75)
    ]
    groups = (np.arange(pairs) // 10).tolist()
    how = {"seed": "s", "rounds": rounds}
    mean, f1, p95 = scoring(), scoring(combine=macro_f1), scoring(percentile=95)

    scipys = measured(
        "scipy.stats.bootstrap, difference of means",
        lambda: stats.bootstrap(
            (ours - theirs,),
            np.mean,
            n_resamples=rounds,
            method="percentile",
            batch=100,
            rng=np.random.default_rng(1),
        ),
    )
    measured("difference of means", lambda: difference_of(*tallies, mean, **how), scipys=scipys)
    measured(
        "difference of means, groups of 10",
        lambda: difference_of(*tallies, mean, groups=groups, **how),
        scipys=scipys,
    )
    measured(f"macro F1 over {LABELS} labels", lambda: sample_of(labelled[0], f1, **how))
    measured(
        f"difference of macro F1 over {LABELS} labels", lambda: difference_of(*labelled, f1, **how)
    )
    measured("95th percentile", lambda: sample_of(tallies[0], p95, **how))
    measured("difference of 95th percentiles", lambda: difference_of(*tallies, p95, **how))


def measure_judging():
    """Print a line for the conditions of many builds."""
    claims = [
        Claim(
            sample=Sample(n=5_000, pairs=(4_000, 300 + at, 200, 500 - at)),
            threshold=-0.001 * at,
            level=0.95,
            is_difference=True,
        )
        for at in range(CONDITIONS)
    ]
    measured(
        f"{BUILDS:,} x {CONDITIONS} conditions judged",
        lambda: [decide(claims) for _ in range(BUILDS)],
    )


if __name__ == "__main__":
    main()
