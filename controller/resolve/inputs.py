"""Dataset, inspector and base model of one spec, under a given recipe.

Needs no key, no network and no heavy package.
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.contract.backend import Backend
from backends.contract.capabilities import Capabilities
from backends.contract.errors import BackendError, BaseModelUnknown
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel
from backends.did_you_mean import use_one_of
from controller.data.dataset import Dataset, build_dataset
from controller.data.recipes import NEWEST
from controller.data.resolve_sources import DataPaths
from controller.data.sources.source_file import GitBlob, LocatedFile
from controller.data.verified_datasets import VerifiedDatasets
from controller.errors import BaseModelNotKnown, InvalidInput, ParentNotReady, Problem
from controller.evaluate.gate import gate_columns
from controller.lockfile.model import Build, Entry, OpenJob
from controller.plan.desired import ParentBuild
from controller.plan.starting.parents import CONTINUE
from controller.project.project import Project
from controller.resolve.answers import Answers
from controller.resolve.validate import in_spec, refuse
from controller.spec.evaluation import evaluation_columns
from controller.spec.load import LoadedSpec
from controller.spec.model import Parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Data that the fine-tunes of one pass share while they are resolved."""

    project: Project
    blobs: Mapping[Path, GitBlob] = field(default_factory=dict)
    """Blobs that git already knows, so that their files need no reading."""
    fetched: MutableMapping[str, LocatedFile] = field(default_factory=dict)
    """Answers of databases, URLs and hubs, queried once a run, so that its passes agree."""
    answers: Answers = field(default_factory=Answers)
    """Answers of backends about other specs in the same pass."""
    parents: Mapping[str, ParentBuild] = field(default_factory=dict)
    """Builds of other fine-tunes that fine-tunes start from."""
    verified: VerifiedDatasets | None = None
    """Datasets that earlier passes found complete; None to check every file."""


def data_paths(readings: Readings) -> DataPaths:
    """Return the paths of the repository and its caches, and what is already known of its data."""
    project = readings.project
    return DataPaths(
        root=project.root,
        cache=project.state / "data",
        environment=os.environ,
        blobs=readings.blobs,
        offline=project.offline,
        fetched=readings.fetched,
        verified=readings.verified,
    )


def identify_base(
    loaded: LoadedSpec, entry: Entry, backend: Backend, readings: Readings
) -> BaseModel:
    """Identify a spec's base model; ask its hub if it is not on this machine.

    A hub model without `revision` keeps the revision that was recorded first.

    Raises:
        BaseModelNotKnown: A hub has to be asked, and is not, or does not answer.
        InvalidInput: The base model cannot be had.
    """
    spec, answers = loaded.spec, readings.answers
    if spec.parent is not None:
        return _identify_parent(loaded, backend, readings)
    base, revision = spec.base_name, spec.revision
    made_before: list[Build | OpenJob] = [*entry.builds.values()]
    made_before += [entry.job] if entry.job is not None else []
    for made in made_before:
        if revision is None and made.base_model == base:
            revision = made.revision
    try:
        if not readings.project.offline:
            found = answers.look_up(backend, spec.place, base, revision, loaded.folder)
            if found is not None:
                return found
        return answers.base_model(backend, spec.place, base, revision, loaded.folder)
    except BaseModelUnknown as error:
        if readings.project.offline:
            error.remedy = "Plan without --offline, or type `ftctl apply`."
        raise BaseModelNotKnown([loaded.placed(error.problem(field="base_model"))]) from None
    except BackendError as error:
        raise InvalidInput([loaded.placed(error.problem(field="base_model"))]) from None


def _identify_parent(loaded: LoadedSpec, backend: Backend, readings: Readings) -> BaseModel:
    """Identify the model of another fine-tune, from which a spec starts.

    Raises:
        ParentNotReady: The other fine-tune has no build in production.
        BaseModelNotKnown: Its model is in the store.
        InvalidInput: The model is not on this machine, or its backend starts from no such model.
    """
    spec, answers = loaded.spec, readings.answers
    written, parent = spec.parent, readings.parents.get(loaded.name)
    path = ("base_model", "finetune")
    if written is None or parent is None:
        other = written.finetune if written is not None else ""
        message = f"{other} has no build in production yet"
        remedy = f"Type `ftctl apply` again when {other} is in production."
        raise ParentNotReady(other, loaded.problem(path, message, remedy))
    refuse(list(_unmet_start(loaded, written, answers.capabilities(backend, spec))), ())
    try:
        base = answers.base_model(
            backend, spec.place, parent.base_model, parent.revision, loaded.folder
        )
        if parent.adapter != CONTINUE:
            return base
        trained = answers.base_model(backend, spec.place, parent.model_id, None, loaded.folder)
    except BaseModelUnknown as error:
        # It is in the store, and a plan that is only displayed fetches nothing.
        problem = loaded.placed(error.problem(field="base_model.finetune"))
        raise BaseModelNotKnown([problem]) from None
    except BackendError as error:
        raise InvalidInput([loaded.placed(error.problem(field="base_model.finetune"))]) from None
    return replace(base, adapter=parent.model_id, adapter_identity=trained.identity)


def _unmet_start(loaded: LoadedSpec, parent: Parent, can: Capabilities) -> Iterator[Problem]:
    spec = loaded.spec
    if not spec.trains:
        return
    if not can.starts_from:
        message = f"the {spec.place} backend trains from no trained model"
        yield loaded.problem(("base_model", "finetune"), message, "Name a base model.")
    elif "model" in can.starts_from and "adapter" in parent.model_fields_set:
        message = f"{spec.place} itself decides how it trains a model on"
        yield loaded.problem(("base_model", "adapter"), message, "Remove the line.")
    elif "model" not in can.starts_from and parent.adapter not in can.starts_from:
        message = f"the {spec.place} backend does not {parent.adapter} adapters"
        yield loaded.problem(
            ("base_model", "adapter"), message, use_one_of(sorted(can.starts_from))
        )


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
    base_model = identify_base(loaded, entry, backend, readings)
    newest = readings.answers.recipes(backend, loaded.spec, base_model)[0]
    return build_one(loaded, base_model, backend, readings, newest.hyperparameters, NEWEST)


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
        inspector = readings.answers.inspector(backend, spec, base_model, hyperparameters)
    try:
        dataset = build_dataset(
            spec.data,
            file=loaded.file,
            folder=loaded.folder,
            paths=data_paths(readings),
            inspector=inspector,
            method=spec.method,
            recipe=recipe,
            columns=evaluation_columns(spec.evaluation, gate_columns(spec.gate)),
        )
    except InvalidInput as error:
        raise type(error)([loaded.placed(problem) for problem in error.problems]) from None
    return BuiltData(
        dataset=dataset, inspector=inspector, base_model=base_model, hyperparameters=hyperparameters
    )
