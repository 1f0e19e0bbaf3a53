"""The `openai` backend: trains and completes at a server that speaks the OpenAI protocol.

The server is the truth: jobs are found by the fingerprint in their metadata, and the files below
the state folder only help. Importing this needs no SDK; the first call to the server imports it.
"""

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.atomic_files import write_atomic
from backends.contract.backend import Capabilities, Endpoint
from backends.contract.completions import Completion, Prompt, Sampling
from backends.contract.errors import BackendError, BaseModelMissing, ModelMissing
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.jobs import BaseModel, Estimate, Event, Job, Recipe, TrainRequest
from backends.contract.methods import METHODS
from backends.installation import install_command
from backends.openai import hyperparameters, prices
from backends.openai.api.endpoints import (
    EXTRA,
    base_url,
    is_loopback,
    is_official,
    settings,
    shown_url,
)
from backends.openai.api.error_messages import to_backend_error
from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import RetryPolicy, RetrySettings
from backends.openai.api.waiting import Waiting
from backends.openai.chat.completions import Base, ChatCompletions
from backends.openai.chat.remote_engine import RemoteEngine
from backends.openai.examples.inspector import open_inspector, open_tokens
from backends.openai.jobs.conversions import to_event, to_job
from backends.openai.jobs.job_listing import JobList, find_by_fingerprint, find_jobs_by_name
from backends.openai.jobs.job_lookup import SubmitContext
from backends.openai.jobs.job_poller import JobPoller
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.jobs.submit import submit, verify_job

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_POLL_S: Final = 10.0
"""Between two looks at jobs that take minutes to hours, at a service that counts requests."""
_OVER: Final = frozenset({400, 404})
"""What servers answer to cancelling a job that is over or gone."""

_ANSWERING: Final[dict[tuple[str, str], bool]] = {}
"""Base models that a server has or lacks, by name; kept for one process, doubts are not kept."""


