"""Identity: the digest of everything that decides a result, and of nothing else. Pure.

Two fingerprints per fine-tune. The first decides training, the second evaluation; gates are judged
from recorded scores and need none. The scheme's tag stands in front, and the canonical inputs are
stored with every build, so that a later scheme can be computed from what was stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backends.contract.inspector import Json
from controller.canonical import digest
from controller.spec.model import Spec

TRAINING_SCHEME = "ft1"
EVALUATION_SCHEME = "ev1"
SHORT_DIGITS = 12
"""Hex digits of a fingerprint that people see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChange:
    """One input that differs between two builds."""

    field: str
    """Dotted: `hyperparameters.learning_rate`."""
    old: Json
    new: Json


def training_inputs(
    spec: Spec,
    *,
    base_model: str,
    hyperparameters: Mapping[str, Json],
    train_digest: str,
) -> dict[str, Json]:
    """Return the inputs that decide a trained model.

    Args:
        spec: The spec.
        base_model: Identity of the base model, as the backend found it.
        hyperparameters: Complete, defaults written out.
        train_digest: Digest of the training examples' canonical bytes; these hold the system
            prompt too.
    """
    return {
        "backend": spec.place,
        "base_model": base_model,
        "data": train_digest,
        "hyperparameters": dict(hyperparameters),
        "method": spec.method,
        "seed": spec.seed,
    }


def evaluation_inputs(
    spec: Spec, *, held_out_digest: str, column_digests: Mapping[str, str] | None = None
) -> dict[str, Json]:
    """Return the inputs that decide a build's scores, besides the build itself.

    Args:
        spec: The spec.
        held_out_digest: Digest of the held-out examples' canonical bytes.
        column_digests: Digest of the held-out examples' values in each column that the evaluation
            or the gate names: with other values, the groups and slices are others.
    """
    settings = spec.evaluation
    of_columns: dict[str, Json] = {
        "columns": dict(column_digests or {}),
        "group_by": settings.group_by,
        "slices": sorted(set(settings.slices)),
    }
    return {
        "compare_to": sorted(set(settings.compare_to)),
        "held_out": held_out_digest,
        "max_tokens": settings.max_tokens,
        "metrics": [metric.inputs for metric in settings.metrics],
        # Left out where a spec names no column, so that its fingerprint stays as recorded.
        **{name: value for name, value in of_columns.items() if value},
    }


def fingerprint(scheme: str, inputs: Mapping[str, Json]) -> str:
    """Return `scheme:` and the digest of the inputs under that scheme."""
    return f"{scheme}:{digest({'scheme': scheme, 'inputs': inputs})}"


def short_id(value: str) -> str:
    """Return a fingerprint's first digits, for people."""
    return value.partition(":")[2][:SHORT_DIGITS]


def diff_inputs(old: Mapping[str, Json], new: Mapping[str, Json]) -> tuple[InputChange, ...]:
    """Return every input that differs, by dotted field, in order."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    fields = sorted(before.keys() | after.keys())
    return tuple(
        InputChange(field=field, old=before.get(field), new=after.get(field))
        for field in fields
        if before.get(field) != after.get(field)
    )


def _leaves(value: Mapping[str, Json], prefix: str) -> Iterator[tuple[str, Json]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
