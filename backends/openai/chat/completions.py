"""Answers of models at a server: many requests at once, within the server's rate limits."""

import threading
import time
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from backends.contract.backend import Endpoint
from backends.contract.completions import Chunk, Completed, Completion, Prompt, Sampling
from backends.contract.errors import BackendError, ModelMissing, PromptRefused
from backends.openai.api.error_messages import to_backend_error
from backends.openai.api.protocol import Body, OutcomeUnknown, Rejected
from backends.openai.api.retry_policy import RetrySettings
from backends.openai.api.waiting import Waiting
from backends.openai.chat.answering import Answering, Question
from backends.openai.chat.chat_answers import StreamReader, completion_of, first_choice
from backends.openai.chat.chat_requests import (
    LOGPROBS,
    MOST_STOPS,
    THINKING,
    chat_request,
    is_about_prompt,
    is_too_long,
    lightened,
)
from backends.openai.chat.rate_limiter import RateLimiter
from backends.openai.profiles.profile import PROFILES, Deploy, profile_of

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_Answer = TypeVar("_Answer")
_NOT_DEPLOYED: Final = "deploymentnotfound"
"""Azure's code for a model without a deployment."""
_Timed: TypeAlias = tuple[Body, Mapping[str, str], float]
"""An answer, its headers, and the seconds that its request took."""


@dataclass(eq=False, kw_only=True)
class ChatCompletions:
    """Sends prompts to the models of one server."""

    client: "Client"
    server: str
    """The endpoint's name and address, for people."""
    endpoint: Endpoint
    name_for: Callable[[str], str]
    """Returns the name that a trained model answers to."""
    settings: RetrySettings
    waiting: Waiting
    strict: bool
    """True if the server accepts only fields of OpenAI's protocol, and splits thinking off."""
    _takes_thinking: bool = True
    """True until the server refuses the switch for thinking."""
    _without_logprobs: set[str] = field(default_factory=set)
    """Models for which the server has refused log-probabilities; they are asked without."""
    _limiter: RateLimiter = field(default_factory=RateLimiter)

    def complete(
        self,
        base: str,
        models: Sequence[str | None],
        prompts: Sequence[Prompt],
        sampling: Sampling,
        skip: Container[tuple[int, int]],
    ) -> Generator[Completed, None, None]:
        """Yield the answer of every model to every prompt when it ends. See `Backend.complete`.

        Args:
            base: The base model. If the server does not find it, waiting does not help.
            models: The models; None is the base model.
            prompts: The prompts to answer.
            sampling: How to draw the answers.
            skip: Places (model, prompt) that are not asked.

        Raises:
            ModelMissing: One of the models is gone.
            PromptRefused: Prompts cannot be answered.
            BackendError: The server refuses or does not answer.
        """
        over = threading.Event()
        # Connections of its own, which can be broken off without harm to other requests.
        with self.client.apart() as client:

            def ask(question: Question) -> Completion:
                model = models[question.model]
                return self._complete(client, base, model, question.prompt, sampling, over)

            def stop() -> None:
                over.set()
                client.abort()

            questions = (
                Question(model=model, number=number, prompt=prompts[number])
                for model in range(len(models))
                for number in range(len(prompts))
                if (model, number) not in skip
            )
            answering = Answering(
                ask=ask, stop=stop, at_once=self.settings.at_once, prompts=len(prompts)
            )
            yield from answering.answers(questions)

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
        client: "Client",
        base: str,
        model: str | None,
        prompt: Prompt,
        sampling: Sampling,
        over: threading.Event,
    ) -> Completion:
        request = self._request(base, model, prompt, sampling)

        def ask(request: Body) -> _Timed:
            begun_s = time.monotonic()
            answer, headers = client.chat(request)
            return answer, headers, time.monotonic() - begun_s

        answer, latency_s = self._answered(
            lambda: self._lightened(request, sampling, ask),
            request["model"],
            over,
            fresh=request["model"] != self._name(base),
        )
        completion = completion_of(answer, sampling.stop[MOST_STOPS:], splits=not self.strict)
        return replace(completion, latency_s=latency_s)

    def _request(
        self, base: str, model: str | None, prompt: Prompt, sampling: Sampling
    ) -> dict[str, Any]:
        name = self._name(base) if model is None else self.name_for(model)
        request = chat_request(name, base, prompt, sampling, strict=self.strict)
        if not self._takes_thinking and not sampling.thinking:
            request.pop(THINKING, None)
        if name in self._without_logprobs:
            for key in LOGPROBS:
                request.pop(key, None)
        return request

    def _name(self, model: str) -> str:
        """Return a base model's name at the server: at Azure, its deployment."""
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
            if LOGPROBS[0] in request and LOGPROBS[0] not in lighter:
                self._without_logprobs.add(request["model"])
            return answer

    def _answered(
        self,
        ask: Callable[[], _Timed],
        model: str,
        over: threading.Event,
        *,
        fresh: bool,
    ) -> tuple[Body, float]:
        """Repeat a request until the server answers it, waiting does not help or `over` is set.

        Returns:
            The answer, and the seconds that its request took.
        """
        again = False

        def attempt() -> tuple[Body, float]:
            nonlocal again
            self._limiter.wait(self.waiting, self._limit_reason, over, again=again)
            again, sent_s = True, time.monotonic()
            try:
                answer, headers, latency_s = ask()
            except Rejected as error:
                if error.must_slow_down:
                    self._limiter.refuse(sent_s, error.retry_after_s or self.settings.pause_s)
                raise
            if first_choice(answer) is None:
                raise OutcomeUnknown("the answer has no choices")
            self._limiter.accept(headers)
            return answer, latency_s

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
        loads = error.is_missing and self._deploy(error) is None
        return error.must_slow_down or (loads and fresh and self._is_listed(model))

    def _deploy(self, error: Rejected) -> Deploy | None:
        """Return how a person deploys a model that the server did not find; None if that is no help."""
        if error.code.lower() == _NOT_DEPLOYED:
            return PROFILES["azure"].deploy
        return profile_of(self.endpoint.kind).deploy

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
            if self.endpoint.deploy is not None:
                remedy = "Type `ftctl apply`, which deploys it; a new deployment needs a moment."
            elif (deploy := self._deploy(error)) is not None:
                remedy = (
                    f"{deploy.how}:\nendpoints: {{NAME: {{deployments: {{{model!r}: DEPLOYMENT}}}}}}\n"
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
