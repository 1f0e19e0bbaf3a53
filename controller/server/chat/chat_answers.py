"""Answers to a chat request in the protocol's form, whole or streamed."""

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeAlias

from pydantic import JsonValue
from starlette.requests import Request

from backends.contract.completions import Chunk
from controller.errors import FtctlError
from controller.server.api.errors import as_api_error

Pieces: TypeAlias = AsyncGenerator[tuple[int, Chunk], None]
"""Chunks of answers, each with the number of its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The form of answers that a request wants."""

    model: str
    answers: int
    several_calls: bool
    """True if an answer may call more than one tool."""
    wants_usage: bool


@dataclass(slots=True, kw_only=True)
class _Usage:
    prompt: int = 0
    completion: int = 0

    def add(self, chunk: Chunk) -> None:
        self.prompt = max(self.prompt, chunk.prompt_tokens)
        self.completion += chunk.completion_tokens

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


@dataclass(slots=True, kw_only=True)
class _Answer:
    """The part of an answer that has arrived so far."""

    several_calls: bool
    text: str = ""
    thinking: str = ""
    calls: list[JsonValue] = field(default_factory=list)
    reason: str | None = None
    begun: bool = False

    def delta(self, chunk: Chunk) -> dict[str, JsonValue]:
        """Add a chunk, and return the delta for the stream."""
        self.text += chunk.text
        self.thinking += chunk.thinking
        said: dict[str, JsonValue] = {}
        if chunk.thinking:
            said["reasoning_content"] = chunk.thinking
        if chunk.text:
            said["content"] = chunk.text
        new = self._new_calls(chunk)
        if new:
            first = len(self.calls)
            self.calls += new
            said["tool_calls"] = [
                {"index": first + place, **call}
                for place, call in enumerate(new)
                if isinstance(call, dict)
            ]
        if chunk.finish_reason is not None:
            called = bool(self.calls) and chunk.finish_reason == "stop"
            self.reason = "tool_calls" if called else chunk.finish_reason
        if not self.begun:
            self.begun = True
            said = {"role": "assistant", "content": "", **said}
        return said

    def message(self) -> dict[str, JsonValue]:
        """Return the whole answer as a message."""
        message: dict[str, JsonValue] = {
            "role": "assistant",
            "content": None if self.calls and not self.text else self.text,
            "refusal": None,
        }
        if self.thinking:
            message["reasoning_content"] = self.thinking
        if self.calls:
            message["tool_calls"] = self.calls
        return message

    def _new_calls(self, chunk: Chunk) -> list[JsonValue]:
        room = None if self.several_calls else max(0, 1 - len(self.calls))
        # Make a new ID: the backend's ID may repeat in the next turn.
        return [
            {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": {**function}}
            for call in chunk.tool_calls[:room]
            if isinstance(function := call["function"], dict)
        ]


async def whole(
    request: Request, shape: Shape, first: tuple[int, Chunk] | None, pieces: Pieces
) -> dict[str, JsonValue]:
    """Return the body with complete answers.

    Raises:
        BackendError: An answer breaks off.
    """
    answers = [_Answer(several_calls=shape.several_calls) for _ in range(shape.answers)]
    usage = _Usage()
    async with aclosing(_with_first(first, pieces)) as every:
        async for number, chunk in every:
            answers[number].delta(chunk)
            usage.add(chunk)
            if await request.is_disconnected():
                break
    choices: list[JsonValue] = [
        {
            "index": number,
            "message": answer.message(),
            "logprobs": None,
            "finish_reason": answer.reason or "stop",
        }
        for number, answer in enumerate(answers)
    ]
    head = {**_head(shape.model), "object": "chat.completion"}
    return {**head, "choices": choices, "usage": usage.as_json()}


async def events(
    shape: Shape,
    first: tuple[int, Chunk] | None,
    pieces: Pieces,
) -> AsyncIterator[bytes]:
    """Yield answers as server-sent events.

    Args:
        shape: The form of the answers.
        first: The first chunk.
        pieces: The other chunks.
    """
    head = {**_head(shape.model), "object": "chat.completion.chunk"}
    if shape.wants_usage:
        # The protocol requires null in every event before the last.
        head["usage"] = None
    answers = [_Answer(several_calls=shape.several_calls) for _ in range(shape.answers)]
    usage = _Usage()
    async with aclosing(_with_first(first, pieces)) as every:
        try:
            async for number, chunk in every:
                usage.add(chunk)
                choice: dict[str, JsonValue] = {
                    "index": number,
                    "delta": answers[number].delta(chunk),
                    "logprobs": None,
                    "finish_reason": answers[number].reason,
                }
                yield _event({**head, "choices": [choice]})
        except FtctlError as error:
            yield _event(dict(as_api_error(error).body()))
            return
    if shape.wants_usage:
        yield _event({**head, "choices": [], "usage": usage.as_json()})
    yield b"data: [DONE]\n\n"


def _head(model: str) -> dict[str, JsonValue]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": None,
    }


async def _with_first(first: tuple[int, Chunk] | None, pieces: Pieces) -> Pieces:
    try:
        if first is not None:
            yield first
        async for piece in pieces:
            yield piece
    finally:
        await pieces.aclose()


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
