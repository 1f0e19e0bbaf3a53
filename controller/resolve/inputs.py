"""Dataset, inspector and base model of one spec, under a given recipe.

Needs no key, no network and no heavy package.
"""

import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Recipe
from controller.data.dataset import Dataset, build_dataset
from controller.data.fetch.snapshot import Fetched
from controller.data.recipes import NEWEST
from controller.data.resolve_sources import DataPaths
from controller.data.sources.source_file import GitBlob
from controller.data.verified_datasets import Unchanged
from controller.errors import InvalidInput
from controller.lockfile.model import Entry
from controller.project.project import Project
from controller.resolve.validate import Answers, in_spec
from controller.spec.load import LoadedSpec
from controller.spec.model import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Base models as identified by their backends, and their inspectors; each is requested once."""

    models: dict[tuple[str, str, str | None, Path], BaseModel] = field(default_factory=dict)
    inspectors: dict[tuple[str, BaseModel, str, str], ExampleInspector] = field(
        default_factory=dict
    )
    numbered: dict[tuple[str, BaseModel, str, str], Sequence[Recipe]] = field(default_factory=dict)

    def resolve_base_model(
        self, backend: Backend, spec: Spec, revision: str | None, folder: Path
    ) -> BaseModel:
        """Return the base model of a spec."""
        key = (spec.place, spec.base_model, revision, folder)
        if key not in self.models:
            self.models[key] = backend.resolve_base_model(spec.base_model, revision, folder)
        return self.models[key]

    def recipes(
        self,
        backend: Backend,
        spec: Spec,
        base_model: BaseModel,
        hyperparameters: Mapping[str, Json],
    ) -> Sequence[Recipe]:
        """Return the recipes of a backend; equal settings share them, to read files once."""
        key = (spec.place, base_model, spec.method, repr(hyperparameters))
        if key not in self.numbered:
            self.numbered[key] = backend.recipes(base_model, spec.method, hyperparameters)
        return self.numbered[key]

    def inspector(
        self,
        backend: Backend,
        spec: Spec,
        base_model: BaseModel,
        hyperparameters: Mapping[str, Json],
    ) -> ExampleInspector:
        """Return the inspector of a model; equal settings share it, to read files once."""
        key = (spec.place, base_model, spec.method, repr(hyperparameters))
        if key not in self.inspectors:
            self.inspectors[key] = backend.inspector(base_model, spec.method, hyperparameters)
        return self.inspectors[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Data that the fine-tunes of one pass share while they are resolved."""

    project: Project
    blobs: Mapping[Path, GitBlob] = field(default_factory=dict)
    """Blobs that git already knows, so that their files need no reading."""
    fetched: MutableMapping[str, Fetched] = field(default_factory=dict)
    """Answers of databases, URLs and hubs, queried once a run, so that its passes agree."""
    bases: Bases = field(default_factory=Bases)
    """Base models of other specs in the same pass."""
    answers: Answers = field(default_factory=Answers)
    """Answers of backends about other specs in the same pass."""
    unchanged: Unchanged | None = None
    """Datasets that earlier passes found complete; None to check every file."""


def identify_base(loaded: LoadedSpec, entry: Entry, backend: Backend, bases: Bases) -> BaseModel:
    """Identify a spec's base model.

    A hub model without `revision` keeps the revision that was recorded first.

    Raises:
        InvalidInput: The base model is not on this machine.
    """
    spec = loaded.spec
    revision = spec.revision
    for build in entry.builds.values():
        if revision is None and build.base_model == spec.base_model:
            revision = build.revision
    try:
        return bases.resolve_base_model(backend, spec, revision, loaded.folder)
    except BackendError as error:
        raise InvalidInput([loaded.placed(error.problem(field="base_model"))]) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltData:
    """A spec's dataset, and the inputs of its build."""

    dataset: Dataset
    inspector: ExampleInspector
    base_model: BaseModel
    hyperparameters: Mapping[str, Json]
    """Complete hyperparameters, with defaults."""


def build_newest(
    loaded: LoadedSpec, entry: Entry, backend: Backend, readings: Readings
) -> BuiltData:
    """Build the dataset of a checked spec under the newest recipes, or find it in the cache.

    Raises:
        InvalidInput: With every problem of its data.
        DataNotRead: A source cannot be read on this machine.
    """
    base_model = identify_base(loaded, entry, backend, readings.bases)
    newest = recipes_of(loaded, base_model, backend, readings)[0]
    return build_one(loaded, base_model, backend, readings, newest.hyperparameters, NEWEST)


def recipes_of(
    loaded: LoadedSpec, base_model: BaseModel, backend: Backend, readings: Readings
) -> Sequence[Recipe]:
    """Return a spec's complete hyperparameters under each recipe of its backend, newest first."""
    hyperparameters = readings.answers.hyperparameters(backend, loaded.spec)
    return readings.bases.recipes(backend, loaded.spec, base_model, hyperparameters)


def build_one(
    loaded: LoadedSpec,
    base_model: BaseModel,
    backend: Backend,
    readings: Readings,
    hyperparameters: Mapping[str, Json],
    recipe: int,
) -> BuiltData:
    """Build the dataset of a checked spec, or find it in the cache.

    Args:
        loaded: The spec.
        base_model: The spec's.
        backend: The spec's.
        readings: The repository, and the data already read from it.
        hyperparameters: Complete hyperparameters, under one recipe of the backend.
        recipe: Version of what a row becomes; see `controller.data.recipes`.

    Raises:
        InvalidInput: With every problem of its data.
        DataNotRead: A source cannot be read on this machine.
    """
    spec = loaded.spec
    with in_spec(loaded):
        inspector = readings.bases.inspector(backend, spec, base_model, hyperparameters)
    project = readings.project
    places = DataPaths(
        root=project.root,
        cache=project.state / "data",
        environment=os.environ,
        blobs=readings.blobs,
        offline=project.offline,
        fetched=readings.fetched,
        unchanged=readings.unchanged,
    )
    try:
        dataset = build_dataset(
            spec.data,
            file=loaded.file,
            folder=loaded.folder,
            places=places,
            inspector=inspector,
            method=spec.method,
            recipe=recipe,
        )
    except InvalidInput as error:
        raise type(error)([loaded.placed(problem) for problem in error.problems]) from None
    return BuiltData(
        dataset=dataset, inspector=inspector, base_model=base_model, hyperparameters=hyperparameters
    )
