"""Backends whose models come from the store when a command needs them and they are not here."""

from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

from backends.contract.backend import Backend
from backends.contract.completions import Chunk, Completed, Engine, Prompt, Sampling
from backends.contract.errors import (
    BackendError,
    BaseModelMissing,
    BaseModelUnknown,
    FtctlError,
    ModelMissing,
)
from backends.contract.exports import ExportRequest, ExportStep
from backends.contract.guard.guarded import Pausable
from backends.contract.jobs import BaseModel
from controller.lockfile.model import Build
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.spec.load import FOLDER
from controller.spec.sections.store import StoreSettings
from controller.spec.settings import FILE
from controller.state_folder import refused_by_system
from controller.store.builds import ModelStore, fetch_build
from controller.store.privacy import named_builds
from controller.store.progress import TransferLines


def _is_stored(build: Build) -> bool:
    return build.stored is not None and build.stored.model is not None


def _absent(missing: ModelMissing, build: Build, *, has_store: bool) -> ModelMissing:
    """Return the error for a model that is neither on this machine nor in the store."""
    if has_store:
        remedy = "Type `ftctl store push` at the machine that trained it."
        return ModelMissing(f"{missing.message}, nor has the store", remedy)
    if _is_stored(build):
        message = f"{missing.message}, and {FILE} does not declare the store that has it"
        return ModelMissing(message, f"Declare that `store` in {FILE} again: `ftctl help store`.")
    message = f"{missing.message}, and no `store` is declared"
    remedy = (
        f"Declare a `store` in {FILE}, and type `ftctl store push` at the machine that trained it."
    )
    return ModelMissing(message, remedy)


@dataclass(frozen=True, kw_only=True)
class Fetcher:
    """Finds models in the lockfile and brings them here."""

    project: Project
    settings: StoreSettings | None
    place: str
    backend: Backend
    fetches: bool
    """False for a command that only displays: it is told that the model is in the store."""
    known: set[str] = field(default_factory=set)
    """Models that were seen on this machine."""

    @cached_property
    def store(self) -> ModelStore | None:
        """The store; None if none is declared."""
        if self.settings is None:
            return None
        return ModelStore(project=self.project, settings=self.settings)

    def bring(self, model_id: str) -> None:
        """Bring a model here if it is not, and the store has it.

        Raises:
            ModelMissing: The store has it, and this command fetches nothing.
            BackendError: The store refuses, or the model does not fit.
        """
        if model_id in self.known:
            return
        try:
            self.backend.weights_folder(model_id)
        except ModelMissing as missing:
            build = self._build(model_id)
            if self.store is None or build is None or not _is_stored(build):
                return
            if not self.fetches or self.project.offline:
                message = f"{model_id} is in the store, and not on this machine"
                raise ModelMissing(message, "Type `ftctl store pull`.") from missing
            self._fetch(self.store, build)
        self.known.add(model_id)

    def explained(self, missing: ModelMissing, models: Iterable[str | None]) -> ModelMissing:
        """Return the error for a model that the backend does not have, with what a store would do.

        Args:
            missing: The backend's own error.
            models: The models that it was asked for.
        """
        for model in models:
            build = None if model is None or model in self.known else self._build(model)
            if build is not None and build.model_id in missing.message:
                return _absent(missing, build, has_store=self.store is not None)
        return missing

    def _fetch(self, store: ModelStore, build: Build) -> None:
        base = self.base_model(build.base_model, build.revision)
        lines = TransferLines(f"fetching {build.model_id} from {store.settings.url}")
        try:
            fetch_build(store, build, base, self.backend, lines)
        except BackendError:
            raise
        except FtctlError as error:
            raise BackendError(error.message, error.remedy) from error
        except OSError as error:
            found = refused_by_system(error, self.project.state)
            raise BackendError(found.message, found.remedy) from error

    def base_model(
        self, written: str, revision: str | None, folder: Path | None = None
    ) -> BaseModel:
        """Return a base model, which may be a trained model that comes from the store.

        Raises:
            BaseModelUnknown: It is in the store, and this command fetches nothing.
            BaseModelMissing: Neither this machine nor the store has it.
        """
        build = None if written in self.known else self._build(written)
        if build is not None:
            try:
                self.bring(written)
            except ModelMissing as error:
                raise BaseModelUnknown(error.message, error.remedy) from None
        try:
            return self.backend.resolve_base_model(
                written, revision, folder or self.project.root / FOLDER
            )
        except BaseModelMissing as error:
            if build is None:
                raise
            missing = ModelMissing(error.message, error.remedy)
            found = self.explained(missing, [written])
            raise type(error)(found.message, found.remedy) from None

    def _build(self, model_id: str) -> Build | None:
        """Return the recorded build of a model of this backend."""
        if ":" not in model_id:
            return None
        lockfile = read_lockfile(self.project.root, self.project.records)
        found = [
            build
            for _, build in named_builds(lockfile.finetunes)
            if build.model_id == model_id and build.backend == self.place and build.prompt is None
        ]
        # Equal inputs under two names share a model; one of them may be stored already.
        return min(found, key=lambda build: build.stored is None, default=None)


