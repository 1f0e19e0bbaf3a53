"""Intervals of recorded scores, by the samples that the lockfile keeps beside them. Pure."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from controller.evaluate.statistics.samples import Sample
from controller.lockfile.model import Evaluation
from controller.report.model import Interval

LEVEL: Final = 0.95
Samples: TypeAlias = Mapping[str, Mapping[str, Sample]]
"""By role, then by the name of a score."""
_KEYS: Final = ("n", "groups", "right", "pairs", "quantiles", "reason")


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


def _samples(value: Any) -> Samples:
    return {
        role: {name: _sample(one) for name, one in by_score.items()}
        for role, by_score in (value or {}).items()
    }


def _sample(value: Mapping[str, Any]) -> Sample:
    known = {key: value[key] for key in _KEYS if value.get(key) is not None}
    return Sample(
        **{key: tuple(one) if isinstance(one, list) else one for key, one in known.items()}
    )
