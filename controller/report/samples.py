"""Intervals of recorded scores, by the samples that the lockfile keeps beside them. Pure."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from controller.evaluate.statistics.samples import Sample
from controller.lockfile.model import Evaluation
from controller.report.model import Interval

LEVEL: Final = 0.95
Samples: TypeAlias = Mapping[str, Mapping[str, Sample]]
"""By role, then by the name of a score."""


def recorded_samples(evaluation: Evaluation) -> tuple[Samples, Samples]:
    """Return the samples of scores and of differences; empty for evaluations without any."""
    value = evaluation.model_dump()
    return _samples(value.get("samples")), _samples(value.get("differences"))


def interval_of(samples: Samples, role: str, score: str) -> Interval | None:
    """Return the interval of one score; None if its sample gives none."""
    sample = samples.get(role, {}).get(score)
    if sample is None:
        return None
    low, high = sample.interval(LEVEL)
    return None if low is None and high is None else Interval(low=low, high=high, level=LEVEL)


def _samples(value: Mapping[str, Mapping[str, Any]] | None) -> Samples:
    return {
        role: {name: _sample(one) for name, one in by_score.items()}
        for role, by_score in (value or {}).items()
    }


def _sample(value: Mapping[str, Any]) -> Sample:
    pairs, quantiles = value.get("pairs"), value.get("quantiles")
    return Sample(
        n=value["n"],
        groups=value.get("groups"),
        right=value.get("right"),
        pairs=tuple(pairs) if pairs is not None else None,
        quantiles=tuple(quantiles) if quantiles is not None else None,
        reason=value.get("reason"),
    )
