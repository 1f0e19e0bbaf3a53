"""Answers to a chat request in the protocol's form, whole or streamed."""

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.requests import Request

from backends.contract.completions import Chunk
from backends.contract.inspector import Json
from controller.errors import FtctlError
from controller.server.api.errors import as_api_error

Pieces: TypeAlias = AsyncGenerator[tuple[int, Chunk], None]
"""Chunks of answers, each with the number of its answer."""


@dataclass(slots=True, kw_only=True)
class _Answer:
    """The part of an answer that has arrived so far."""

    several_calls: bool
    text: str = ""
    thinking: str = ""
    calls: list[Json] = field(default_factory=list)
    reason: str | None = None
    begun: bool = False

    def delta(self, chunk: Chunk) -> dict[str, Json]:
        """Add a chunk, and return the delta for the stream."""
        self.text += chunk.text
        self.thinking += chunk.thinking
        delta: dict[str, Json] = {} if self.begun else {"role": "assistant", "content": ""}
        self.begun = True
        if chunk.thinking:
            delta["reasoning_content"] = chunk.thinking
        if chunk.text:
            delta["content"] = chunk.text
        room = len(chunk.tool_calls) if self.several_calls else 1 - len(self.calls)
        new = [_call(call["function"]) for call in chunk.tool_calls[:room]]
        if new:
            delta["tool_calls"] = [
                {"index": index, **call} for index, call in enumerate(new, len(self.calls))
            ]
            self.calls += new
        if chunk.finish_reason is not None:
            called = bool(self.calls) and chunk.finish_reason == "stop"
            self.reason = "tool_calls" if called else chunk.finish_reason
        return delta

    def message(self) -> dict[str, Json]:
        """Return the whole answer as a message."""
        message: dict[str, Json] = {
            "role": "assistant",
            "content": None if self.calls and not self.text else self.text,
            "refusal": None,
        }
        if self.thinking:
            message["reasoning_content"] = self.thinking
        if self.calls:
            message["tool_calls"] = self.calls
        return message


class Answers:
    """The answers to one request, as far as they have arrived.

    Args:
        model: The public ID of the model that answers.
        count: Number of answers.
        several_calls: True if an answer may call more than one tool.
    """

    def __init__(self, model: str, count: int, *, several_calls: bool) -> None:
        self._answers = [_Answer(several_calls=several_calls) for _ in range(count)]
        self._prompt_tokens = self._completion_tokens = 0
        self._head: dict[str, Json] = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": None,
        }

    async def whole(self, request: Request, pieces: Pieces) -> dict[str, Json]:
        """Return the body with complete answers.

        Raises:
            BackendError: An answer breaks off.
        """
        async with aclosing(pieces):
            async for number, chunk in pieces:
                self._add(number, chunk)
                if await request.is_disconnected():
                    break
        choices: Sequence[Json] = [
            _choice(number, answer.reason or "stop", message=answer.message())
            for number, answer in enumerate(self._answers)
        ]
        return self._body("chat.completion", choices, usage=self._usage())

    async def events(self, pieces: Pieces, *, wants_usage: bool) -> AsyncIterator[bytes]:
        """Yield answers as server-sent events.

        Args:
            pieces: The chunks.
            wants_usage: True to end with the token counts.
        """
        # The protocol requires null in every event before the last.
        usage: dict[str, Json] = {"usage": None} if wants_usage else {}
        kind = "chat.completion.chunk"
        async with aclosing(pieces):
            try:
                async for number, chunk in pieces:
                    delta = self._add(number, chunk)
                    choice = _choice(number, self._answers[number].reason, delta=delta)
                    yield _event(self._body(kind, [choice], **usage))
            except FtctlError as error:
                yield _event(as_api_error(error).body())
                return
        if wants_usage:
            yield _event(self._body(kind, [], usage=self._usage()))
        yield b"data: [DONE]\n\n"

    def _add(self, number: int, chunk: Chunk) -> dict[str, Json]:
        self._prompt_tokens = max(self._prompt_tokens, chunk.prompt_tokens)
        self._completion_tokens += chunk.completion_tokens
        return self._answers[number].delta(chunk)

    def _usage(self) -> Json:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
        }

    def _body(self, kind: str, choices: Sequence[Json], **usage: Json) -> dict[str, Json]:
        return {**self._head, "object": kind, "choices": [*choices], **usage}


def _call(function: Json) -> dict[str, Json]:
    # Make a new ID: the backend's ID may repeat in the next turn.
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def _choice(number: int, reason: str | None, **content: Json) -> Json:
    return {"index": number, **content, "logprobs": None, "finish_reason": reason}


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
