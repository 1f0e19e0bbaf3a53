"""The address `/v1/chat/completions`: requests checked, answers whole or streamed."""

import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, TypeAlias

from anyio.to_thread import run_sync
from pydantic import ConfigDict, Field, JsonValue, field_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from backends.base import BackendError, Chunk, Json, ModelMissing, Prompt, PromptRefused, Sampling
from controller.server.bodies import Body, read_body
from controller.server.catalog import Catalog, Served, missing
from controller.server.engines import EnginePool, answer
from controller.server.errors import ApiError, invalid
from controller.server.limits import Limits

DEFAULT_TOKENS = 1024
MOST_TOKENS = 131_072
MOST_ANSWERS = 16
MOST_STOPS = 4
Pieces: TypeAlias = AsyncGenerator[tuple[int, Chunk], None]
"""Pieces of answers, each with the number of its answer."""


class Message(Body):
    """One turn of a conversation. Everything else it says reaches the model's template."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, JsonValue]] | None = None

    @field_validator("content")
    @classmethod
    def _as_text(cls, content: str | list[dict[str, JsonValue]] | None) -> str | None:
        if not isinstance(content, list):
            return content
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if len(texts) < len(content) or not all(isinstance(text, str) for text in texts):
            raise ValueError("only text can be understood here")
        return "".join(str(text) for text in texts)


class StreamOptions(Body):
    """How a stream looks."""

    include_usage: bool = False


class ChatRequest(Body):
    """The body of a request."""

    model: str
    messages: list[Message] = Field(min_length=1)
    tools: list[dict[str, JsonValue]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MOST_ANSWERS)
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=MOST_TOKENS)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    seed: int | None = None
    top_p: float | None = None
    logprobs: bool | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    response_format: dict[str, JsonValue] | None = None


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


class ChatRoutes:
    """Answers conversations."""

    def __init__(self, catalog: Catalog, engines: EnginePool, limits: Limits) -> None:
        self._catalog = catalog
        self._engines = engines
        self._limits = limits

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [Route("/chat/completions", self.create, methods=["POST"])]

    async def create(self, request: Request) -> Response:
        """Continue a conversation."""
        given = await read_body(request, ChatRequest, self._limits.json_bytes)
        _refuse_unknown_meanings(given)
        samplings = _samplings(given)
        served = await self._served(given.model)
        try:
            pieces = self._pieces(served, given, samplings)
            # Awaited before anything is answered: what is wrong shows with the first piece, and
            # then still has an HTTP status.
            first = await anext(pieces, None)
            head = _head(given.model)
            if given.stream:
                body = _events(head, given, first, pieces)
                headers = {"cache-control": "no-cache"}
                return StreamingResponse(body, media_type="text/event-stream", headers=headers)
            return JSONResponse(await _whole(request, head, len(samplings), first, pieces))
        except BackendError as error:
            raise _refused(error, given.model) from None

    async def _served(self, name: str) -> Served:
        try:
            return await run_sync(self._catalog.serve, name)
        except BackendError as error:
            message = f"The model '{name}' cannot be served: {error.message}."
            raise ApiError(404, "model_not_served", message, "model") from None

    async def _pieces(
        self, served: Served, given: ChatRequest, samplings: Sequence[Sampling]
    ) -> Pieces:
        messages: list[dict[str, Json]] = [
            dict(one.model_dump(exclude_unset=True)) for one in given.messages
        ]
        prompt = Prompt(messages=messages, tools=[dict(tool) for tool in given.tools or ()])
        async with (
            self._engines.use(served.base, len(samplings)) as engine,
            aclosing(answer(engine, served.model, prompt, samplings)) as pieces,
        ):
            async for piece in pieces:
                yield piece


def _refuse_unknown_meanings(given: ChatRequest) -> None:
    """Refuse what would be answered otherwise than asked for, rather than ignore it."""
    unmet = {
        "top_p": given.top_p not in {None, 1},
        "logprobs": bool(given.logprobs),
        "frequency_penalty": bool(given.frequency_penalty),
        "presence_penalty": bool(given.presence_penalty),
        "response_format": (given.response_format or {}).get("type", "text") != "text",
    }
    for name, is_unmet in unmet.items():
        if is_unmet:
            raise invalid(f"'{name}' is not supported by this server.", name, "unsupported_value")


def _samplings(given: ChatRequest) -> list[Sampling]:
    stops = [given.stop] if isinstance(given.stop, str) else given.stop or []
    if len(stops) > MOST_STOPS or not all(stops):
        message = f"'stop' must be at most {MOST_STOPS} texts, none of them empty."
        raise invalid(message, "stop", "invalid_value")
    seed = secrets.randbelow(2**31) if given.seed is None else given.seed % 2**63
    return [
        Sampling(
            stop=tuple(stops),
            max_tokens=given.max_completion_tokens or given.max_tokens or DEFAULT_TOKENS,
            temperature=1.0 if given.temperature is None else given.temperature,
            seed=seed + number,
        )
        for number in range(given.n or 1)
    ]


def _head(model: str) -> dict[str, JsonValue]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": None,
    }


async def _whole(
    request: Request,
    head: dict[str, JsonValue],
    count: int,
    first: tuple[int, Chunk] | None,
    pieces: Pieces,
) -> dict[str, JsonValue]:
    texts = [""] * count
    reasons = ["stop"] * count
    usage = _Usage()
    async with aclosing(_with_first(first, pieces)) as every:
        async for number, chunk in every:
            texts[number] += chunk.text
            reasons[number] = chunk.finish_reason or reasons[number]
            usage.add(chunk)
            if await request.is_disconnected():
                break
    choices: list[JsonValue] = [
        {
            "index": number,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": reason,
        }
        for number, (text, reason) in enumerate(zip(texts, reasons, strict=True))
    ]
    return {**head, "object": "chat.completion", "choices": choices, "usage": usage.as_json()}


async def _events(
    head: dict[str, JsonValue],
    given: ChatRequest,
    first: tuple[int, Chunk] | None,
    pieces: Pieces,
) -> AsyncIterator[bytes]:
    """Yield the answer as server-sent events."""
    head = {**head, "object": "chat.completion.chunk"}
    wants_usage = given.stream_options is not None and given.stream_options.include_usage
    usage = _Usage()
    begun: set[int] = set()
    async with aclosing(_with_first(first, pieces)) as every:
        try:
            async for number, chunk in every:
                usage.add(chunk)
                delta: dict[str, JsonValue] = {"content": chunk.text} if chunk.text else {}
                if number not in begun:
                    begun.add(number)
                    delta = {"role": "assistant", "content": chunk.text}
                choice: dict[str, JsonValue] = {
                    "index": number,
                    "delta": delta,
                    "logprobs": None,
                    "finish_reason": chunk.finish_reason,
                }
                yield _event({**head, "choices": [choice]})
        except BackendError as error:
            yield _event(dict(_refused(error, given.model).body()))
            return
    if wants_usage:
        yield _event({**head, "choices": [], "usage": usage.as_json()})
    yield b"data: [DONE]\n\n"


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


def _refused(error: BackendError, model: str) -> ApiError:
    if isinstance(error, ModelMissing):
        return missing(model)
    remedy = f" ({error.remedy})" if error.remedy else ""
    if isinstance(error, PromptRefused):
        return ApiError(400, "invalid_prompt", f"{error.message}{remedy}", param="messages")
    return ApiError(500, "engine_failed", f"{error.message}{remedy}")
