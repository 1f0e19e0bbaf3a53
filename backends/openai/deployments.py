"""Deployments of trained models at one service: found by name, made at most once.

Look up → write the intent → create, sent once → look up until it shows → wait until it answers. An
answer that says neither yes nor no is never followed by a second call that could make a second
deployment: only a call that names the deployment in its address is repeated. A later run looks
until the window since the last call is over.
"""

import hashlib
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from backends.atomic_files import write_atomic
from backends.contract.backend import Endpoint
from backends.contract.deployments import Deployment, DeploymentState, DeploySettings, Hosting
from backends.contract.errors import BackendError
from backends.openai.api.endpoints import deployment_settings, require_deployable
from backends.openai.api.error_messages import to_backend_error
from backends.openai.api.opening import open_client
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected, clean, text_of
from backends.openai.api.resource_bodies import at_place, filled
from backends.openai.api.retry_policy import LONGEST_POLL_S, ONCE, RetryPolicy
from backends.openai.api.waiting import Waiting
from backends.openai.profiles.profile import DeployApi, profile_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_TAIL: Final = 30
_DIGITS: Final = 8
_PLACES: Final = re.compile(r"\{([A-Za-z_.]+)\}")
_STARTED: Final = frozenset({DeploymentState.STARTING, DeploymentState.READY})
_ENDED: Final = frozenset({"deleted"})
"""States of what the service lists and does not have any more."""


