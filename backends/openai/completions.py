"""Answers of models at a server: many at once, as fast as the server says it may go."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from backends.base import (
    BackendError,
    Chunk,
    Completion,
    ModelMissing,
    Prompt,
    Sampling,
)
from backends.openai.remedies import spoken
from backends.openai.wire import Body, Refused, Unclear

if TYPE_CHECKING:
    from backends.openai.client import Client

AT_ONCE: Final = 16
"""Requests under way at the same time."""
_MOST_STOPS: Final = 4
_NOT_FOUND: Final = 404
_NOT_DEPLOYED: Final = "DeploymentNotFound"
"""Azure's code for a model without a deployment."""
_LONGEST_PAUSE_S: Final = 30.0
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NEWER: Final = ("o1", "o3", "o4", "gpt-5", "gpt-6")
"""Models that call the limit `max_completion_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patiently models are asked."""

    pause_s: float = 1.0
    """Before the first repetition; doubled for each further one."""
    patience_s: float = 300.0
    """How long one prompt is tried at all: a fresh model takes minutes to load."""
    at_once: int = AT_ONCE


class Gate:
    """Lets requests pass as the server's rate-limit headers allow. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_s = 0.0

    def wait(self) -> None:
        """Wait until a request may be sent."""
        while True:
            with self._lock:
                left_s = self._open_s - time.monotonic()
            if left_s <= 0:
                return
            time.sleep(min(left_s, 1.0))

    def close_for(self, seconds: float) -> None:
        """Let no request pass for some seconds."""
        with self._lock:
            self._open_s = max(self._open_s, time.monotonic() + seconds)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Close when the headers say that nothing is left until a reset."""
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                self.close_for(reset_seconds(headers.get(f"x-ratelimit-reset-{what}", "")))