class OpenAIBackend:
    """Implements `Backend`; see there for what each method promises."""

    name = "openai"

    def __init__(
        self,
        state: Path,
        endpoint: Endpoint,
        *,
        environment: Mapping[str, str] | None = None,
        retry_policy: RetryPolicy | None = None,
        retry_settings: RetrySettings | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._environment = os.environ if environment is None else environment
        self._state = state / "openai"
        self._given = retry_policy
        self._retry_settings = retry_settings or RetrySettings()

    def capabilities(self) -> Capabilities:
        """Say what this backend can do; a server on this machine keeps data here and is free."""
        near = is_loopback(self._url)
        return Capabilities(
            methods=hyperparameters.METHODS,
            remote=not near,
            paid=not near,
            poll_s=0.5 if near else _POLL_S,
            endpoints=True,
            tracking=frozenset({"wandb"}),
            measures_loss=False,
        )

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check hyperparameters and write out every default."""
        return hyperparameters.parse(method, raw, self._endpoint.kind)

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Name a spec's `base_model`, without network; the server knows what it is."""
        del folder
        if base_model.startswith(("./", "../", "/")) or not base_model.strip():
            raise BaseModelMissing(
                f"{base_model[:100]!r} is no model of a server",
                "Name one that the server trains, or write `backend: local-gpu`.",
            )
        if revision is not None:
            raise BaseModelMissing(
                "a server's models have no revision",
                "Remove `revision`, and name a dated snapshot in `base_model`.",
            )
        return BaseModel(
            reference=base_model,
            revision=None,
            identity=f"model:{base_model}",
            shutdown_date=self._prices.shutdown_date(base_model),
        )

    def recipes(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> Sequence[Recipe]:
        """Return the only recipe: how a service trains is up to the service."""
        del base_model, method
        return [Recipe(hyperparameters=hyperparameters)]

    def inspector(
        self, base_model: BaseModel, method: str, hyperparameters: Mapping[str, Json]
    ) -> ExampleInspector:
        """Return how the service reads examples."""
        return open_inspector(
            base_model.reference,
            method,
            hyperparameters,
            self._endpoint,
            self._prices,
            near=is_loopback(self._url),
        )

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Say what a job would cost; only OpenAI's own prices are known."""
        epochs = prices.epoch_range(request.hyperparameters.get("n_epochs"), examples)
        batch = request.hyperparameters.get("batch_size")
        steps = None
        if isinstance(batch, int) and epochs[0] == epochs[1]:
            steps = -(-examples // batch) * epochs[0]
        if is_loopback(self._url):
            return Estimate(usd=(0.0, 0.0), steps=steps)
        price = self._prices.price(request.base_model.reference)
        if price is None or not METHODS[request.method].learns_answers:
            return Estimate(steps=steps)
        if tokens is None:
            tokens = self._count(request, price.max_example_tokens)
        usd = prices.training_cost(price, tokens, epochs)
        return Estimate(usd=usd, steps=steps, basis=f"prices of {self._prices.as_of}")

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints, any attempt, oldest first."""
        with self._in_words():
            found = find_by_fingerprint(
                self._client, self._jobs, fingerprints, trusted=is_official(self._url)
            )
        answer = {}
        for fingerprint, jobs in found.items():
            made = [to_job(job, key=(fingerprint, attempt)) for attempt, job in jobs.values()]
            answer[fingerprint] = _oldest_first(made)
        return answer

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names, oldest first."""
        with self._in_words():
            found = find_jobs_by_name(
                self._client, self._jobs, names, trusted=is_official(self._url)
            )
        return {name: _oldest_first(map(to_job, jobs.values())) for name, jobs in found.items()}

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Make sure that a job which was found was made from just what is asked for."""
        with self._in_words():
            verify_job(self._context, request, job_id)

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the one that exists."""
        self._watch.forget()
        try:
            return submit(self._context, request)
        finally:
            self._watch.forget()

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Look at jobs; those that do not exist any more are absent from the answer."""
        with self._in_words():
            return self._watch.observe(job_ids)

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield the job's log so far, oldest first."""
        with self._in_words():
            newest_first = list(self._watch.events(job_id))
        yield from (to_event(event) for event in reversed(newest_first))

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; a finished job stays what it is."""
        self._watch.forget()
        with self._in_words():
            try:
                self._client.cancel_job(job_id)
            except Rejected as error:
                if error.status not in _OVER or not error.is_api_error:
                    raise
                self._require_over(job_id, error)
            except OutcomeUnknown as error:
                # 409 included: some servers answer with it for a job that has ended.
                self._require_over(job_id, error)

    def pause(self, job_id: str) -> None:
        """Ask a job to pause, where the server can."""
        self._watch.forget()
        with self._in_words():
            self._client.pause_job(job_id)

    def resume(self, job_id: str) -> None:
        """Let a paused job go on."""
        self._watch.forget()
        with self._in_words():
            self._client.resume_job(job_id)

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """Answer every prompt with every model."""
        named = self._names(base_model)
        return self._chats.complete(
            [named(model) for model in models],
            prompts,
            sampling,
            Base(name=named(None), family=base_model.reference),
        )

    def answers(self, base_model: BaseModel) -> bool:
        """Return whether the base model can be asked: no only where the server is sure of it."""
        model = base_model.reference
        if self._endpoint.kind == "azure":
            return model in self._endpoint.deployments
        key = (self._server, model)
        if key not in _ANSWERING:
            try:
                self._client.retrieve_model(model)
            except Rejected as error:
                if not error.is_missing:
                    return True
                _ANSWERING[key] = False
            except (OutcomeUnknown, BackendError):
                return True
            else:
                _ANSWERING[key] = True
        return _ANSWERING[key]

    def open_engine(self, base_model: BaseModel) -> "RemoteEngine":
        """Return an engine that asks the server; nothing is loaded here."""
        return RemoteEngine(chats=self._chats, base_model=base_model, named=self._names(base_model))

    def delete(self, model_id: str) -> None:
        """Delete a model. Only ever called when a person asked for just that."""
        with self._in_words():
            try:
                self._client.delete_model(model_id)
            except Rejected as error:
                if not error.is_missing:
                    raise
                raise ModelMissing(
                    f"{self._server} has no model {model_id}",
                    "Take another model: there is nothing to delete.",
                ) from error

    @cached_property
    def _client(self) -> "Client":
        try:
            # The one door to the SDK.
            door = importlib.import_module("backends.openai.api.client")
        except ImportError as error:
            message = f"the openai backend needs the package {error.name}"
            raise BackendError(message, install_command(EXTRA)) from error
        client: Client = door.Client(settings(self._endpoint, self._environment), self._waiting)
        return client

    @cached_property
    def _prices(self) -> prices.PriceTable:
        return prices.prices_at(self._endpoint.prices, official=is_official(self._url))

    @cached_property
    def _url(self) -> str:
        return base_url(self._endpoint, self._environment)

    @property
    def _server(self) -> str:
        return f"{self._endpoint.name} ({shown_url(self._url)})"

    @cached_property
    def _log(self) -> SubmissionLog:
        return SubmissionLog(self._state)

    @cached_property
    def _retry_policy(self) -> RetryPolicy:
        # A server here shows a job at once, nobody else uploads to it, and it counts no requests.
        near = RetryPolicy(lag_s=0.0, look_s=0.0, list_s=1.0)
        return self._given or (near if is_loopback(self._url) else RetryPolicy())

    @cached_property
    def _context(self) -> SubmitContext:
        return SubmitContext(
            client=self._client,
            server=self._server,
            kind=self._endpoint.kind,
            trusted=is_official(self._url),
            log=self._log,
            policy=self._retry_policy,
            waiting=self._waiting,
        )

    @cached_property
    def _waiting(self) -> Waiting:
        return Waiting()

    @cached_property
    def _jobs(self) -> JobList:
        return JobList(self._client, for_s=self._retry_policy.list_s)

    @cached_property
    def _watch(self) -> JobPoller:
        every_s = self._retry_policy.look_s
        return JobPoller(self._client, self._prices, self._log, self._jobs, every_s=every_s)

    @cached_property
    def _chats(self) -> ChatCompletions:
        kind, url = self._endpoint.kind, self._url
        strict = kind == "azure" or (kind == "openai" and not is_loopback(url))
        return ChatCompletions(
            self._client, self._server, kind, self._retry_settings, self._waiting, strict=strict
        )

    def _names(self, base_model: BaseModel) -> Callable[[str | None], str]:
        """Return a function from a model to its name at the server: at Azure, its deployment."""
        deployed = self._endpoint.deployments

        def named(model: str | None) -> str:
            name = base_model.reference if model is None else model
            return deployed.get(name, name)

        return named

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (Rejected, OutcomeUnknown) as error:
            raise to_backend_error(error, self._server) from error

    def _require_over(self, job_id: str, error: Rejected | OutcomeUnknown) -> None:
        """Make sure that a job which could not be cancelled does not run."""
        jobs = self._watch.observe([job_id])
        if job_id in jobs and jobs[job_id].state.is_open:
            raise error

    def _count(self, request: TrainRequest, most: int) -> int:
        """Count the training file's tokens, once for each file and model."""
        stat = request.train.stat()
        source = [str(request.train.absolute()), stat.st_size, stat.st_mtime_ns, most]
        model = request.base_model.reference
        name = hashlib.sha256(json.dumps([*source, model]).encode()).hexdigest()[:32]
        path = self._state / "tokens" / f"{name}.json"
        try:
            return int(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            tokens: int = open_tokens().count_file(request.train, model, most)
        write_atomic(path, f"{tokens}\n".encode())
        return tokens


def _oldest_first(jobs: Iterable[Job]) -> tuple[Job, ...]:
    return tuple(sorted(jobs, key=lambda job: (job.created_s, job.id)))


def create(state: Path, endpoint: Endpoint) -> OpenAIBackend:
    """Return the backend for one endpoint, which keeps its notes below a folder."""
    return OpenAIBackend(state, endpoint)
