"""Models by the names that clients use, and the endpoints below `/v1/models`.

Names are, in this order: base models of `ftctl.yaml`; fine-tunes in the lockfile; aliases in specs;
models trained for pull requests, as `hours@pr-12`; models in the lockfile, by model ID; models from jobs of
this server.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from anyio.to_thread import run_sync
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backends.contract.backend import Backend
from backends.contract.completions import Prompt
from backends.contract.errors import BackendError, ModelMissing
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel
from backends.registry import LOCAL
from controller.evaluate.rivals import Turns, with_prompt
from controller.lockfile.model import Build, BuildPrompt, Entry, Lockfile
from controller.lockfile.store import LOCKFILE, read_lockfile
from controller.project.project import Project
from controller.prompted.examples import find_shots
from controller.server.aliases import AliasTable, ServedAliases, stamp_of
from controller.server.api.errors import ApiError, invalid
from controller.server.canaries import Canaries
from controller.server.jobs.job_record import JobRecord
from controller.server.jobs.job_store import JobStore
from controller.spec.load import FOLDER
from controller.spec.settings import FILE, ServeSettings, public_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Prompt of a base model besides a client's messages, where nothing was trained."""

    system: str | None = None
    """System prompt instead of the client's."""
    shots: Sequence[Turns] = ()
    """Examples before the client's question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTarget:
    """The model that answers under a name."""

    base: BaseModel
    model: str | None
    """The backend's model ID; None for the base model itself."""
    public_id: str
    """Name of the model in answers. Where the client's name stands for a fine-tune, it is the model
    ID of the build that answers, as OpenAI answers with the snapshot that an alias stands for."""
    shown: Shown = Shown()

    def asked(self, prompt: Prompt) -> Prompt:
        """Return the prompt that the model gets for a client's."""
        return with_prompt(prompt, self.shown.system, self.shown.shots)

    def replaced(self, messages: Sequence[Mapping[str, Json]]) -> list[str]:
        """Return the names of a client's messages that have no effect: its system prompt."""
        own = self.shown.system is not None and messages
        is_system = own and messages[0].get("role") in {"system", "developer"}
        return ["messages[0]"] if is_system else []


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    base: Callable[[], BaseModel]
    base_id: str
    """Public ID of the base model."""
    model: str | None = None
    made_s: float
    stands_for: str | None = None
    """Public ID of the build that answers to a fine-tune's name or alias; None for other names."""
    alias_of: str | None = None
    shown: Callable[[], Shown] = Shown
    """Reads what the model sees besides a client's messages."""


