"""Samples of everything that one evaluation measured.

The door to numpy, which resampling needs: only an evaluation loads it.
"""

from collections.abc import Iterable, Mapping, Sequence
from unicodedata import normalize

from controller.data.extras import import_extra
from controller.evaluate.gate import CANDIDATE, split_score
from controller.evaluate.measure import Measured, slice_tallies
from controller.evaluate.statistics.samples import Sample
from controller.spec.metrics import ChosenMetric

Samples = dict[str, dict[str, Sample]]
"""By role, then by the name of a score."""


def samples_of(
    measured: Measured, names: Iterable[str], seed: str, group_by: str | None
) -> tuple[Samples, Samples]:
    """Return the samples of all scores, and of the candidate's differences to other models.

    Args:
        measured: What was measured.
        names: Names of scores: metrics and slices.
        seed: Fingerprint of the evaluation, which seeds resampling.
        group_by: Column whose equal values are one group; None if examples are independent. An
            example without a value is a group of its own.

    Raises:
        DataError: numpy is not installed.
    """
    estimate = import_extra(
        "controller.evaluate.statistics.estimate", extra="evaluate", what="intervals of scores"
    )
    groups = None if group_by is None else _groups(measured.columns, group_by)
    metrics: Mapping[str, ChosenMetric] = {one.name: one for one in measured.metrics}
    samples: Samples = {role: {} for role in measured.tallies}
    differences: Samples = {role: {} for role in measured.tallies if role != CANDIDATE}
    for name in names:
        chosen = metrics.get(split_score(name)[0])
        if chosen is None:
            continue
        tallies = {
            role: slice_tallies(name, found, measured.columns)
            for role, found in measured.tallies.items()
        }
        for role, found in tallies.items():
            if name in measured.scores[role]:
                samples[role][name] = estimate.sample_of(
                    found, chosen.metric, seed=seed, groups=groups
                )
            if role != CANDIDATE and name in measured.scores[CANDIDATE]:
                differences[role][name] = estimate.difference_of(
                    tallies[CANDIDATE], found, chosen.metric, seed=seed, groups=groups
                )
    return samples, differences


def _groups(columns: Sequence[Mapping[str, str]], group_by: str) -> list[str | int]:
    name = normalize("NFC", group_by)
    return [row.get(name, place) for place, row in enumerate(columns)]
