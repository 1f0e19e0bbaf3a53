"""Builds of the lockfile, written to the store and fetched from it."""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from backends.atomic_files import locked, publish_file
from backends.contract.backend import Backend
from backends.contract.errors import ModelMissing
from backends.contract.jobs import BaseModel
from backends.stores.manifest import Manifest
from backends.stores.objects import ANSWERS, BUILDS, ObjectStore, StoreError
from backends.stores.probe import require_conditions
from backends.stores.pull import incoming_folder, pull_files, read_manifest
from backends.stores.push import Report, push_files
from controller.evaluate.answer_file import files_of_models
from controller.evaluate.compare import answer_identities
from controller.lockfile.model import Build, Stored
from controller.plan.fingerprint import short_id
from controller.project.project import Project
from controller.spec.sections.store import StoreSettings
from controller.store.declared import open_declared
from controller.store.lease import pushing
from controller.store.progress import say

_ANSWER_FILE: Final = re.compile(r"[0-9a-f]{32}\.jsonl")
_POLL_S: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class ModelStore:
    """The store of one repository, opened at its first use."""

    project: Project
    settings: StoreSettings

    @cached_property
    def objects(self) -> ObjectStore:
        """Its objects."""
        return open_declared(self.settings, self.project.root)

    @cached_property
    def trusted(self) -> ObjectStore:
        """The same, after a test that it keeps to conditions."""
        require_conditions(self.objects)
        return self.objects


def is_here(build: Build, backend: Backend) -> bool | None:
    """Return whether a build's model is on this machine; None where a service keeps it."""
    if build.prompt is not None:
        return None
    try:
        return None if backend.weights_folder(build.model_id) is None else True
    except ModelMissing:
        return False


def answer_files(project: Project, build: Build) -> list[Path]:
    """Return the files of this machine with answers of a build's model."""
    return files_of_models(project.answers, answer_identities(build))


def push_build(store: ModelStore, build: Build, backend: Backend, report: Report) -> Stored:
    """Write to the store what this machine has of a build: its model, its log, its answers.

    May be repeated, and continues where an earlier call stopped.

    Raises:
        StoreError: The store refuses or does not answer.
        BackendError: The backend cannot name the files.
        OSError: A file cannot be read.
    """
    stored = (build.stored or Stored()).model_copy(update={"pruned": False})
    files = backend.model_files(build.model_id) if is_here(build, backend) else None
    answers = answer_files(store.project, build)
    empty = Manifest(
        fingerprint=build.fingerprint,
        attempt=build.attempt,
        backend=build.backend,
        model_id=build.model_id,
        files=(),
    )
    with pushing(store.trusted):
        if files is not None:
            names = files.names
            digest, made = push_files(store.objects, BUILDS, empty, files.folder, names, report)
            stored = stored.model_copy(update={"model": digest, "bytes": made.bytes})
        if answers:
            folder, names = store.project.answers, [path.name for path in answers]
            digest, _ = push_files(store.objects, ANSWERS, empty, folder, names, report)
            stored = stored.model_copy(update={"answers": digest})
    return stored


def fetch_build(
    store: ModelStore, build: Build, base_model: BaseModel, backend: Backend, report: Report
) -> None:
    """Bring a build's model to this machine, once, however many processes want it.

    Raises:
        StoreError: The model is not in the store, is damaged, or the store does not answer.
        BackendError: The backend does not take the files.
        OSError: The disk refuses.
    """
    digest = None if build.stored is None else build.stored.model
    if digest is None:
        message = f"the model of build {short_id(build.fingerprint)} is not in the store"
        remedy = "Type `ftctl store push` on the machine that trained it."
        raise StoreError(message, remedy)
    folder = incoming_folder(store.project.state, digest)
    with _alone(folder, f"{build.model_id} is being fetched by another process"):
        if is_here(build, backend):
            return
        manifest = read_manifest(store.objects, BUILDS, build.fingerprint, digest)
        pull_files(store.objects, manifest, folder, report)
        backend.place_model(build.model_id, base_model, folder)
        shutil.rmtree(folder, ignore_errors=True)
    fetch_answers(store, build)


def fetch_answers(store: ModelStore, build: Build) -> int:
    """Bring the recorded answers of a build's model here; files that are here stay as they are.

    Returns:
        The number of files that came.

    Raises:
        StoreError: They are not in the store, are damaged, or the store does not answer.
        OSError: The disk refuses.
    """
    digest = None if build.stored is None else build.stored.answers
    if digest is None:
        return 0
    manifest = read_manifest(store.objects, ANSWERS, build.fingerprint, digest)
    strange = [file.path for file in manifest.files if not _ANSWER_FILE.fullmatch(file.path)]
    if strange:
        raise StoreError(f"{store.objects.url}: {strange[0]} is not a file of answers")
    kept = {path.name for path in store.project.answers.glob("*.jsonl")}
    missing = [file for file in manifest.files if file.path not in kept]
    if not missing:
        return 0
    folder = incoming_folder(store.project.state, digest)
    with _alone(folder, "answers are being fetched by another process"):
        wanted = manifest.model_copy(update={"files": tuple(missing)})
        pull_files(store.objects, wanted, folder, lambda _done, _total: None)
        came = 0
        for file in missing:
            try:
                publish_file(folder / file.path, store.project.answers / file.path)
                came += 1
            except FileExistsError:
                continue  # answers that were given here meanwhile
        shutil.rmtree(folder, ignore_errors=True)
        return came


@contextmanager
def _alone(folder: Path, waiting: str) -> Iterator[None]:
    """Keep other processes of this machine out of a folder, and wait for those before."""
    told = False
    while True:
        with locked(folder.with_name(f"{folder.name}.lock")) as mine:
            if mine:
                yield
                return
        if not told:
            say(f"» waiting: {waiting}")
            told = True
        time.sleep(_POLL_S)
