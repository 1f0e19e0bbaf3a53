"""The layers and parameters that hyperparameters choose, with peft's own rules for names. Pure.

A name in a list means every layer of that name, or whose full name ends with a dot and it; a text
is a pattern that the whole name must match. `exclude_modules` and `layers_to_transform` apply to
everything that is chosen, `target_parameters` included.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

EVERY: Final = "all-linear"
FIELDS: Final = ("target_parameters", "exclude_modules", "layers_to_transform", "modules_to_save")
"""Hyperparameters that choose beside `target_modules`."""
CHOICES: Final = ("target_modules", *FIELDS)
"""Hyperparameters that choose what an adapter trains."""
_INDEX: Final = re.compile(r".*?\.[^.]*\.(\d+)\.")
"""Number of a layer, by peft's rule: the first in its name."""
Names: TypeAlias = str | Sequence[str]
"""A pattern, or names."""


class Kind(StrEnum):
    """Kinds of layers and parameters."""

    LINEAR = "linear"
    HEAD = "head"
    EMBEDDING = "embedding"
    EXPERTS = "experts"
    """A parameter with the weights of all experts of a layer."""
    ROUTER = "router"
    """A parameter by which a layer chooses experts."""
    OTHER = "other"


LAYERS: Final = frozenset({Kind.LINEAR, Kind.HEAD, Kind.EMBEDDING})
PARAMETERS: Final = frozenset({Kind.EXPERTS, Kind.ROUTER})
ENDS: Final = frozenset({Kind.HEAD, Kind.EMBEDDING})
"""Kinds of the input and the output layer."""
TIED: Final = ("embed_tokens", "lm_head")
"""Names by which peft knows layers that may share their weights."""
HEAD: Final = "lm_head"
"""Usual name of the output layer, which files lack where it shares its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A layer or a parameter of a base model's language part."""

    name: str
    """Full name of a layer; of experts and a router that of the parameter."""
    kind: Kind
    out: int
    into: int
    experts: int = 1
    former: tuple[str, ...] = ()
    """Names by which `target_modules` chooses experts or a router; empty if it cannot."""
    joins: int = 1
    """Layers of the files that a parameter of experts holds side by side."""

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.experts * self.out * self.into

    def rank_size(self, rank: int) -> int:
        """Return the number of an adapter's weights."""
        return self.experts * rank * (self.out + self.into)

    @property
    def owner(self) -> str:
        """Name of the layer that a parameter belongs to."""
        return self.name if self.kind in LAYERS else self.name.rpartition(".")[0]

    @property
    def layer(self) -> int | None:
        """Number of the layer that it belongs to, if it belongs to one."""
        found = _INDEX.match(self.name)
        return None if found is None else int(found[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everything that can be chosen of a base model."""

    candidates: tuple[Candidate, ...]
    tied: bool
    """True if input and output layer share their weights."""

    def of(self, *kinds: Kind) -> tuple[Candidate, ...]:
        """Return the candidates of some kinds."""
        return tuple(one for one in self.candidates if one.kind in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Trained layers and parameters of a model."""

    layers: tuple[Candidate, ...]
    """Layers with an adapter."""
    parameters: tuple[Candidate, ...]
    """Parameters with an adapter."""
    saved: tuple[Candidate, ...]
    """Layers that are trained whole."""
    widened: bool
    """True if a parameter that joins layers has the rank of all of them together, as peft gives it
    where `target_modules` chooses it."""

    def size(self, rank: int) -> int:
        """Return the number of trained weights."""
        found = sum(one.rank_size(rank) for one in self.layers)
        for one in self.parameters:
            found += one.rank_size(rank * (one.joins if self.widened else 1))
        return found + sum(one.size for one in self.saved)


def chooses_more(settings: Mapping[str, Any]) -> bool:
    """Return True if hyperparameters choose by more than names in `target_modules`."""
    wanted = settings.get("target_modules", EVERY)
    is_pattern = isinstance(wanted, str) and wanted != EVERY
    return is_pattern or any(settings.get(key) is not None for key in FIELDS)


def select(known: Known, settings: Mapping[str, Any]) -> Targets:
    """Return what hyperparameters choose.

    Args:
        known: Everything that can be chosen.
        settings: Complete hyperparameters of a training with an adapter.
    """
    saved = _saved(known, settings.get("modules_to_save"))
    kept = [one for one in known.candidates if one not in saved and _is_allowed(one, settings)]
    wanted, named = settings["target_modules"], settings.get("target_parameters")
    return Targets(
        layers=tuple(one for one in kept if one.kind in LAYERS and _chosen(one, wanted)),
        parameters=tuple(
            one
            for one in kept
            if one.kind in PARAMETERS and (_is_meant(one.name, named) or _chosen(one, wanted))
        ),
        saved=saved,
        widened=named is None,
    )


def _saved(known: Known, names: Names | None) -> tuple[Candidate, ...]:
    """Return the layers to train whole; of shared weights, the input layer."""
    found = [one for one in known.candidates if _is_meant(one.name, names)]
    ends = [one for one in found if one.kind in ENDS]
    if known.tied and (ends or _is_meant(HEAD, names)):
        found = [one for one in found if one not in ends] + [*known.of(Kind.EMBEDDING)]
    return tuple(found)


def matches(candidate: Candidate, names: Names) -> bool:
    """Return True if names or a pattern of `target_modules` or `exclude_modules` mean a candidate."""
    if candidate.kind in LAYERS:
        return _is_meant(candidate.name, names)
    return any(_is_meant(one, names) for one in _called(candidate))


def matches_parameter(candidate: Candidate, names: Names) -> bool:
    """Return True if names of `target_parameters` mean a candidate."""
    return candidate.kind in PARAMETERS and _is_meant(candidate.name, names)


def _chosen(candidate: Candidate, wanted: Names) -> bool:
    if wanted == EVERY:
        return candidate.kind is Kind.LINEAR or bool(candidate.former)
    if candidate.kind in LAYERS:
        return _is_meant(candidate.name, wanted)
    return any(_is_meant(one, wanted) for one in _former(candidate))


def _former(candidate: Candidate) -> tuple[str, ...]:
    """Return the names by which `target_modules` chooses experts or a router."""
    if candidate.kind is Kind.ROUTER:
        return (candidate.owner,) if candidate.former else ()
    return tuple(f"{candidate.owner}.{one}" for one in candidate.former)


def _called(candidate: Candidate) -> tuple[str, ...]:
    """Return the names under which experts or a router can be excluded."""
    return (candidate.name, candidate.owner, *_former(candidate))


def _is_allowed(candidate: Candidate, settings: Mapping[str, Any]) -> bool:
    excluded, layers = settings.get("exclude_modules"), settings.get("layers_to_transform")
    if excluded is not None and matches(candidate, excluded):
        return False
    return layers is None or candidate.layer in layers


def _is_meant(name: str, names: Names | None) -> bool:
    if names is None:
        return False
    if isinstance(names, str):
        return re.fullmatch(names, name) is not None
    return any(name == one or name.endswith(f".{one}") for one in names)
