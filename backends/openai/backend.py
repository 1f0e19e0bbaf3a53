"""The `openai` backend: trains and completes at a server that speaks the OpenAI protocol.

The server is the truth: jobs are found by the fingerprint in their metadata, and the files below
the state folder only help. Importing this needs no SDK; the first call to the server imports it.
"""

import os
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from backends.contract.backend import Endpoint
from backends.contract.capabilities import Capabilities
from backends.contract.completions import Completed, Prompt, Sampling
from backends.contract.errors import BaseModelMissing
from backends.contract.inspector import ExampleInspector, Json
from backends.contract.inventory import HostedFile, HostedModel
from backends.contract.jobs import (
    BaseModel,
    CurvePoint,
    Estimate,
    Event,
    Job,
    Recipe,
    TrainRequest,
)
from backends.contract.recording import AnswersEstimate, StoredCompletion
from backends.contract.shutdowns import ShutdownNotice
from backends.openai import hyperparameters, prices, recording, shutdowns
from backends.openai.api.endpoints import (
    base_url,
    is_loopback,
    is_official,
    settings,
    shown_url,
)
from backends.openai.api.error_messages import to_backend_error
from backends.openai.api.opening import open_client
from backends.openai.api.protocol import OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import NEAR, RetryPolicy, RetrySettings
from backends.openai.api.waiting import Waiting
from backends.openai.chat.base_models import may_answer
from backends.openai.chat.completions import ChatCompletions, RemoteEngine
from backends.openai.deployments import DeployingBackend, Deployments
from backends.openai.estimates import estimate_job
from backends.openai.examples.inspector import open_inspector
from backends.openai.inventory import delete_model, download, read_inventory
from backends.openai.jobs.cancellation import cancel_job
from backends.openai.jobs.conversions import to_event, to_job
from backends.openai.jobs.curves import read_curve
from backends.openai.jobs.job_listing import JobList, find_by_fingerprint, find_jobs_by_name
from backends.openai.jobs.job_poller import JobPoller
from backends.openai.jobs.result_models import ResultModels
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.jobs.submit import submit, verify_job
from backends.openai.jobs.submit_context import SubmitContext
from backends.openai.profiles.profile import Profile, profile_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_POLL_S: Final = 10.0
"""Seconds between two requests about jobs that take minutes to hours."""


