"""Choices of layers and parameters that a base model cannot fulfil, with the nearest names."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from backends.contract.errors import FieldProblem
from backends.did_you_mean import did_you_mean
from backends.local_gpu.models.targets.selection import (
    ENDS,
    EVERY,
    HEAD,
    LAYERS,
    PARAMETERS,
    TIED,
    Candidate,
    Kind,
    Targets,
    matches,
    matches_parameter,
    select,
)
from backends.local_gpu.models.targets.stored import Stored

_WORD: Final = re.compile(r"\w+")
_SHOWN: Final = 12
"""Largest number of names in a message."""


def choice_problems(stored: Stored, settings: Mapping[str, Any]) -> list[FieldProblem]:
    """Return the reasons why what hyperparameters choose cannot be trained on a base model.

    Args:
        stored: The base model.
        settings: Complete hyperparameters of a training with an adapter.
    """
    problems = [
        *_pattern(stored, settings["target_modules"]),
        *_parameters(stored, settings.get("target_parameters") or []),
        *_excluded(stored, settings.get("exclude_modules")),
        *_numbers(stored, settings.get("layers_to_transform") or []),
        *_saved(stored, settings.get("modules_to_save") or []),
    ]
    return problems or [*_chosen(stored, settings, select(stored.known, settings))]


def _pattern(stored: Stored, wanted: object) -> Iterator[FieldProblem]:
    if not isinstance(wanted, str) or wanted == EVERY or not stored.named:
        return
    if not any(matches(one, wanted) for one in stored.known.candidates):
        yield _nothing_matches("target_modules", wanted, stored.known.of(Kind.LINEAR))


def _parameters(stored: Stored, names: Iterable[str]) -> Iterator[FieldProblem]:
    experts = stored.known.of(*PARAMETERS)
    known = sorted({_short(one) for one in experts})
    for name in names:
        if any(matches_parameter(one, [name]) for one in experts):
            continue
        if not known:
            message = f"{name}: the base model has no experts that share a parameter"
            remedy = "Remove it, and name layers in `target_modules`."
        else:
            message = f"the base model has no parameter {name!r} of experts or a router"
            remedy = _remedy(name, known)
        yield FieldProblem(field="target_parameters", message=message, remedy=remedy)


def _excluded(stored: Stored, names: object) -> Iterator[FieldProblem]:
    candidates = stored.known.candidates
    if isinstance(names, str):
        if stored.named and not any(matches(one, names) for one in candidates):
            yield _nothing_matches("exclude_modules", names, stored.known.of(Kind.LINEAR))
    elif isinstance(names, list):
        known = sorted({_last(one.owner) for one in candidates if one.kind is not Kind.OTHER})
        for name in names:
            if not any(matches(one, [name]) for one in candidates):
                message = f"the base model has no layer {name!r}, so nothing is excluded"
                yield FieldProblem(
                    field="exclude_modules", message=message, remedy=_remedy(name, known)
                )


def _numbers(stored: Stored, numbers: Iterable[int]) -> Iterator[FieldProblem]:
    found = {one.layer for one in stored.known.candidates if one.layer is not None}
    if not found:
        return
    highest = max(found)
    for number in numbers:
        if number > highest:
            yield FieldProblem(
                field="layers_to_transform",
                message=f"the base model has no layer {number}",
                remedy=f"Use numbers from 0 to {highest}.",
            )


def _saved(stored: Stored, names: Iterable[str]) -> Iterator[FieldProblem]:
    layers = [one for one in stored.known.candidates if one.kind not in PARAMETERS]
    known = sorted({_last(one.name) for one in layers} | ({HEAD} if stored.known.tied else set()))
    shared = stored.known.of(Kind.EMBEDDING) if stored.known.tied else ()
    nameless = [one for one in shared if _last(one.name) not in TIED]
    for name in names:
        meant = [one for one in layers if one.name == name or one.name.endswith(f".{name}")]
        is_head = stored.known.tied and _last(name) == HEAD
        if nameless and (is_head or set(meant) & set(nameless)):
            yield FieldProblem(
                field="modules_to_save",
                message=f"{name} cannot be trained whole: the base model uses the same weights for "
                f"its input and its output layer, and calls them {_last(nameless[0].name)}, by "
                "which peft cannot train both as one",
                remedy=f"Remove {name}.",
            )
        elif not meant and not is_head:
            yield FieldProblem(
                field="modules_to_save",
                message=f"the base model has no layer {name!r} that can be trained whole",
                remedy=_remedy(name, known),
            )


def _chosen(stored: Stored, settings: Mapping[str, Any], chosen: Targets) -> Iterator[FieldProblem]:
    if not chosen.layers and not chosen.parameters:
        if not stored.named and isinstance(settings["target_modules"], str):
            return
        yield FieldProblem(
            field="target_modules",
            message="nothing is left that gets an adapter",
            remedy="Exclude less, or name other layers: "
            f"{_list(sorted({_last(one.name) for one in stored.known.of(Kind.LINEAR)}))}.",
        )
    yield from _of_parameters(settings, chosen)
    if stored.known.tied:
        yield from _tied(chosen)
    if settings.get("quantization") is not None:
        yield from _quantised(chosen)


def _of_parameters(settings: Mapping[str, Any], chosen: Targets) -> Iterator[FieldProblem]:
    names = _list(sorted({_short(one) for one in chosen.parameters}))
    for key, what in (("use_dora", "have no lengths to learn"), ("lora_dropout", "drop nothing")):
        if chosen.parameters and settings.get(key):
            yield FieldProblem(
                field=key,
                message=f"adapters of parameters that experts share ({names}) {what}",
                remedy="Remove it, or exclude them: `exclude_modules: [experts, gate, router]`.",
            )


def _tied(chosen: Targets) -> Iterator[FieldProblem]:
    for one in chosen.layers:
        if one.kind in ENDS:
            name = _last(one.name)
            remedy = f"Write `modules_to_save: [{name}]`, which trains them whole."
            yield FieldProblem(
                field="target_modules",
                message=f"{name} cannot have an adapter: the base model uses the same weights for "
                "its input and its output layer",
                remedy=remedy if name in TIED else f"Choose layers without {name}.",
            )


def _quantised(chosen: Targets) -> Iterator[FieldProblem]:
    for one in chosen.saved:
        if one.kind is Kind.LINEAR:
            yield FieldProblem(
                field="modules_to_save",
                message=f"{_last(one.name)} is in 4 bits, which cannot be trained whole",
                remedy="Remove it, or remove `quantization`.",
            )


def _nothing_matches(field: str, pattern: str, layers: Iterable[Candidate]) -> FieldProblem:
    names = [one.name for one in layers]
    words = _WORD.findall(pattern) or [pattern]
    near = did_you_mean(words[-1], sorted({_last(name) for name in names}))
    example = f" Whole names are such as {names[0]}." if names else ""
    return FieldProblem(
        field=field,
        message=f"the pattern {pattern!r} matches no layer of the base model",
        remedy=f"{near or 'Correct it.'}{example}",
    )


def _remedy(name: str, known: list[str]) -> str:
    return f"{did_you_mean(name, known)} Use some of: {_list(known)}.".lstrip()


def _list(names: list[str]) -> str:
    more = f", and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _short(one: Candidate) -> str:
    """Return a parameter's name with that of its layer: `experts.gate_up_proj`."""
    return one.name if one.kind in LAYERS else ".".join(one.name.split(".")[-2:])
