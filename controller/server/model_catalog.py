"""Models by the names that clients use.

Names are, in this order: base models of `ftctl.yaml`; models from jobs of this server; models in
the lockfile, by fine-tune or by model ID.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from backends.contract.backend import Backend
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.registry import LOCAL
from controller.lockfile.model import Build, Lockfile
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.project.project import Project
from controller.server.api.errors import ApiError, invalid
from controller.server.jobs.job_record import JobRecord
from controller.server.jobs.job_store import JobStore
from controller.spec.load import FOLDER
from controller.spec.settings import FILE, public_id

OWNER = "ftctl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTarget:
    """The model that answers under a name."""

    base: BaseModel
    model: str | None
    """The backend's model ID; None for the base model itself."""


@dataclass(slots=True)
class Catalog:
    """All names. Its methods read files; call them from a thread."""

    project: Project
    backend: Backend
    base_models: list[str]
    """The base models as `ftctl.yaml` has them."""
    jobs: JobStore
    _since_s: float = field(default_factory=time.time)
    _lockfile: tuple[object, Lockfile] = field(default_factory=lambda: (None, Lockfile()))
    """The lockfile, with the stamps of the files that it was read from."""

    @property
    def bases(self) -> dict[str, str]:
        """The base models as `ftctl.yaml` has them, by public ID, in its order."""
        return {public_id(written): written for written in self.base_models}

    def base(self, name: str) -> BaseModel:
        """Return a base model by its public ID.

        Raises:
            BackendError: The server does not offer it any more, or it is not on this machine.
        """
        if name not in self.bases:
            raise BackendError(
                f"this server does not offer the base model {name}",
                f"Name it in {FILE} under serve.base_models, and start the server again.",
            )
        return self._identify(self.bases[name], None)

    def resolve(self, name: str) -> ModelTarget:
        """Return the model that answers under a name.

        Raises:
            ApiError: No model has that name.
            BackendError: Its base model is not on this machine.
        """
        if name in self.bases:
            return ModelTarget(base=self.base(name), model=None)
        build = self._recorded(name)
        if build is not None and build.backend == LOCAL:
            base = self._identify(build.base_model, build.revision)
            return ModelTarget(base=base, model=build.model_id)
        record = self.job_of(name if build is None else build.model_id)
        if record is not None:
            return ModelTarget(base=self.base(record.model), model=record.backend_model)
        if build is None or build.model_id == name:
            raise unknown_model(name)
        place = f"the backend {build.backend}, which this server does not serve"
        message = f"{name} is the model {build.model_id} of {place}."
        raise ApiError(404, "model_not_served", message, "model")

    def job_of(self, name: str) -> JobRecord | None:
        """Return the job that trained a model; None if no job here did, or the model was deleted."""
        return next((job for job in self._jobs_with_models() if job.public_model == name), None)

    def index(self) -> list[dict[str, JsonValue]]:
        """Return every model object: base models, then jobs' models, then fine-tunes by name."""
        trained = [job.model_name for job in self._jobs_with_models()]
        names = dict.fromkeys([*self.bases, *trained, *self.lockfile().finetunes])
        return [model for name in names if (model := self._shown(name)) is not None]

    def describe(self, name: str) -> dict[str, JsonValue]:
        """Return one model object.

        Raises:
            ApiError: No model has that name.
        """
        shown = self._shown(name)
        if shown is None:
            raise unknown_model(name)
        return shown

    def is_wanted(self, backend_model: str, besides: str) -> bool:
        """Return whether a backend's model has another name besides that of one job."""
        return any(
            job.backend_model == backend_model and job.id != besides
            for job in self._jobs_with_models()
        ) or any(build.model_id == backend_model for build in self._builds())

    def check_deletable(self, name: str) -> JobRecord:
        """Return the job whose model may be deleted.

        Raises:
            ApiError: No job of this server trained a model of that name.
        """
        record = self.job_of(name)
        if record is not None:
            return record
        self.describe(name)
        message = f"{name} was not made by a job of this server, so it cannot be deleted here."
        raise invalid(message, "model", "model_not_deletable")

    def lockfile(self) -> Lockfile:
        """Return the repository's lockfile; read it again if it has changed."""
        root, state = self.project.root, self.project.state
        stamps = [_stamp(path) for path in (root / LOCKFILE, state / "journal.jsonl")]
        if stamps != self._lockfile[0]:
            self._lockfile = (stamps, read_lockfile(root, state))
        return self._lockfile[1]

    def _jobs_with_models(self) -> list[JobRecord]:
        return [job for job in self.jobs.records.newest_first() if job.public_model is not None]

    def _builds(self) -> list[Build]:
        entries = self.lockfile().finetunes.values()
        return [build for entry in entries for build in entry.builds.values()]

    def _recorded(self, name: str) -> Build | None:
        """Return a build by its fine-tune's name, then in production, or by its model ID."""
        entry = self.lockfile().finetunes.get(name)
        if entry is not None:
            return entry.builds.get(entry.production or "")
        return next((build for build in self._builds() if build.model_id == name), None)

    def _identify(self, written: str, revision: str | None) -> BaseModel:
        return self.backend.resolve_base_model(written, revision, self.project.root / FOLDER)

    def _shown(self, name: str) -> dict[str, JsonValue] | None:
        """Return a model object; None if no model has that name."""
        is_base = name in self.bases
        build = None if is_base else self._recorded(name)
        record = self.job_of(name if build is None else build.model_id)
        if not (is_base or record is not None or (build is not None and build.backend == LOCAL)):
            return None
        made_s = None
        if build is not None:
            made_s = _seconds(build.finished)
        elif record is not None:
            made_s = record.finished_s or record.created_s
        return {
            "id": name,
            "object": "model",
            "created": int(made_s or self._since_s),
            "owned_by": OWNER,
            "shutdown_date": None,
        }


def unknown_model(name: str) -> ApiError:
    """Return the error of a request for an unknown model."""
    message = f"The model '{name[:200]}' does not exist or is not served here."
    return ApiError(404, "model_not_found", message, "model")


def _seconds(written: str) -> float | None:
    """Return a time of the lockfile; None if a person's edit made it invalid."""
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