# No `repr`: the environment holds keys.
@dataclass(eq=False, repr=False)
class OpenAIBackend(DeployingBackend):
    """Implements `Backend`."""

    state: Path
    endpoint: Endpoint
    _: KW_ONLY
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)
    retry_policy: RetryPolicy | None = None
    retry_settings: RetrySettings = field(default_factory=RetrySettings)
    name: ClassVar[str] = "openai"

    def __post_init__(self) -> None:
        self._state = self.state / "openai"
        self._log = SubmissionLog(self._state)
        self._waiting = Waiting()
        self._ends: dict[str, ShutdownNotice] = {}

    def capabilities(self) -> Capabilities:
        """Return what the server can do; a server on this machine keeps data here and is free."""
        near = is_loopback(self._url)
        return Capabilities(
            methods=self._profile.methods,
            remote=not near,
            paid=not near,
            poll_s=0.5 if near else _POLL_S,
            endpoints=True,
            tracking=frozenset({"wandb"} if self._profile.tracking else ()),
            starts_from=frozenset({"model"} if self.endpoint.kind == "openai" else ()),
            measures_loss=False,
        )

    def parse_hyperparameters(self, method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
        """Check hyperparameters and write out every default."""
        return hyperparameters.parse(method, raw, self.endpoint.kind)

    def common_names(self) -> Mapping[str, str]:
        """Return the common names of hyperparameters."""
        return hyperparameters.common_names(self.endpoint.kind)

    def resolve_base_model(self, base_model: str, revision: str | None, folder: Path) -> BaseModel:
        """Return a spec's `base_model` by its name, without network."""
        del folder
        if base_model.startswith(("./", "../", "/")) or not base_model.strip():
            raise BaseModelMissing(
                f"{base_model[:100]!r} is not a model of a server",
                "Name a model that the server trains, or write `backend: local-gpu`.",
            )
        if revision is not None:
            remedy = "Remove `revision`, and name a dated snapshot in `base_model`."
            raise BaseModelMissing("a server's models have no revision", remedy)
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
            self.endpoint,
            self._prices,
            near=is_loopback(self._url),
        )

    def estimate(self, request: TrainRequest, examples: int, tokens: int | None) -> Estimate:
        """Return steps and price of a job; only OpenAI's own prices are known."""
        prices = None if is_loopback(self._url) else self._prices
        cache = self._state / "tokens"
        return estimate_job(request, examples, tokens, prices=prices, cache=cache)

    def find_jobs(self, fingerprints: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for these fingerprints, any attempt, oldest first."""
        with self._as_backend_errors():
            found = find_by_fingerprint(
                self._client, self._jobs, fingerprints, trusted=is_official(self._url)
            )
        answer = {}
        for fingerprint, jobs in found.items():
            made = [
                to_job(self._results.named(job), key=(fingerprint, attempt))
                for attempt, job in jobs.values()
            ]
            answer[fingerprint] = _oldest_first(made)
        return answer

    def find_jobs_by_name(self, names: Iterable[str]) -> dict[str, tuple[Job, ...]]:
        """Look up every job made for fine-tunes of these names, oldest first."""
        with self._as_backend_errors():
            found = find_jobs_by_name(
                self._client, self._jobs, names, trusted=is_official(self._url)
            )
        return {
            name: _oldest_first(to_job(self._results.named(job)) for job in jobs.values())
            for name, jobs in found.items()
        }

    def verify_job(self, request: TrainRequest, job_id: str) -> None:
        """Refuse a found job that was made from something else than its request."""
        with self._as_backend_errors():
            verify_job(self._context, request, job_id)

    def submit(self, request: TrainRequest) -> Job:
        """Start the job of this fingerprint and attempt, or return the existing job."""
        self._poller.forget()
        try:
            return submit(self._context, request)
        finally:
            self._poller.forget()

    def observe(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Return jobs by ID; jobs that do not exist any more are absent."""
        with self._as_backend_errors():
            return self._poller.observe(job_ids)

    def events(self, job_id: str) -> Iterator[Event]:
        """Yield the job's log so far, oldest first."""
        with self._as_backend_errors():
            newest_first = list(self._poller.events(job_id))
        yield from (to_event(event) for event in reversed(newest_first))

    def curve(self, job_id: str) -> Iterator[CurvePoint]:
        """Yield the job's losses so far, where the server reports them."""
        with self._as_backend_errors():
            found = read_curve(self._client, job_id)
        yield from found

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop; a finished job stays as it is."""
        self._poller.forget()
        with self._as_backend_errors():
            cancel_job(self._client, self._poller, job_id)

    def pause(self, job_id: str) -> None:
        """Ask a job to pause, where the server can."""
        self._poller.forget()
        with self._as_backend_errors():
            self._client.pause_job(job_id)

    def resume(self, job_id: str) -> None:
        """Let a paused job continue."""
        self._poller.forget()
        with self._as_backend_errors():
            self._client.resume_job(job_id)

    def complete(
        self,
        base_model: BaseModel,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
        skip: Container[tuple[int, int]] = (),
    ) -> Generator[Completed, None, None]:
        """Yield the answer of every model to every prompt when it ends."""
        return self._chats.complete(base_model.reference, models, prompts, sampling, skip)

    def answers(self, base_model: BaseModel) -> bool:
        """Return False only if the server is sure that the base model cannot answer."""
        model = base_model.reference
        if self._profile.deploy is not None and self._profile.deploy.base_models:
            return model in self.endpoint.deployments
        return may_answer(lambda: self._client, self._server, model)

    def announced_shutdowns(self, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
        """Return what the server announces about its models; each model is asked for once."""
        missing = {model: base for model, base in models.items() if model not in self._ends}
        if missing:
            complete = self.endpoint.kind == "openai"
            with self._as_backend_errors():
                self._ends |= shutdowns.announced(
                    self._client, missing, self._server, complete=complete
                )
        return {model: self._ends[model] for model in models if model in self._ends}

    def shipped_shutdowns(self, models: Mapping[str, str]) -> dict[str, ShutdownNotice]:
        """Return what the shipped table announces; it holds at OpenAI's own server only."""
        return shutdowns.shipped(self._prices, models)

    def inventory(self) -> Iterator[HostedModel]:
        """Yield every job and trained model that the server shows."""
        with self._as_backend_errors():
            yield from read_inventory(
                self._client, self._results, self._profile, server=self._server
            )

    def download(self, file: HostedFile, to: Path) -> None:
        """Write a file of the server to a path, as a whole or not at all."""
        with self._as_backend_errors():
            download(self._client, file, to, self._server)

    def estimate_answers(
        self,
        base_model: BaseModel,
        model: str | None,
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> AnswersEstimate | None:
        """Return the tokens and the price of a model's answers."""
        price = self._prices.answer_price(model or base_model.reference, base_model.reference)
        return recording.estimate_answers(base_model.reference, prompts, sampling, price=price)

    def stored_completions(
        self, model: str | None, metadata: Mapping[str, str]
    ) -> Iterator[StoredCompletion]:
        """Yield the completions that the server has stored, newest first."""
        with self._as_backend_errors():
            yield from recording.stored_completions(self._client, self._server, model, metadata)

    def stored_messages(self, completion_id: str) -> tuple[Mapping[str, Json], ...]:
        """Return the messages before the answer of a stored completion."""
        with self._as_backend_errors():
            return recording.stored_messages(self._client, completion_id)

    def open_engine(self, base_model: BaseModel) -> RemoteEngine:
        """Return an engine that passes prompts to the server."""
        return RemoteEngine(chats=self._chats, base=base_model.reference)

    def delete(self, model_id: str) -> None:
        """Delete a model."""
        with self._as_backend_errors():
            delete_model(self._client, model_id, self._server)

    @cached_property
    def _client(self) -> "Client":
        return open_client(settings(self.endpoint, self.environment), self._waiting)

    @cached_property
    def _deployments(self) -> Deployments:
        return Deployments(
            endpoint=self.endpoint,
            environment=self.environment,
            server=self._server,
            folder=self._state / "deployments",
            policy=self._retry_policy,
            waiting=self._waiting,
        )

    @cached_property
    def _prices(self) -> prices.PriceTable:
        return prices.prices_at(
            self.endpoint.prices, self.endpoint.answer_prices, official=is_official(self._url)
        )

    @cached_property
    def _profile(self) -> Profile:
        return profile_of(self.endpoint.kind)

    @cached_property
    def _results(self) -> ResultModels:
        return ResultModels(client=self._client, result=self._profile.result)

    @cached_property
    def _url(self) -> str:
        return base_url(self.endpoint, self.environment)

    @property
    def _server(self) -> str:
        return f"{self.endpoint.name} ({shown_url(self._url)})"

    @cached_property
    def _retry_policy(self) -> RetryPolicy:
        return self.retry_policy or (NEAR if is_loopback(self._url) else RetryPolicy())

    @cached_property
    def _context(self) -> SubmitContext:
        return SubmitContext(
            client=self._client,
            server=self._server,
            kind=self.endpoint.kind,
            trusted=is_official(self._url),
            log=self._log,
            policy=self._retry_policy,
            waiting=self._waiting,
        )

    @cached_property
    def _jobs(self) -> JobList:
        return JobList(self._client, for_s=self._retry_policy.list_s)

    @cached_property
    def _poller(self) -> JobPoller:
        return JobPoller(
            client=self._client,
            prices=self._prices,
            notes=self._log,
            jobs=self._jobs,
            results=self._results,
            every_s=self._retry_policy.look_s,
        )

    @cached_property
    def _chats(self) -> ChatCompletions:
        near = is_loopback(self._url)
        return ChatCompletions(
            client=self._client,
            server=self._server,
            endpoint=self.endpoint,
            name_for=self._deployments.name_for,
            settings=self.retry_settings,
            waiting=self._waiting,
            strict=self._profile.strict_chat in ({"always"} if near else {"always", "far"}),
        )

    @contextmanager
    def _as_backend_errors(self) -> Iterator[None]:
        try:
            yield
        except (Rejected, OutcomeUnknown) as error:
            raise to_backend_error(error, self._server) from error


def _oldest_first(jobs: Iterable[Job]) -> tuple[Job, ...]:
    return tuple(sorted(jobs, key=lambda job: (job.created_s, job.id)))


def create(state: Path, endpoint: Endpoint) -> OpenAIBackend:
    """Return the backend for one endpoint; it keeps its log below a folder."""
    return OpenAIBackend(state, endpoint)
