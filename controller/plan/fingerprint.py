"""Identity: the digest of everything that decides a result, and of nothing else. Pure.

Two fingerprints per fine-tune. The first decides training, the second evaluation; gates are judged
from recorded scores and need none. The scheme's tag stands in front, and the canonical inputs are
stored with every build, so that a later scheme can be computed from what was stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from backends.contract.inspector import Json
from backends.contract.jobs import MEASURING, NEUTRAL
from controller.canonical import digest
from controller.evaluate.gate import parse_condition, slices_of
from controller.evaluate.retain.suites import SUITES
from controller.spec.evaluation import Rival
from controller.spec.model import Spec
from controller.spec.retain import RetainForm, sources_of, suites_of

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
    adapter: str | None = None,
    held_out_digest: str | None = None,
) -> dict[str, Json]:
    """Return the inputs that decide a trained model.

    Args:
        spec: The spec.
        base_model: Identity of the base model, as the backend found it.
        hyperparameters: Complete, defaults written out.
        train_digest: Digest of the training examples' canonical bytes; these hold the system
            prompt too.
        adapter: Identity of the model whose adapter is trained on; None for a new adapter.
        held_out_digest: The same of the held-out examples, where they decide which weights are
            kept.

    Returns:
        For a spec that trains nothing: the base model, its prompt, and the training examples if it
        shows some of them.
    """
    if not spec.trains:
        # Without examples before its questions, the base model sees nothing of the data.
        shown: dict[str, Json] = {"data": train_digest} if spec.prompt.few_shot else {}
        prompt = spec.prompt.model_dump(mode="json", exclude_defaults=True)
        return {
            "backend": spec.place,
            "base_model": base_model,
            "method": spec.method,
            "prompt": prompt,
            **shown,
        }
    started: dict[str, Json] = {} if adapter is None else {"adapter": adapter}
    deciding: dict[str, Json] = {} if held_out_digest is None else {"held_out": held_out_digest}
    return decisive(
        {
            **started,
            "backend": spec.place,
            "base_model": base_model,
            "data": train_digest,
            "hyperparameters": {
                name: value for name, value in hyperparameters.items() if name not in NEUTRAL
            },
            "method": spec.method,
            "seed": spec.seed,
            **deciding,
        }
    )


def decisive(inputs: Mapping[str, Json]) -> dict[str, Json]:
    """Return the inputs of a training without settings that decide nothing.

    Builds recorded by older versions have these settings in their inputs.
    """
    settings = inputs.get("hyperparameters")
    if "held_out" in inputs or not isinstance(settings, Mapping):
        return dict(inputs)
    left: dict[str, Json] = {key: one for key, one in settings.items() if key not in MEASURING}
    return {**inputs, "hyperparameters": left}


def evaluation_inputs(
    spec: Spec,
    *,
    held_out_digest: str,
    train_digest: str,
    column_digests: Mapping[str, str] | None = None,
    retain_digests: Mapping[str, str] = MappingProxyType({}),
    sheet_digests: Mapping[str, str] | None = None,
) -> dict[str, Json]:
    """Return the inputs that decide a build's scores, besides the build itself.

    Settings with their default values are left out, so that a new setting changes no fingerprint.

    Args:
        spec: The spec.
        held_out_digest: Digest of the held-out examples' canonical bytes.
        train_digest: The same of the training examples, some of which rivals may see.
        column_digests: Digest of the held-out examples' values in each column that the evaluation
            or the gate names: with other values, the groups and slices are others.
        retain_digests: The same of the files of `evaluation.retain`, by their names.
        sheet_digests: Digest of people's scores by the metric that measures them.
    """
    asked = spec.evaluation
    rivals = [one for one in asked.compare_to if isinstance(one, Rival)]
    names = {one for one in asked.compare_to if not isinstance(one, Rival)}
    given = [one.model_dump(mode="json", exclude_defaults=True) for one in rivals]
    optional: dict[str, Json] = {
        "columns": dict(column_digests or {}),
        "few_shot": train_digest if any(one.few_shot for one in asked.rivals.values()) else "",
        "gate_slices": sorted(slices_of(map(parse_condition, spec.gate))),
        "group_by": asked.group_by,
        "retain": _retained(asked.retain, retain_digests),
        "sheets": dict(sheet_digests or {}),
        "slices": sorted(set(asked.slices)),
        "temperature": asked.temperature,
    }
    return {
        "compare_to": [*sorted(names), *sorted(given, key=lambda one: str(one["name"]))],
        "held_out": held_out_digest,
        "max_tokens": asked.max_tokens,
        "metrics": [metric.inputs for metric in asked.metrics],
        **{name: value for name, value in optional.items() if value},
    }


def _retained(retain: Sequence[RetainForm], digests: Mapping[str, str]) -> dict[str, Json]:
    """Return the versions of built-in suites, and the contents and metrics of files."""
    suites: dict[str, Json] = {name: SUITES[name].version for name in suites_of(retain)}
    return suites | {
        name: {"examples": digests[name], "metric": source.metric.inputs}
        for name, source in sources_of(retain).items()
    }


def fingerprint(scheme: str, inputs: Mapping[str, Json]) -> str:
    """Return `scheme:` and the digest of the inputs under that scheme."""
    return f"{scheme}:{digest({'scheme': scheme, 'inputs': inputs})}"


def short_id(value: str) -> str:
    """Return a fingerprint's first digits, for people."""
    return value.partition(":")[2][:SHORT_DIGITS]


def diff_inputs(old: Mapping[str, Json], new: Mapping[str, Json]) -> tuple[InputChange, ...]:
    """Return every input that differs and decides something, by dotted field, in order."""
    before, after = (dict(_leaves(decisive(one), "")) for one in (old, new))
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