@dataclass(slots=True)
class Catalog:
    """All names. Its methods read files; call them from a thread."""

    project: Project
    backend: Backend
    settings: ServeSettings
    """The base models as `ftctl.yaml` has them, and the ends of models."""
    jobs: JobStore
    _since_s: float = field(default_factory=time.time)
    _lockfile: tuple[object, Lockfile] = field(default_factory=lambda: (None, Lockfile()))
    """The lockfile, with the stamps of the files that it was read from."""
    _aliases: ServedAliases = field(init=False)
    _canaries: Canaries = field(init=False)

    def __post_init__(self) -> None:
        """Read aliases and pull requests from the same repository."""
        self._aliases = ServedAliases(self.project)
        self._canaries = Canaries(self.project.root)

    @property
    def bases(self) -> dict[str, str]:
        """The base models as `ftctl.yaml` has them, by public ID, in its order."""
        return {public_id(written): written for written in self.settings.base_models}

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
            BackendError: Its base model, or an example that it shows, is not on this machine.
        """
        known = self._known(name)
        if known is None:
            raise self._not_served(name)
        return ModelTarget(
            base=known.base(),
            model=known.model,
            public_id=known.stands_for or name,
            shown=known.shown(),
        )

    def job_of(self, name: str) -> JobRecord | None:
        """Return the job that trained a model; None if no job here did, or the model was deleted."""
        return next((job for job in self._jobs_with_models() if job.public_model == name), None)

    def index(self) -> list[dict[str, JsonValue]]:
        """Return every model object: bases, jobs' models, fine-tunes by name, aliases, canaries."""
        trained = [job.model_name for job in self._jobs_with_models()]
        table = self._alias_table()
        named = [*self.lockfile().finetunes, *table.finetunes, *self._canaries.builds()]
        names = [*self.bases, *trained, *named]
        known = {name: self._known(name, table) for name in names}
        return [self._model_object(name, one) for name, one in known.items() if one is not None]

    def describe(self, name: str) -> dict[str, JsonValue]:
        """Return one model object.

        Raises:
            ApiError: No model has that name.
        """
        known = self._known(name)
        if known is None:
            raise self._not_served(name)
        return self._model_object(name, known)

    def unknown_ends(self) -> list[str]:
        """Return the names in `serve.shutdown_dates` that no model has."""
        dated = self.settings.shutdown_dates
        table = self._alias_table() if dated else None
        return [name for name in dated if self._known(name, table) is None]

    def is_wanted(self, backend_model: str, besides: str) -> bool:
        """Return whether a backend's model has another name besides that of one job."""
        return any(
            job.backend_model == backend_model and job.id != besides
            for job in self._jobs_with_models()
        ) or any(build.model_id == backend_model for build in self._builds())

    def lockfile(self) -> Lockfile:
        """Return the repository's lockfile; read it again if it has changed."""
        root, state = self.project.root, self.project.state
        stamps = [stamp_of(path) for path in (root / LOCKFILE, state / "journal.jsonl")]
        if stamps != self._lockfile[0]:
            self._lockfile = (stamps, read_lockfile(root, state))
        return self._lockfile[1]

    def _jobs_with_models(self) -> list[JobRecord]:
        return [job for job in self.jobs.records.newest_first() if job.public_model is not None]

    def _builds(self) -> list[Build]:
        entries = self.lockfile().finetunes.values()
        recorded = [build for entry in entries for build in entry.builds.values()]
        return [*recorded, *self._canaries.builds().values()]

    def _alias_table(self) -> AliasTable:
        return self._aliases.table(self.lockfile(), self.bases.keys())

    def _finetune(self, name: str, table: AliasTable | None = None) -> str | None:
        """Return the fine-tune that a name, or an alias of the table, stands for."""
        if name in self.lockfile().finetunes:
            return name
        return (table or self._alias_table()).finetunes.get(name)

    def _production(self, finetune: str) -> Build | None:
        entry = self.lockfile().finetunes.get(finetune, Entry())
        return entry.builds.get(entry.production or "")

    def _not_served(self, name: str) -> ApiError:
        """Return the error for a name that no model here answers to."""
        finetune = self._finetune(name)
        build = None if finetune is None else self._production(finetune)
        clash = self._alias_table().clashes.get(name) if finetune is None else None
        if clash is not None:
            message = f"'{name}' stands for no model: as an alias, it {clash.message}."
        elif finetune is None or (build is None and finetune == name):
            return _unknown(name)
        elif build is None:
            message = f"{name} is an alias of {finetune}, which has no model in production."
        else:
            alias = "" if finetune == name else f"an alias of {finetune}, which is "
            place = f"the backend {build.backend}, which this server does not serve"
            message = f"{name} is {alias}the model {build.model_id} of {place}."
        return ApiError(404, "model_not_served", message, "model")

    def _known(self, name: str, table: AliasTable | None = None) -> _Known | None:
        if name in self.bases:
            return _Known(base=partial(self.base, name), base_id=name, made_s=self._since_s)
        finetune = self._finetune(name, table)
        if finetune is None and (canary := self._canaries.builds().get(name)) is not None:
            known = self._answering(canary.model_id, canary)
            return None if known is None else replace(known, stands_for=canary.model_id)
        if finetune is None:
            build = next((build for build in self._builds() if build.model_id == name), None)
            return self._answering(name, build)
        build = self._production(finetune)
        known = None if build is None else self._answering(build.model_id, build)
        if known is None or build is None:
            return None
        alias_of = None if finetune == name else finetune
        return replace(known, stands_for=build.model_id, alias_of=alias_of)

    def _answering(self, name: str, build: Build | None) -> _Known | None:
        """Return what answers to a recorded build, or to the name of a job's model."""
        made_s = None
        if build is not None:
            with suppress(ValueError):  # a person may have edited the lockfile
                made_s = datetime.fromisoformat(build.finished).timestamp()
        if build is not None and build.backend == LOCAL:
            base = partial(self._identify, build.base_model, build.revision)
            known = _Known(
                base=base,
                base_id=public_id(build.base_model),
                model=build.model_id,
                made_s=made_s or self._since_s,
            )
            if build.prompt is None:
                return known
            return replace(known, model=None, shown=partial(self._shown, build, build.prompt))
        job = self.job_of(name)
        if job is None:
            return None
        made_s = made_s or job.finished_s or job.created_s
        base = partial(self.base, job.model)
        return _Known(base=base, base_id=job.model, model=job.backend_model, made_s=made_s)

    def _model_object(self, name: str, known: _Known) -> dict[str, JsonValue]:
        named = [name, known.stands_for or name, known.base_id]
        dates = [day for one in named if (day := self.settings.shutdown_dates.get(one))]
        value: dict[str, JsonValue] = {
            "id": name,
            "object": "model",
            "created": int(known.made_s),
            "owned_by": "ftctl",
            "shutdown_date": dates[0] if dates else None,
        }
        stands_for = {"alias_of": known.alias_of, "model_id": known.stands_for}
        return value | {key: text for key, text in stands_for.items() if text is not None}

    def _shown(self, build: Build, prompt: BuildPrompt) -> Shown:
        shots = find_shots(build, state=self.project.state)
        return Shown(system=prompt.system, shots=shots)

    def _identify(self, written: str, revision: str | None) -> BaseModel:
        return self.backend.resolve_base_model(written, revision, self.project.root / FOLDER)


