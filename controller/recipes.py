"""Which recipe a spec's inputs are taken under: the newest, or that of what is recorded.

A recipe is a version of ftctl's own corrections: of what a row becomes (`data.recipes`), and of what
a backend trains (`Backend.recipes`). An upgrade trains nothing: inputs that a recorded build, job or
failure was made from count as that build's, whatever a newer recipe would make of the same spec.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from backends.base import Json, Recipe
from controller.canonical import digest
from controller.data.recipes import NEWEST
from controller.inputs import BuiltData
from controller.lock.model import Build, Entry, Lockfile, OpenJob
from controller.plan.fingerprint import TRAINING_SCHEME, changes, fingerprint, training_inputs
from controller.spec.model import Spec

Elsewhere: TypeAlias = Mapping[str, Sequence[Mapping[str, Json]]]
"""Inputs of jobs and builds that git or a backend knows of fine-tunes without an entry, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A spec's inputs under one choice of recipes."""

    built: BuiltData
    inputs: Mapping[str, Json]
    fingerprint: str
    corrected: tuple[str, ...] = ()
    """Inputs that a newer recipe would make differently; none for the newest itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Inputs that were trained, or are being trained, or failed."""

    fingerprints: frozenset[str] = frozenset()
    without_data: frozenset[str] = frozenset()
    """Digests of the same inputs without their data, which tell whether it is worth building that
    under another recipe."""
    is_uncertain: bool = False
    """Whether a fingerprint among them was recorded without its inputs."""

    def may_have(self, spec: Spec, base: str, settings: Iterable[Mapping[str, Json]]) -> bool:
        """Return whether inputs of a spec, of any data, may be among these."""
        return self.is_uncertain or any(
            _without_data(_inputs(spec, base, one, "")) in self.without_data for one in settings
        )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What is known of every fine-tune's inputs; looked up only for specs that are not recorded."""

    lockfile: Lockfile
    elsewhere: Elsewhere = field(default_factory=dict)
    replace: Collection[str] = ()
    """Fine-tunes whose builds of an older recipe are to be replaced, whatever is recorded."""

    def own(self, name: str) -> Known:
        """Return what is known of one fine-tune."""
        entry = self.lockfile.finetunes.get(name)
        return _of_inputs(self.elsewhere.get(name, ())) if entry is None else _of_entry(entry)

    @cached_property
    def anywhere(self) -> Known:
        """What is known of all of them; a fine-tune may have been renamed, or equal another one."""
        known = [self.own(name) for name in self.lockfile.finetunes.keys() | self.elsewhere.keys()]
        return Known(
            fingerprints=frozenset[str]().union(*(one.fingerprints for one in known)),
            without_data=frozenset[str]().union(*(one.without_data for one in known)),
        )


def choose(
    name: str,
    spec: Spec,
    recipes: Sequence[Recipe],
    recorded: Recorded,
    build: Callable[[Mapping[str, Json], int], BuiltData],
) -> Variant:
    """Return the inputs that a fine-tune's spec asks for.

    Args:
        name: The fine-tune.
        spec: Its spec.
        recipes: Its hyperparameters under each recipe of its backend, newest first.
        recorded: What was trained before.
        build: Builds the dataset for hyperparameters and a recipe of data.

    Raises:
        InvalidInput: The data has problems.
        DataNotRead: A source cannot be read here.
    """
    newest = _variant(spec, build(recipes[0].hyperparameters, NEWEST))
    entry = recorded.lockfile.finetunes.get(name)
    if name in recorded.replace or (entry is not None and newest.fingerprint in entry.builds):
        return newest
    own = recorded.own(name)
    others: list[Variant] = []
    base, settings = newest.built.base_model.identity, [one.hyperparameters for one in recipes]
    if own.may_have(spec, base, settings) or recorded.anywhere.may_have(spec, base, settings):
        others = list(_others(spec, recipes, newest, build))
    for known in (own, recorded.anywhere):
        for one in (newest, *others):
            if one.fingerprint in known.fingerprints:
                return one
    return newest


def _others(
    spec: Spec,
    recipes: Sequence[Recipe],
    newest: Variant,
    build: Callable[[Mapping[str, Json], int], BuiltData],
) -> Iterator[Variant]:
    """Yield a spec's inputs under older recipes, the newer of them first."""
    data = [newest.built]
    if newest.built.dataset.recipe_matters:
        older = range(NEWEST - 1, 0, -1)
        data += [build(recipes[0].hyperparameters, recipe) for recipe in older]
    for number, recipe in enumerate(recipes):
        # Examples are read alike by all recipes of a backend.
        settings = recipe.hyperparameters
        is_corrected = any(one.is_correction for one in recipes[:number])
        for built in data:
            if number or built is not newest.built:
                one = _variant(spec, replace(built, hyperparameters=settings))
                corrected = _differing(one, newest, settings=is_corrected)
                yield replace(one, corrected=corrected)


def _differing(one: Variant, newest: Variant, *, settings: bool) -> tuple[str, ...]:
    """Return the inputs in which a variant differs from the newest, where that changes a model."""
    fields = (change.field for change in changes(one.inputs, newest.inputs))
    return tuple(name for name in fields if settings or not name.startswith("hyperparameters."))


def _variant(spec: Spec, built: BuiltData) -> Variant:
    inputs = _inputs(
        spec, built.base_model.identity, built.hyperparameters, built.dataset.train.digest
    )
    return Variant(built=built, inputs=inputs, fingerprint=fingerprint(TRAINING_SCHEME, inputs))


def _inputs(
    spec: Spec, base_model: str, hyperparameters: Mapping[str, Json], data: str
) -> dict[str, Json]:
    return training_inputs(
        spec, base_model=base_model, hyperparameters=hyperparameters, train_digest=data
    )


def _of_entry(entry: Entry) -> Known:
    made: list[Build | OpenJob] = [
        *entry.builds.values(),
        *([entry.job] if entry.job is not None else []),
    ]
    bare = {*entry.failures, *entry.attempts}
    return Known(
        fingerprints=frozenset({one.fingerprint for one in made} | bare),
        without_data=frozenset(_without_data(one.inputs) for one in made),
        is_uncertain=bool(bare - {one.fingerprint for one in made}),
    )


def _of_inputs(found: Iterable[Mapping[str, Json]]) -> Known:
    known = list(found)
    return Known(
        fingerprints=frozenset(fingerprint(TRAINING_SCHEME, inputs) for inputs in known),
        without_data=frozenset(map(_without_data, known)),
    )


def _without_data(inputs: Mapping[str, Json]) -> str:
    return digest({key: value for key, value in inputs.items() if key != "data"})