@dataclass(eq=False, kw_only=True)
class Deployments:
    """Deployments of one endpoint. Without `deploy` in its settings, it makes none."""

    endpoint: Endpoint
    server: str
    """The endpoint's name and address, for people."""
    folder: Path
    """Folder of intents, below the state folder."""
    environment: Mapping[str, str]
    policy: RetryPolicy
    waiting: Waiting
    _ready: dict[str, str] = field(default_factory=dict)
    _looked_for: set[str] = field(default_factory=set)
    _client: "Client | None" = None
    _url: str = ""

    def hosting(self) -> Hosting | None:
        """Return the price of a deployment; None if this endpoint deploys nothing."""
        api, own = self._api, self.endpoint.deploy
        if api is None or own is None:
            return None
        usd = own.usd_per_hour
        if usd is None:
            is_free = (own.sku or api.sku).lower() in api.free_skus
            usd = 0.0 if is_free else api.usd_per_hour
        return Hosting(usd_per_hour=usd, note=api.note)

    def of(self, models: Iterable[str]) -> dict[str, Deployment]:
        """Return the deployments of models, by model ID; see `Backend.deployments`."""
        api, found = self._api, {}
        if api is None:
            return {}
        for model in models:
            if model in self.endpoint.deployments:
                name = self.endpoint.deployments[model]
                found[model] = Deployment(name=name, state=DeploymentState.READY, is_written=True)
                continue
            try:
                found[model] = self._find(api, model)
            except (BackendError, Rejected, OutcomeUnknown) as error:
                why = error.message if isinstance(error, BackendError) else str(error)
                found[model] = Deployment(
                    name=name_of(model), state=DeploymentState.UNKNOWN, detail=why
                )
        return found

    def deploy(self, model: str, base_model: str) -> Deployment:
        """Deploy a model, or find its deployment, and wait until it answers.

        Raises:
            BackendError: The service refuses, or the deployment is not ready in time.
        """
        api = self._api
        if api is None:
            raise BackendError(f"{self.server} deploys nothing")
        if model in self.endpoint.deployments:
            return self.of([model])[model]
        try:
            found = self._find(api, model)
            if found.state is DeploymentState.MISSING and (sent_s := self._sent_s(model)):
                # An earlier run sent a call and did not live to see the answer.
                found = self._find_until(api, model, sent_s + self.policy.window_s)
            if found.state is DeploymentState.MISSING:
                found = self._create(api, model, base_model)
            self._remove_intent(model)
            return self._when_ready(api, model, found)
        except (Rejected, OutcomeUnknown) as error:
            raise to_backend_error(error, self.server) from error

    def name_for(self, model: str) -> str:
        """Return the name that a trained model answers to: its deployment, else its ID."""
        api = self._api
        if model in self.endpoint.deployments:
            return self.endpoint.deployments[model]
        if api is None:
            return model
        if api.create == "PUT":
            return name_of(model)
        if model not in self._ready and model not in self._looked_for:
            self._looked_for.add(model)
            with suppress(BackendError, Rejected, OutcomeUnknown):
                self._find(api, model)
        return self._ready.get(model, model)

    @property
    def _api(self) -> DeployApi | None:
        deploy = profile_of(self.endpoint.kind).deploy
        return None if deploy is None or self.endpoint.deploy is None else deploy.api

    def _opened(self) -> "Client":
        if self._client is None:
            settings = deployment_settings(self.endpoint, self.environment)
            self._client, self._url = open_client(settings, self.waiting), settings.base_url
        return self._client

    def _find(self, api: DeployApi, model: str) -> Deployment:
        """Return the deployment of a model, as the service has it.

        Raises:
            Rejected: The service does not show its deployments.
            OutcomeUnknown: The service gave no usable answer.
        """
        client = self._opened()
        missing = Deployment(name=name_of(model), state=DeploymentState.MISSING)
        if api.create == "POST":
            items = client.request_items(self._url, api.query)
            ours = [
                item for item in items if _source(api, item) == model and not _is_over(api, item)
            ]
            return self._as_deployment(api, model, ours[0]) if ours else missing
        try:
            answer = client.request("GET", f"{self._url}/{missing.name}", query=api.query)
        except Rejected as error:
            if not error.is_missing:
                raise
            return missing
        return self._as_deployment(api, model, answer)

    def _as_deployment(self, api: DeployApi, model: str, answer: Body) -> Deployment:
        name = text_of(at_place(answer, api.name)) or name_of(model)
        other = _source(api, answer)
        if other and other != model:
            state, detail = DeploymentState.FAILED, f"{name} answers for another model, {other}"
            return Deployment(name=name, state=state, detail=clean(detail))
        word = text_of(at_place(answer, api.status)).lower()
        state = DeploymentState.STARTING
        if word in api.ready:
            state = DeploymentState.READY
            self._ready[model] = name
        elif word in api.failed:
            state = DeploymentState.FAILED
        detail = (
            clean(at_place(answer, api.detail) or "") if state is DeploymentState.FAILED else ""
        )
        return Deployment(name=name, state=state, detail=detail)

    def _create(
        self, api: DeployApi, model: str, base_model: str, *, again: bool = False
    ) -> Deployment:
        """Make the deployment; find it where the answer is lost.

        Args:
            api: Calls of the service.
            model: The model.
            base_model: Reference of its base model.
            again: True for the second call, which has the same address.

        Raises:
            Rejected: The service refused.
            OutcomeUnknown: The call did not reach the service.
            BackendError: It is not known whether the deployment was made.
        """
        name = name_of(model)
        own = self.endpoint.deploy or DeploySettings()
        values = asdict(own) | {"sku": own.sku or api.sku, "name": name}
        body = filled(api.body, values | {"model": model, "base_model": base_model})
        url = f"{self._url}/{name}" if api.create == "PUT" else self._url
        client = self._opened()
        self._write_intent(model)
        try:
            answer = client.repeat(
                lambda: client.request(api.create, url, query=api.query, body=body, limits=ONCE),
                self.policy.of_uploads,
                lambda error: f"{self.server} to take the deployment: {error}",
                may_pass=lambda error: isinstance(error, Rejected) and error.must_slow_down,
            )
        except Rejected:
            self._remove_intent(model)
            raise
        except OutcomeUnknown as error:
            if not error.sent:
                self._remove_intent(model)
                raise
            found = self._find_until(api, model, time.time() + self.policy.window_s)
            if found.state is not DeploymentState.MISSING:
                return found
            if api.create == "PUT" and not again:
                return self._create(api, model, base_model, again=True)
            raise BackendError(
                f"it is not known whether {self.server} made the deployment {name}: {error}",
                "Run the same command again: it looks for the deployment first, and makes no second "
                "one.",
            ) from error
        return self._as_deployment(api, model, answer)

    def _find_until(self, api: DeployApi, model: str, until_s: float) -> Deployment:
        """Look until the service shows the deployment of a model, or until a time."""
        pause_s = self.policy.pause_s
        until_s = min(until_s, time.time() + self.policy.window_s)
        while True:
            is_last = time.time() >= until_s
            try:
                found = self._find(api, model)
                if found.state is not DeploymentState.MISSING or is_last:
                    return found
            except (Rejected, OutcomeUnknown):
                if is_last:
                    raise
            reason = f"{self.server} to show whether it made the deployment"
            self.waiting.sleep(min(pause_s, max(0.0, until_s - time.time())), reason)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)

    def _when_ready(self, api: DeployApi, model: str, found: Deployment) -> Deployment:
        """Wait until a deployment answers.

        Raises:
            BackendError: It failed, or is not ready in time.
        """
        started_s, pause_s = time.monotonic(), self.policy.pause_s
        while found.state is DeploymentState.STARTING:
            waited_s = time.monotonic() - started_s
            if waited_s >= self.policy.deployed_s:
                raise BackendError(
                    f"{self.server} is still making the deployment {found.name} after "
                    f"{self.policy.deployed_s:g} s",
                    "Run the same command again later: nothing is deployed twice.",
                )
            reason = f"{self.server} to make the deployment {found.name}"
            self.waiting.sleep(pause_s, reason, most_s=self.policy.deployed_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)
            with suppress(OutcomeUnknown):
                seen = self._find(api, model)
                is_seen = seen.state in _STARTED or seen.state is DeploymentState.FAILED
                # The list may lag behind the answer to the call that made it.
                found = seen if is_seen else found
        if found.state is DeploymentState.FAILED:
            raise BackendError(
                f"{self.server} did not deploy {model} as {found.name}: "
                f"{found.detail or 'it does not say why'}",
                f"Delete the deployment {found.name} there, then run the same command again.",
            )
        return replace(found, state=DeploymentState.READY)

    def _intent(self, model: str) -> Path:
        return self.folder / f"{name_of(model)}.json"

    def _sent_s(self, model: str) -> float | None:
        """Return when an earlier run sent a call whose outcome it did not learn."""
        try:
            intent = json.loads(self._intent(model).read_bytes())
            return float(intent["sending_s"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _write_intent(self, model: str) -> None:
        intent = {"model": model, "sending_s": time.time()}
        write_atomic(self._intent(model), json.dumps(intent).encode())

    def _remove_intent(self, model: str) -> None:
        self._intent(model).unlink(missing_ok=True)


class DeployingBackend(ABC):
    """The part of a backend that deploys models."""

    endpoint: Endpoint

    @property
    @abstractmethod
    def _deployments(self) -> Deployments:
        """Deployments at the endpoint."""

    def hosting(self) -> Hosting | None:
        """Return the price of a deployment; None if a person deploys models here, or nobody."""
        require_deployable(self.endpoint)
        return self._deployments.hosting()

    def deployments(self, models: Iterable[str]) -> dict[str, Deployment]:
        """Return the deployments of models, by model ID."""
        return self._deployments.of(models)

    def deploy(self, model_id: str, base_model: str) -> Deployment:
        """Deploy a model, or find its deployment, and wait until it answers."""
        return self._deployments.deploy(model_id, base_model)


def name_of(model: str) -> str:
    """Return the name of the deployment of a model, which depends on the model's ID alone."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    # Whole words only, unless there is one alone.
    tail = plain[-_TAIL:] if len(plain) <= _TAIL else plain[-_TAIL:].partition("-")[2]
    tail = tail or plain[-_TAIL:]
    digits = hashlib.sha256(model.encode()).hexdigest()[:_DIGITS]
    return f"ftctl-{tail}-{digits}"


def _source(api: DeployApi, answer: Body) -> str | None:
    """Return the model that a deployment was made from; None if the answer does not tell."""
    parts = {place: text_of(at_place(answer, place)) for place in _PLACES.findall(api.source)}
    if not all(parts.values()):
        return None
    return _PLACES.sub(lambda place: parts[place[1]], api.source)


def _is_over(api: DeployApi, answer: Body) -> bool:
    return text_of(at_place(answer, api.status)).lower() in _ENDED