@dataclass(frozen=True, slots=True)
class ModelRoutes:
    """The endpoints for models."""

    catalog: Catalog

    def routes(self) -> list[Route]:
        """Return the routes. A model's ID has colons, and a hub model's a slash."""
        return [
            Route("/models", self.index, methods=["GET"]),
            Route("/models/{model:path}", self.retrieve, methods=["GET"]),
            Route("/models/{model:path}", self.delete, methods=["DELETE"]),
        ]

    async def index(self, request: Request) -> Response:
        """List models, base models first."""
        del request
        return JSONResponse({"object": "list", "data": await run_sync(self.catalog.index)})

    async def retrieve(self, request: Request) -> Response:
        """Describe a model."""
        name = request.path_params["model"]
        return JSONResponse(await run_sync(self.catalog.describe, name))

    async def delete(self, request: Request) -> Response:
        """Delete a model of a job of this server, and its weights unless another name shares them."""
        name = request.path_params["model"]
        record = await run_sync(self.catalog.job_of, name)
        if record is None:
            await run_sync(self.catalog.describe, name)
            message = f"No job of this server trained {name}, so it cannot be deleted here."
            raise invalid(message, "model", "model_not_deletable")
        deleted = partial(replace, model_deleted=True)
        await self.catalog.jobs.change(record.id, deleted, "The model was deleted", even_ended=True)
        model = record.backend_model
        if model is not None and not await run_sync(self.catalog.is_wanted, model, record.id):
            with suppress(ModelMissing):  # somebody deleted it on the machine
                await run_sync(self.catalog.backend.delete, model)
        return JSONResponse({"id": name, "object": "model", "deleted": True})


def _unknown(name: str) -> ApiError:
    message = f"The model '{name[:200]}' does not exist or is not served here."
    return ApiError(404, "model_not_found", message, "model")