class Chats:
    """Asks the models of one server."""

    def __init__(self, client: "Client", server: str, kind: str, pace: Pace) -> None:
        self._client = client
        self._server = server
        self._kind = kind
        self._pace = pace
        self._gate = Gate()

    def complete(
        self, models: Sequence[str], prompts: Sequence[Prompt], sampling: Sampling, *, base: str
    ) -> list[list[Completion]]:
        """Answer every prompt with every model, in order.

        Args:
            models: Their names at the server.
            prompts: What to answer.
            sampling: How.
            base: The base model's name: where it is not found, it will not be found later.

        Raises:
            ModelMissing: One of the models is gone.
            BackendError: The server refuses or stays silent.
        """
        with ThreadPoolExecutor(max_workers=self._pace.at_once) as pool:
            futures = [
                pool.submit(self._complete, model, prompt, sampling, fresh=model != base)
                for model in models
                for prompt in prompts
            ]
            try:
                answers = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        width = len(prompts)
        return [answers[i * width : (i + 1) * width] for i in range(len(models))]

    def stream(self, model: str, prompt: Prompt, sampling: Sampling) -> Iterator[Chunk]:
        """Yield one answer as it is made.

        Raises:
            ModelMissing: No such model.
            BackendError: The server refuses or breaks off.
        """
        self._gate.wait()
        reason: str | None = None
        usage: Mapping[str, Any] = {}
        try:
            for piece in self._client.stream_chat(_request(model, prompt, sampling)):
                usage = _mapping(piece.get("usage")) or usage
                choice = _first_choice(piece) or {}
                reason = choice.get("finish_reason") or reason
                text = _mapping(choice.get("delta")).get("content")
                if isinstance(text, str) and text:
                    yield Chunk(text=text)
        except (Refused, Unclear) as error:
            raise self._failure(error, model) from error
        yield Chunk(
            text="",
            finish_reason=_finish(reason),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )

    def _complete(
        self, model: str, prompt: Prompt, sampling: Sampling, *, fresh: bool
    ) -> Completion:
        request = _request(model, prompt, sampling)
        answer = self._asked(lambda: self._client.chat(request), model, fresh=fresh)
        return _completion(answer, sampling)

    def _asked(
        self, ask: Callable[[], tuple[Body, Mapping[str, str]]], model: str, *, fresh: bool
    ) -> Body:
        """Ask until there is an answer, patience ends, or waiting does not help."""
        started_s = time.monotonic()
        pause_s = self._pace.pause_s
        while True:
            self._gate.wait()
            try:
                answer, headers = ask()
                if _first_choice(answer) is None:
                    raise Unclear("the answer has no choices")  # noqa: TRY301 - same handling
            except (Refused, Unclear) as error:
                left_s = self._pace.patience_s - (time.monotonic() - started_s)
                wait_s = pause_s if error.retry_after_s is None else error.retry_after_s
                if wait_s > left_s or not self._may_heal(error, model, fresh=fresh):
                    raise self._failure(error, model) from error
                if isinstance(error, Refused) and error.must_slow_down:
                    self._gate.close_for(wait_s)
                else:
                    time.sleep(wait_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._gate.heed(headers)
                return answer

    def _may_heal(self, error: Refused | Unclear, model: str, *, fresh: bool) -> bool:
        if isinstance(error, Unclear) or error.must_slow_down:
            return True
        # A fresh model is `not found` for some minutes while it loads, though it is listed. One
        # that nobody deployed is listed too, and stays away.
        loads = error.status == _NOT_FOUND and error.speaks and error.code != _NOT_DEPLOYED
        return loads and fresh and self._is_listed(model)

    def _is_listed(self, model: str) -> bool:
        try:
            return bool(self._client.retrieve_model(model).get("id"))
        except (Refused, Unclear):
            return False

    def _failure(self, error: Refused | Unclear, model: str) -> BackendError:
        if isinstance(error, Refused) and error.status == _NOT_FOUND and error.speaks:
            remedy = "train it again, or use another model"
            if self._kind == "azure":
                remedy = (
                    "deploy it in Azure, and name the deployment in ftctl.yaml:\n"
                    f"endpoints: {{NAME: {{deployments: {{{model!r}: DEPLOYMENT}}}}}}"
                )
            return ModelMissing(f"{self._server} has no model {model}: {error.message}", remedy)
        return spoken(error, self._server)


def reset_seconds(text: str) -> float:
    """Read a duration such as `1m30.5s` or `120ms`; nothing readable is no wait."""
    total, number, unit = 0.0, "", ""
    for character in f"{text.strip()} ":
        if character.isdigit() or character == ".":
            if unit:
                total += _amount(number, unit)
                number, unit = "", ""
            number += character
        else:
            unit += character
    return total + _amount(number, unit.strip() or "s")


def _amount(number: str, unit: str) -> float:
    try:
        return float(number) * _UNITS_S.get(unit, 0.0)
    except ValueError:
        return 0.0


def _request(model: str, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
    newer = model.removeprefix("ft:").startswith(_NEWER)
    request: dict[str, Any] = {
        "model": model,
        "messages": [dict(message) for message in prompt.messages],
        "max_completion_tokens" if newer else "max_tokens": sampling.max_tokens,
        "seed": sampling.seed % 2**31,
    }
    if not newer:
        request["temperature"] = sampling.temperature
    if prompt.tools:
        request["tools"] = [dict(tool) for tool in prompt.tools]
    if sampling.stop:
        request["stop"] = list(sampling.stop[:_MOST_STOPS])
    return request


def _completion(answer: Body, sampling: Sampling) -> Completion:
    choice = _first_choice(answer) or {}
    message = _mapping(choice.get("message"))
    text = str(message.get("content") or "")
    if not text and message.get("tool_calls"):
        text = json.dumps(message["tool_calls"], ensure_ascii=False, sort_keys=True)
    # More stops than the protocol takes are looked for here.
    cuts = [at for stop in sampling.stop[_MOST_STOPS:] if (at := text.find(stop)) >= 0]
    if cuts:
        return Completion(text=text[: min(cuts)], finish_reason="stop")
    return Completion(text=text, finish_reason=_finish(choice.get("finish_reason")))


def _first_choice(answer: Body) -> Mapping[str, Any] | None:
    choices = answer.get("choices")
    return _mapping(choices[0]) if isinstance(choices, list) and choices else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _finish(reason: object) -> str:
    if not isinstance(reason, str) or reason in {"tool_calls", "function_call"}:
        return "stop"
    return reason
