"""Answers of models at a server: many requests at once, within the server's rate limits."""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from backends.contract.backend import Endpoint
from backends.contract.completions import Chunk, Completion, Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.openai.api.error_messages import to_backend_error
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import RetrySettings
from backends.openai.api.waiting import Waiting
from backends.openai.chat.chat_answers import StreamReader, completion_of, first_choice
from backends.openai.chat.chat_requests import (
    MOST_STOPS,
    THINKING,
    chat_request,
    is_about_prompt,
    is_too_long,
    lightened,
)

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_Answer = TypeVar("_Answer")
_NOT_DEPLOYED: Final = "deploymentnotfound"
"""Azure's code for a model without a deployment."""
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class RateLimiter:
    """Holds requests as the server's rate-limit headers require. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_s = 0.0

    def wait(self, waiting: Waiting, reason: str, over: threading.Event) -> None:
        """Wait until a request may be sent, or until `over` is set."""
        while not over.is_set():
            with self._lock:
                left_s = self._open_s - time.monotonic()
            if left_s <= 0:
                return
            waiting.announce(left_s, reason)
            over.wait(min(left_s, 1.0))

    def close_for(self, seconds: float) -> None:
        """Hold all requests for some seconds."""
        with self._lock:
            self._open_s = max(self._open_s, time.monotonic() + seconds)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Hold requests until the reset, if the headers report that none is left."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                self.close_for(reset_seconds(headers.get(f"x-ratelimit-reset-{what}", "")))


@dataclass(eq=False, kw_only=True)
class ChatCompletions:
    """Sends prompts to the models of one server."""

    client: "Client"
    server: str
    """The endpoint's name and address, for people."""
    endpoint: Endpoint
    settings: RetrySettings
    waiting: Waiting
    strict: bool
    """True if the server accepts only fields of OpenAI's protocol, and splits thinking off."""
    _takes_thinking: bool = True
    """True until the server refuses the switch for thinking."""
    _limiter: RateLimiter = field(default_factory=RateLimiter)

    def complete(
        self,
        base: str,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
    ) -> list[list[Completion]]:
        """Answer every prompt with every model, in order.

        Args:
            base: The base model. If the server does not find it, waiting does not help.
            models: The models; None is the base model.
            prompts: The prompts to answer.
            sampling: How to draw the answers.

        Raises:
            ModelMissing: One of the models is gone.
            PromptRefused: One of the prompts cannot be answered.
            BackendError: The server refuses or does not answer.
        """
        over = threading.Event()
        with ThreadPoolExecutor(max_workers=self.settings.at_once) as pool:
            futures = [
                pool.submit(self._complete, base, model, prompt, sampling, over)
                for model in models
                for prompt in prompts
            ]
            try:
                # A failed request ends the others, which could keep waiting for a long time.
                wait(futures, return_when=FIRST_EXCEPTION)
                failed = [
                    future for future in futures if future.done() and future.exception() is not None
                ]
                if failed:
                    _raise_with_number(failed[0], futures.index(failed[0]), prompts)
                answers = [future.result() for future in futures]
            except BaseException:
                over.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        width = len(prompts)
        return [answers[i * width : (i + 1) * width] for i in range(len(models))]

    def stream(
        self, base: str, model: str | None, prompt: Prompt, sampling: Sampling
    ) -> Iterator[Chunk]:
        """Yield one answer while the server generates it.

        Raises:
            ModelMissing: The model does not exist.
            PromptRefused: The prompt cannot be answered.
            BackendError: The server refuses or breaks off.
        """
        self._limiter.wait(self.waiting, self._limit_reason, threading.Event())
        reader = StreamReader(splits=not self.strict)
        request = self._request(base, model, prompt, sampling)
        try:
            for piece in self._lightened(request, sampling, self._opened_stream):
                yield from reader.read(piece)
            yield from reader.end()
        except (Rejected, OutcomeUnknown) as error:
            raise self._failure(error, request["model"]) from error

    def _complete(
        self,
        base: str,
        model: str | None,
        prompt: Prompt,
        sampling: Sampling,
        over: threading.Event,
    ) -> Completion:
        request = self._request(base, model, prompt, sampling)
        answer = self._answered(
            lambda: self._lightened(request, sampling, self.client.chat),
            request["model"],
            over,
            fresh=request["model"] != self._name(base),
        )
        return completion_of(answer, sampling.stop[MOST_STOPS:], splits=not self.strict)

    def _request(
        self, base: str, model: str | None, prompt: Prompt, sampling: Sampling
    ) -> dict[str, Any]:
        name = self._name(base if model is None else model)
        request = chat_request(name, base, prompt, sampling, strict=self.strict)
        if not self._takes_thinking and not sampling.thinking:
            request.pop(THINKING, None)
        return request

    def _name(self, model: str) -> str:
        """Return a model's name at the server: at Azure, its deployment."""
        return self.endpoint.deployments.get(model, model)

    def _opened_stream(self, request: Body) -> Iterator[Body]:
        """Open a stream and read its first piece, so that a refusal is raised here."""
        pieces = self.client.stream_chat(request)
        first = next(pieces, None)
        return pieces if first is None else chain([first], pieces)

    def _lightened(
        self, request: dict[str, Any], sampling: Sampling, ask: Callable[[Body], _Answer]
    ) -> _Answer:
        """Send a request; if the server refuses a field, remove or rename it and send again.

        Raises:
            BackendError: The server refuses the switch for thinking, and `sampling` wants thinking.
            Rejected: The server refuses the request, and no field can be removed or renamed.
        """
        try:
            return ask(request)
        except Rejected as error:
            lighter = lightened(request, error)
            if lighter is None:
                raise
            spared = THINKING in request and THINKING not in lighter
            if spared and sampling.thinking:
                raise BackendError(
                    f"{self.server} cannot be told that a model thinks: {error.message}",
                    "Ask without thinking, or use a server that takes `chat_template_kwargs`.",
                ) from error
            answer = self._lightened(lighter, sampling, ask)
            if spared:
                self._takes_thinking = False
            return answer

    def _answered(
        self,
        ask: Callable[[], tuple[Body, Mapping[str, str]]],
        model: str,
        over: threading.Event,
        *,
        fresh: bool,
    ) -> Body:
        """Repeat a request until the server answers it, waiting does not help or `over` is set."""

        def attempt() -> Body:
            self._limiter.wait(self.waiting, self._limit_reason, over)
            try:
                answer, headers = ask()
            except Rejected as error:
                if error.must_slow_down:
                    self._limiter.close_for(error.retry_after_s or self.settings.pause_s)
                raise
            if first_choice(answer) is None:
                raise OutcomeUnknown("the answer has no choices")
            self._limiter.heed(headers)
            return answer

        try:
            return self.client.repeat(
                attempt,
                self.settings.of_prompts,
                lambda error: self._pause_reason(error, model),
                may_pass=lambda error: self._may_pass(error, model, fresh=fresh),
                over=over,
            )
        except (Rejected, OutcomeUnknown) as error:
            raise self._failure(error, model) from error

    @property
    def _limit_reason(self) -> str:
        return f"{self.server}, which limits the rate of requests"

    def _pause_reason(self, error: Rejected | OutcomeUnknown, model: str) -> str:
        if isinstance(error, OutcomeUnknown):
            return f"{self.server} to answer again: {error.reason}"
        if error.must_slow_down:
            return self._limit_reason
        return f"{self.server} to load the model {model}, which it lists and does not find yet"

    def _may_pass(self, error: Rejected | OutcomeUnknown, model: str, *, fresh: bool) -> bool:
        if isinstance(error, OutcomeUnknown):
            return error.may_pass
        # A fresh model is `not found` for some minutes while it loads, though it is listed. A
        # model without a deployment is listed too, and stays away.
        loads = error.is_missing and not self._needs_deployment(error)
        return error.must_slow_down or (loads and fresh and self._is_listed(model))

    def _needs_deployment(self, error: Rejected) -> bool:
        """Return True if a person has to deploy a model that the server did not find."""
        return self.endpoint.kind == "azure" or error.code.lower() == _NOT_DEPLOYED

    def _is_listed(self, model: str) -> bool:
        try:
            return bool(self.client.retrieve_model(model).get("id"))
        except (Rejected, OutcomeUnknown):
            return False

    def _failure(self, error: Rejected | OutcomeUnknown, model: str) -> BackendError:
        if isinstance(error, OutcomeUnknown):
            return to_backend_error(error, self.server)
        if error.is_missing:
            remedy = "Train it again, or use another model."
            if self._needs_deployment(error):
                remedy = (
                    "Deploy it in Azure, and name the deployment in ftctl.yaml:\n"
                    f"endpoints: {{NAME: {{deployments: {{{model!r}: DEPLOYMENT}}}}}}\n"
                    "A deployment that was made a few minutes ago needs a moment."
                )
            return ModelMissing(f"{self.server} has no model {model}: {error.message}", remedy)
        if is_about_prompt(error):
            return PromptRefused(
                f"{self.server} does not answer this prompt: {error.message}",
                "Shorten the conversation." if is_too_long(error) else "Ask in another way.",
            )
        return to_backend_error(error, self.server)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteEngine:
    """Implements `Engine`: the models stay loaded at the server."""

    chats: ChatCompletions
    base: str

    def generate(self, model: str | None, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Stream one answer."""
        return self.chats.stream(self.base, model, prompt, sampling)

    def close(self) -> None:
        """Do nothing; the engine holds no resources."""


def _raise_with_number(
    failed: Future[Completion], number: int, prompts: Sequence[Prompt]
) -> NoReturn:
    """Raise an error; name the prompt where one of several prompts is refused."""
    error = failed.exception()
    if isinstance(error, PromptRefused) and len(prompts) > 1:
        message = f"prompt {number % len(prompts) + 1} of {len(prompts)}: {error.message}"
        raise PromptRefused(message, error.remedy) from error
    failed.result()
    raise AssertionError("a failed future has a result")


def reset_seconds(text: str) -> float:
    """Return the seconds of a duration such as `1m30.5s` or `120ms`; 0 for other texts."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", text)
    return sum(float(number) * _UNITS_S.get(unit or "s", 0.0) for number, unit in parts)
