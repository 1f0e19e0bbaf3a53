"""Intervals of recorded scores, by the samples that the lockfile keeps beside them. Pure."""

from collections.abc import Mapping
from typing import Final

from controller.evaluate.statistics.samples import Sample, few_groups_warning
from controller.report.model import Interval

LEVEL: Final = 0.95
"""Level of all intervals of a report."""


def interval_of(sample: Sample | None) -> Interval | None:
    """Return the interval of a score; None without a sample, or if the sample gives none."""
    if sample is None:
        return None
    low, high = sample.interval(LEVEL)
    return None if low is None and high is None else Interval(low=low, high=high, level=LEVEL)


def note_of(sample: Sample | None) -> str:
    """Return why a score has no interval, or a warning about its groups; empty without either."""
    if sample is None:
        return ""
    return sample.reason or few_groups_warning(sample) or ""


def sample_at(samples: Mapping[str, Mapping[str, Sample]], role: str, score: str) -> Sample | None:
    """Return the sample of one score; None if none was recorded."""
    return samples.get(role, {}).get(score)
