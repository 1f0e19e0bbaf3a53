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


def pair_samples(
    measured: Measured, pairs: Iterable[tuple[str, str, str]], seed: str, group_by: str | None
) -> dict[str, Samples]:
    """Return samples of differences between two models other than the candidate.

    Args:
        measured: What was measured.
        pairs: A model, the model to subtract, and the name of a score. Pairs of which one was not
            measured are left out.
        seed: As of `samples_of`.
        group_by: As of `samples_of`.

    Returns:
        By the first model, by the second, and by score.

    Raises:
        DataError: numpy is not installed.
    """
    estimate = import_extra(
        "controller.evaluate.statistics.estimate", extra="evaluate", what="intervals of scores"
    )
    groups = None if group_by is None else _groups(measured.columns, group_by)
    metrics: Mapping[str, ChosenMetric] = {one.name: one for one in measured.metrics}
    found: dict[str, Samples] = {}
    for role, other, name in pairs:
        chosen = metrics.get(split_score(name)[0])
        if chosen is None or not all(name in measured.scores.get(one, {}) for one in (role, other)):
            continue
        ours, theirs = (
            slice_tallies(name, measured.tallies[one], measured.columns) for one in (role, other)
        )
        sample = estimate.difference_of(ours, theirs, chosen.metric, seed=seed, groups=groups)
        found.setdefault(role, {}).setdefault(other, {})[name] = sample
    return found


def _groups(columns: Sequence[Mapping[str, str]], group_by: str) -> list[str | int]:
    name = normalize("NFC", group_by)
    return [row.get(name, place) for place, row in enumerate(columns)]
