"""Versions of scoring: validity of recorded scores, and effect of a newer version. Pure.

A correction that changes the score of an equal answer raises the version. Recorded scores hold
under their own version, so an upgrade measures nothing; new evaluations use the newest version.

Version 2 scores answers without thinking and channels, and compares tool calls as calls.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from backends.contract.inspector import Json
from controller.lockfile.model import Entry, Evaluation, Lockfile
from controller.plan.desired import Desired
from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint

FIRST: Final = 1
NEWEST: Final = 2
_KEY: Final = "version"
_SHOWN: Final = 10
"""Maximum number of fine-tunes that one note names."""


def newest_inputs(inputs: Mapping[str, Json]) -> dict[str, Json]:
    """Return the inputs of an evaluation under the newest version."""
    return {**inputs, _KEY: NEWEST}


def version_of(evaluation: Evaluation) -> int:
    """Return the version that gave recorded scores."""
    version = evaluation.inputs.get(_KEY, FIRST)
    return version if isinstance(version, int) else FIRST


def without_version(inputs: Mapping[str, Json]) -> dict[str, Json]:
    """Return the inputs of an evaluation that the spec determines."""
    return {key: value for key, value in inputs.items() if key != _KEY}


def holds(evaluation: Evaluation, desired: Desired) -> bool:
    """Return True if recorded scores match the spec's evaluation, under their own version."""
    if evaluation.fingerprint == desired.evaluation_fingerprint:
        return True
    asked = without_version(evaluation.inputs)
    return fingerprint(EVALUATION_SCHEME, asked) == desired.evaluation_fingerprint


def is_comparable(evaluation: Evaluation, desired: Desired) -> bool:
    """Return True if recorded scores are comparable with scores of the newest version."""
    return version_of(evaluation) == NEWEST or not desired.rescore_reason


def notes(desired: Mapping[str, Desired], recorded: Lockfile) -> Iterator[str]:
    """Yield a line for each reason why a newer version may change recorded scores."""
    found: dict[tuple[int, str], list[str]] = {}
    for name, one in desired.items():
        evaluation = _shown_evaluation(recorded.finetunes.get(name, Entry()))
        if evaluation is None or is_comparable(evaluation, one) or not holds(evaluation, one):
            continue
        found.setdefault((version_of(evaluation), one.rescore_reason), []).append(name)
    for (version, why), names in found.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield (
            f"{', '.join(names[:_SHOWN])}{more}: scores of version {version} stand; version "
            f"{NEWEST} may change them: {why}. "
            f"To measure again: ftctl evaluate {names[0] if len(names) == 1 else 'NAME'}"
        )


def _shown_evaluation(entry: Entry) -> Evaluation | None:
    build = entry.builds.get(entry.candidate or entry.production or "")
    return build.evaluation if build is not None else None
