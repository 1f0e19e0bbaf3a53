"""The edits that move a spec to another home. Pure: from values to edits and values."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from controller.move.translate import Carried
from controller.move.yaml_edit import (
    Edit,
    add_key,
    append_item,
    remove_key,
    rename_key,
    set_value,
)
from controller.spec.asked import DEFAULT_ENDPOINT, AskedModel
from controller.spec.evaluation import BASE, PRODUCTION, Rival
from controller.spec.model import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """New home of a fine-tune."""

    backend: str
    endpoint: str | None
    base_model: str | None
    """None to keep the base model."""
    tracking: frozenset[str] = frozenset()
    """Trackers to which the new home reports."""
    gpu_hours: bool = False
    """True if the new home stops a job at `budget.max_gpu_hours`."""
    hardware: bool = False
    """True if the new home uses the hardware that `hardware` asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A key that has no meaning at the new home."""

    key: str
    why: str


@dataclass(slots=True)
class SpecEdits:
    """Edits of one spec, with the value that the file has after them."""

    value: dict[str, Any]
    edits: list[Edit] = field(default_factory=list)
    removed: list[Removed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Further changes, for people."""

    def copy(self) -> "SpecEdits":
        """Return the same edits, to which others can be added."""
        return SpecEdits(deepcopy(self.value), [*self.edits], [*self.removed], [*self.notes])


def edits_of(
    value: Mapping[str, Any], spec: Spec, target: Target, carried: Sequence[Carried]
) -> SpecEdits:
    """Return the edits for a new home, without those of the gate and the aliases.

    Args:
        value: The parsed file.
        spec: The spec that it is.
        target: The new home.
        carried: What becomes of the hyperparameters.
    """
    made = SpecEdits(deepcopy(dict(value)))
    _pin_asked_models(made, spec)
    _set(made, "backend", target.backend)
    _set_endpoint(made, target.endpoint)
    if target.base_model is not None and target.base_model != spec.base_model:
        _set(made, "base_model", target.base_model)
        if made.value.get("revision") is not None:
            _remove(made, "revision", "a commit of another base model")
    elif "revision" in made.value and target.backend != spec.backend:
        _remove(made, "revision", f"{target.backend} may have another one")
    _carry(made, carried)
    for service in sorted(spec.tracking.model_dump(exclude_none=True).keys() - target.tracking):
        why = f"{target.backend} reports no metrics to {service}; see `ftctl help tracking`"
        _remove_below(made, "tracking", service, why)
    if spec.budget.max_gpu_hours is not None and not target.gpu_hours:
        _remove_below(made, "budget", "max_gpu_hours", f"{target.backend} counts no GPU hours")
    if not target.hardware:
        for key in spec.hardware.model_dump(exclude_defaults=True):
            why = f"{target.backend} decides itself on what it trains"
            _remove_below(made, "hardware", key, why)
    return made


def keep_name(made: SpecEdits, model_id: str) -> None:
    """Add the model that callers use to the aliases, if it is not among them."""
    aliases = made.value.get("aliases")
    if aliases is None:
        made.value["aliases"] = [model_id]
        made.edits.append(add_key("aliases", value=[model_id], after="base_model"))
    elif model_id not in aliases:
        made.value["aliases"] = [*aliases, model_id]
        made.edits.append(append_item("aliases", value=model_id))
    else:
        return
    made.notes.append(f"aliases: {model_id} keeps answering, now with the build in production")


def write_gate(made: SpecEdits, conditions: Sequence[str]) -> None:
    """Write a gate that compares with production, and production into the comparison."""
    evaluation = made.value.get("evaluation") or {}
    compared = evaluation.get("compare_to")
    if compared is None:
        wanted: list[Any] = [BASE, PRODUCTION]
        made.edits.append(add_key("evaluation", "compare_to", value=wanted))
    elif PRODUCTION not in compared:
        wanted = [*compared, PRODUCTION]
        made.edits.append(append_item("evaluation", "compare_to", value=PRODUCTION))
    else:
        wanted = compared
    made.value["evaluation"] = {**evaluation, "compare_to": wanted}
    made.value["gate"] = [*conditions]
    made.edits.append(add_key("gate", value=[*conditions], after="evaluation"))
    made.notes.append(f"gate: {'; '.join(conditions)}")


def _set(made: SpecEdits, key: str, value: str) -> None:
    if made.value.get(key) != value:
        made.value[key] = value
        made.edits.append(set_value(key, value=value))


def _set_endpoint(made: SpecEdits, endpoint: str | None) -> None:
    if endpoint in {None, DEFAULT_ENDPOINT}:
        if "endpoint" in made.value:
            del made.value["endpoint"]
            made.edits.append(remove_key("endpoint"))
    elif "endpoint" in made.value:
        _set(made, "endpoint", str(endpoint))
    else:
        made.value["endpoint"] = endpoint
        made.edits.append(add_key("endpoint", value=endpoint, after="backend"))


def _carry(made: SpecEdits, carried: Sequence[Carried]) -> None:
    settings: dict[str, Any] = {}
    for one in carried:
        settings |= one.becomes
        if one.is_kept:
            continue
        if not one.becomes:
            made.edits.append(remove_key("hyperparameters", one.key))
            made.removed.append(Removed(key=f"hyperparameters.{one.key}", why=one.why))
            continue
        (first, value), *others = one.becomes.items()
        if first != one.key:
            made.edits.append(rename_key("hyperparameters", one.key, to=first))
        if value != one.value:
            made.edits.append(set_value("hyperparameters", first, value=value))
        for key, other in others:
            made.edits.append(add_key("hyperparameters", key, value=other, after=first))
    if carried:
        made.value["hyperparameters"] = settings


def _remove(made: SpecEdits, key: str, why: str) -> None:
    del made.value[key]
    made.edits.append(remove_key(key))
    made.removed.append(Removed(key=key, why=why))


def _remove_below(made: SpecEdits, section: str, key: str, why: str) -> None:
    if len(made.value[section]) == 1:
        del made.value[section]
        made.edits.append(remove_key(section))
    else:
        del made.value[section][key]
        made.edits.append(remove_key(section, key))
    made.removed.append(Removed(key=f"{section}.{key}", why=why))


def _pin_asked_models(made: SpecEdits, spec: Spec) -> None:
    """Write the place of models that were asked at the spec's own place, which is another now."""
    evaluation = spec.evaluation
    for index, rival in enumerate(evaluation.compare_to):
        if isinstance(rival, Rival) and rival.model is not None:
            _pin(made, rival, spec, ("evaluation", "compare_to", index), rival.name)
    for index, chosen in enumerate(evaluation.metrics):
        judge = evaluation.judges.get(chosen.name)
        if judge is not None:
            within = ("evaluation", "metrics", index, chosen.metric.name)
            _pin(made, judge, spec, within, chosen.name)


def _pin(
    made: SpecEdits, asked: AskedModel, spec: Spec, path: tuple[str | int, ...], name: str
) -> None:
    if asked.backend is not None or asked.endpoint is not None:
        return
    below: Any = made.value
    for key in path:
        below = below[key]
    place = {"backend": spec.backend}
    if spec.endpoint not in {None, DEFAULT_ENDPOINT}:
        place["endpoint"] = str(spec.endpoint)
    for key, value in place.items():
        below[key] = value
        made.edits.append(add_key(*path, key, value=value))
    made.notes.append(f"{name} is still asked at {spec.place}")
