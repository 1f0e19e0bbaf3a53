"""Models by the names that clients use.

Names are, in this order: base models of `ftctl.yaml`; models from jobs of this server; models in
the lockfile, by fine-tune or by model ID.
"""

import os
import time
from dataclasses import dataclass
from datetime import datetime

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
from controller.spec.settings import FILE, Settings, public_id

OWNER = "ftctl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTarget:
    """The model that answers under a name."""

    base: BaseModel
    model: str | None
    """The backend's model ID; None for the base model itself."""


class Catalog:
    """All names. Its methods read files; call them from a thread."""

    def __init__(
        self, project: Project, backend: Backend, settings: Settings, jobs: JobStore
    ) -> None:
        self._project = project
        self._backend = backend
        self._written = {public_id(written): written for written in settings.serve.base_models}
        self._jobs = jobs
        self._since = int(time.time())
        self._lockfile: tuple[object, Lockfile] = (None, Lockfile())

    @property
    def base_names(self) -> list[str]:
        """The base models' public IDs, in the order of `ftctl.yaml`."""
        return list(self._written)

    def base(self, name: str, revision: str | None = None) -> BaseModel:
        """Return a base model by its public ID.

        Raises:
            BackendError: The server does not offer it any more, or it is not on this machine.
        """
        if name not in self._written:
            raise BackendError(
                f"the base model {name} is not offered by this server",
                f"Name it in {FILE} under serve.base_models, and start the server again.",
            )
        return self._identify(self._written[name], revision)

    def resolve(self, name: str) -> ModelTarget:
        """Return the model that answers under a name.

        Raises:
            ApiError: No model has that name.
            BackendError: Its base model is not on this machine.
        """
        if name in self._written:
            return ModelTarget(base=self.base(name), model=None)
        build = self._recorded(name)
        if build is not None and build.backend == LOCAL:
            base = self._identify(build.base_model, build.revision)
            return ModelTarget(base=base, model=build.model_id)
        record = self.job_of(name if build is None else build.model_id)
        if record is not None:
            return ModelTarget(base=self.base(record.model), model=record.backend_model)
        if build is None or build.model_id == name:
            raise missing(name)
        message = (
            f"{name} is {build.model_id} of the backend {build.backend}, and not on this server."
        )
        raise ApiError(404, "model_not_served", message, "model")

    def job_of(self, name: str) -> JobRecord | None:
        """Return the job that trained a model; None if no job here did, or the model was deleted."""
        if not name.startswith("ft:"):
            return None
        for record in self._jobs.records.newest_first():
            if record.public_model == name:
                return record
        return None

    def index(self) -> list[dict[str, JsonValue]]:
        """Return every model object: base models, then jobs' models, then fine-tunes by name."""
        made = [one for one in self._jobs.records.newest_first() if one.public_model]
        names = [*self._written, *(one.model_name for one in made), *self.lockfile().finetunes]
        shown = {name: self._shown(name) for name in names}
        return [one for one in shown.values() if one is not None]

    def describe(self, name: str) -> dict[str, JsonValue]:
        """Return one model object.

        Raises:
            ApiError: There is none.
        """
        shown = self._shown(name)
        if shown is None:
            raise missing(name)
        return shown

    def is_wanted(self, backend_model: str, besides: str) -> bool:
        """Return whether a backend's model has another name besides that of one job."""
        jobs = self._jobs.records.newest_first()
        if any(
            one.backend_model == backend_model and one.public_model and one.id != besides
            for one in jobs
        ):
            return True
        return any(
            build.model_id == backend_model
            for entry in self.lockfile().finetunes.values()
            for build in entry.builds.values()
        )

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
        root, state = self._project.root, self._project.state
        stamps = tuple(_stamp(path) for path in (root / LOCKFILE, state / "journal.jsonl"))
        if stamps != self._lockfile[0]:
            self._lockfile = (stamps, read_lockfile(root, state))
        return self._lockfile[1]

    def _recorded(self, name: str) -> Build | None:
        """Return a build by its fine-tune's name, then in production, or by its model ID."""
        finetunes = self.lockfile().finetunes
        if name in finetunes:
            return finetunes[name].builds.get(finetunes[name].production or "")
        for entry in finetunes.values():
            for build in entry.builds.values():
                if build.model_id == name:
                    return build
        return None

    def _identify(self, written: str, revision: str | None) -> BaseModel:
        return self._backend.resolve_base_model(written, revision, self._project.root / FOLDER)

    def _shown(self, name: str) -> dict[str, JsonValue] | None:
        """Return a model object; None if no model has that name."""
        build = None if name in self._written else self._recorded(name)
        record = self.job_of(name if build is None else build.model_id)
        is_here = name in self._written or (build is not None and build.backend == LOCAL)
        if record is None and not is_here:
            return None
        if build is not None:
            made_s = _seconds(build.finished) or self._since
        else:
            made_s = self._since if record is None else record.finished_s or record.created_s
        return {
            "id": name,
            "object": "model",
            "created": int(made_s),
            "owned_by": OWNER,
            "shutdown_date": None,
        }


def missing(name: str) -> ApiError:
    """Return the error of a request for an unknown model."""
    message = f"The model '{name[:200]}' does not exist or is not served here."
    return ApiError(404, "model_not_found", message, "model")


def _seconds(written: str) -> float | None:
    """Return a time of the lockfile; None if a person's edit made it invalid."""
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        return None


def _stamp(path: "os.PathLike[str]") -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - the path may not exist
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
