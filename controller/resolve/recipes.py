"""Recipe of a spec's inputs: the newest, or the recipe of the recorded inputs.

A recipe is a version of ftctl's own corrections: to the conversion of rows (`data.recipes`), and to
a backend's training (`Backend.recipes`). An upgrade trains nothing: the inputs of a recorded build,
job or failure still match it, even if a newer recipe would give others for the same spec.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, TypeAlias

from backends.contract.inspector import Json
from backends.contract.jobs import MEASURING, BaseModel, Recipe
from controller.canonical import digest
from controller.data.recipes import NEWEST
from controller.lockfile.model import Build, Entry, Lockfile, OpenJob
from controller.plan.fingerprint import (
    TRAINING_SCHEME,
    decisive,
    diff_inputs,
    fingerprint,
    training_inputs,
)
from controller.resolve.inputs import BuiltData
from controller.spec.model import Spec

_OF_DATA: Final = frozenset({"data", "held_out"})
"""Inputs that are known when the data is built."""
Elsewhere: TypeAlias = Mapping[str, Sequence[Mapping[str, Json]]]
"""Inputs of jobs and builds in git or at a backend, by name of a fine-tune without an entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A spec's inputs under one choice of recipes."""

    built: BuiltData
    inputs: Mapping[str, Json]
    fingerprint: str
    corrected: tuple[str, ...] = ()
    """Inputs that a newer recipe would make differently; empty for the newest recipe."""

    @property
    def formerly(self) -> "Variant | None":
        """The same as older versions counted it, with settings that decide nothing; None if equal."""
        settings, given = self.inputs.get("hyperparameters"), self.built.hyperparameters
        more = {key: given[key] for key in sorted(MEASURING) if key in given}
        if "held_out" in self.inputs or not more or not isinstance(settings, Mapping):
            return None
        return self.recorded_as({**self.inputs, "hyperparameters": {**settings, **more}})

    def recorded_as(self, inputs: Mapping[str, Json]) -> "Variant":
        """Return the same under inputs that are recorded for an equal training."""
        return replace(self, inputs=inputs, fingerprint=fingerprint(TRAINING_SCHEME, inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Inputs of finished, running or failed trainings."""

    fingerprints: frozenset[str] = frozenset()
    without_data: frozenset[str] = frozenset()
    """Digests of the same inputs without their data. They tell if building the data under another
    recipe can help."""
    equal: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    """Inputs that older versions recorded, by the fingerprint that equal trainings have today."""
    is_uncertain: bool = False
    """True if a fingerprint in this record has no recorded inputs."""

    def find(self, variant: Variant) -> Variant | None:
        """Return a variant as it is recorded; None if no equal training is."""
        former = variant.formerly
        for one in (variant, *([] if former is None else [former])):
            if one.fingerprint in self.fingerprints:
                return one
        inputs = self.equal.get(variant.fingerprint)
        return None if inputs is None else variant.recorded_as(inputs)

    def may_have(self, spec: Spec, base: BaseModel, settings: Iterable[Mapping[str, Json]]) -> bool:
        """Return True if inputs of a spec, with any data, may be among these inputs."""
        given = (
            training_inputs(
                spec,
                base_model=base.identity,
                hyperparameters=one,
                train_digest="",
                adapter=base.adapter_identity,
            )
            for one in settings
        )
        return self.is_uncertain or any(_without_data(one) in self.without_data for one in given)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Recorded inputs of every fine-tune; used only if a spec's newest inputs are not recorded."""

    lockfile: Lockfile
    elsewhere: Elsewhere = field(default_factory=dict)
    replace: Collection[str] = ()
    """Fine-tunes whose builds of an older recipe to replace, even if recorded."""

    def own(self, name: str) -> Known:
        """Return the recorded inputs of one fine-tune."""
        entry = self.lockfile.finetunes.get(name)
        return _of_inputs(self.elsewhere.get(name, ())) if entry is None else _of_entry(entry)

    @cached_property
    def anywhere(self) -> Known:
        """Recorded inputs of all fine-tunes: a fine-tune may be renamed, or equal to another."""
        known = [self.own(name) for name in self.lockfile.finetunes.keys() | self.elsewhere.keys()]
        return Known(
            fingerprints=frozenset[str]().union(*(one.fingerprints for one in known)),
            without_data=frozenset[str]().union(*(one.without_data for one in known)),
            equal={key: inputs for one in known for key, inputs in one.equal.items()},
        )


def choose(
    name: str,
    spec: Spec,
    recipes: Sequence[Recipe],
    recorded: Recorded,
    build: Callable[[Mapping[str, Json], int], BuiltData],
) -> Variant:
    """Return the inputs of a fine-tune's spec, under the recipe that applies.

    Args:
        name: The fine-tune.
        spec: Its spec.
        recipes: Its hyperparameters under each recipe of its backend, newest first.
        recorded: Inputs of earlier trainings.
        build: Builds the dataset for hyperparameters and a recipe of data.

    Raises:
        InvalidInput: The data has problems.
        DataNotRead: A source cannot be read on this machine.
    """
    newest = _variant(spec, recipes[0], build(recipes[0].hyperparameters, NEWEST))
    entry = recorded.lockfile.finetunes.get(name)
    if entry is not None and newest.fingerprint in entry.builds:
        return newest
    own = recorded.own(name)
    if name in recorded.replace:
        return own.find(newest) or newest
    others: list[Variant] = []
    base, settings = newest.built.base_model, [one.hyperparameters for one in recipes]
    if own.may_have(spec, base, settings) or recorded.anywhere.may_have(spec, base, settings):
        others = list(_others(spec, recipes, newest, build))
    for known in (own, recorded.anywhere):
        for one in (newest, *others):
            found = known.find(one)
            if found is not None:
                return found
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
        # All recipes of a backend read examples in the same way.
        settings = recipe.hyperparameters
        is_corrected = any(one.is_correction for one in recipes[:number])
        for built in data:
            if number or built is not newest.built:
                one = _variant(spec, recipe, replace(built, hyperparameters=settings))
                corrected = _differing(one, newest, settings=is_corrected)
                yield replace(one, corrected=corrected)


def _differing(one: Variant, newest: Variant, *, settings: bool) -> tuple[str, ...]:
    """Return the inputs that differ from the newest variant, if that changes the model."""
    fields = (change.field for change in diff_inputs(one.inputs, newest.inputs))
    return tuple(name for name in fields if settings or not name.startswith("hyperparameters."))


def _variant(spec: Spec, recipe: Recipe, built: BuiltData) -> Variant:
    held_out = built.dataset.held_out.digest if recipe.held_out_decides else None
    inputs = training_inputs(
        spec,
        base_model=built.base_model.identity,
        hyperparameters=built.hyperparameters,
        train_digest=built.dataset.train.digest,
        adapter=built.base_model.adapter_identity,
        held_out_digest=held_out,
    )
    return Variant(built=built, inputs=inputs, fingerprint=fingerprint(TRAINING_SCHEME, inputs))


def _of_entry(entry: Entry) -> Known:
    made: list[Build | OpenJob] = [
        *entry.builds.values(),
        *([entry.job] if entry.job is not None else []),
    ]
    bare = {*entry.failures, *entry.attempts}
    # Of several equal builds, the one in production counts.
    made.sort(key=lambda one: one.fingerprint == entry.production)
    return Known(
        fingerprints=frozenset({one.fingerprint for one in made} | bare),
        without_data=frozenset(_without_data(one.inputs) for one in made),
        equal=_equal(one.inputs for one in made),
        is_uncertain=bool(bare - {one.fingerprint for one in made}),
    )


def _of_inputs(found: Iterable[Mapping[str, Json]]) -> Known:
    known = list(found)
    return Known(
        fingerprints=frozenset(fingerprint(TRAINING_SCHEME, inputs) for inputs in known),
        without_data=frozenset(map(_without_data, known)),
        equal=_equal(known),
    )


def _equal(found: Iterable[Mapping[str, Json]]) -> dict[str, Mapping[str, Json]]:
    """Return inputs that have settings which decide nothing, by the fingerprint without these."""
    pairs = ((inputs, decisive(inputs)) for inputs in found)
    return {fingerprint(TRAINING_SCHEME, own): inputs for inputs, own in pairs if own != inputs}


def _without_data(inputs: Mapping[str, Json]) -> str:
    # Without the held-out examples, settings of measuring are left out of all inputs alike.
    return digest(decisive({key: one for key, one in inputs.items() if key not in _OF_DATA}))