class FetchingBackend:
    """Implements `Backend` around another backend; all but the methods here go straight to it."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher, self.inner = fetcher, fetcher.backend

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Return a base model, after fetching it where it is a trained model."""
        return self._fetcher.base_model(base_model, revision, folder)

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
        skip: Container[tuple[int, int]] = (),
    ) -> Generator[Completed, None, None]:
        """Yield answers, after fetching the models."""
        for model in models:
            if model is not None:
                self._fetcher.bring(model)
        return _explaining(
            self.inner.complete(base_model, models, prompts, sampling, skip), self._fetcher, models
        )

    def open_engine(self, base_model: BaseModel) -> Engine:
        """Load a base model; models trained from it are fetched when they are asked."""
        return _FetchingEngine(self._fetcher, self.inner.open_engine(base_model))

    def export_model(self, request: ExportRequest) -> Generator[ExportStep, None, None]:
        """Write a model's weights in another form, after fetching it."""
        self._fetcher.bring(request.model_id)
        asked = [request.model_id]
        try:
            return self.inner.export_model(request)
        except ModelMissing as missing:
            raise self._fetcher.explained(missing, asked) from None

    def weights_folder(self, model_id: str) -> Path | None:
        """Return the folder of a model's weights, after fetching it."""
        self._fetcher.bring(model_id)
        try:
            return self.inner.weights_folder(model_id)
        except ModelMissing as missing:
            raise self._fetcher.explained(missing, [model_id]) from None


class _FetchingPausable(FetchingBackend):
    """The same around a backend that can pause its jobs."""

    def pause(self, job_id: str) -> None:
        """Ask a job to save its work and stop."""
        cast("Pausable", self.inner).pause(job_id)


class _FetchingEngine:
    """Implements `Engine` around another engine."""

    def __init__(self, fetcher: Fetcher, inner: Engine) -> None:
        self._fetcher, self._inner = fetcher, inner

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer, after fetching the model."""
        if model is not None:
            self._fetcher.bring(model)
        return self._inner.generate(model, prompt, sampling)

    def close(self) -> None:
        """End the engine."""
        self._inner.close()


def _explaining(
    answers: Generator[Completed, None, None], fetcher: Fetcher, models: Sequence[str | None]
) -> Generator[Completed, None, None]:
    """Pass answers on; tell of a missing model what a store would do."""
    try:
        yield from answers
    except ModelMissing as missing:
        raise fetcher.explained(missing, models) from None


def on_this_machine(backend: Backend) -> Backend:
    """Return a backend that knows only the models of this machine, and fetches none."""
    return backend.inner if isinstance(backend, FetchingBackend) else backend


def fetching(fetcher: Fetcher) -> Backend:
    """Return a backend that gets what it lacks from the store."""
    kind = _FetchingPausable if isinstance(fetcher.backend, Pausable) else FetchingBackend
    return cast("Backend", kind(fetcher))
