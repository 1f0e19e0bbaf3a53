"""Engines with loaded base models, and async readers of the chunks that they generate."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from anyio.to_thread import run_sync

from backends.contract.backend import Backend
from backends.contract.completions import Chunk, Engine, Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from controller.server.api.errors import ApiError
from controller.server.limits import Limits

_log = logging.getLogger(__name__)
Item: TypeAlias = "tuple[int, Chunk | BaseException | None]"
"""Number of an answer with a chunk of it, an error, or None at its end."""


@dataclass(slots=True, kw_only=True)
class _Loaded:
    engine: Engine
    users: int = 0
    used_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class EnginePool:
    """Shared engines, opened at their first use and closed when idle for `engine_idle_s`."""

    backend: Backend
    limits: Limits
    _loaded: dict[str, _Loaded] = field(default_factory=dict)
    """Engines by the identity of their base model."""
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _answering: int = 0

    @contextlib.asynccontextmanager
    async def use(self, base: BaseModel, answers: int) -> AsyncIterator[Engine]:
        """Keep an engine open for some answers.

        Args:
            base: The base model.
            answers: Number of answers to generate at once.

        Raises:
            ApiError: The server is busy.
            BackendError: The base model cannot be loaded.
        """
        if self._answering + answers > self.limits.chats and self._answering:
            message = f"{self._answering} answers are being generated. Try again in a moment."
            raise ApiError(429, "rate_limit_exceeded", message, retry_after_s=1)
        self._answering += answers
        try:
            loaded = await self._load(base)
            loaded.users += 1
            try:
                yield loaded.engine
            finally:
                loaded.users -= 1
                loaded.used_s = time.monotonic()
        finally:
            self._answering -= answers

    async def sweep(self) -> None:
        """Close the engines that have been idle for `engine_idle_s`."""
        now = time.monotonic()
        for identity, loaded in list(self._loaded.items()):
            if not loaded.users and now - loaded.used_s > self.limits.engine_idle_s:
                del self._loaded[identity]
                await self._close(loaded)

    async def close(self) -> None:
        """Close all engines, including those that are generating."""
        while self._loaded:
            _, loaded = self._loaded.popitem()
            await self._close(loaded)

    async def _load(self, base: BaseModel) -> _Loaded:
        if base.identity not in self._loaded:
            async with self._opening:
                if base.identity not in self._loaded:
                    await self._make_room()
                    engine = await run_sync(self.backend.open_engine, base)
                    self._loaded[base.identity] = _Loaded(engine=engine)
        return self._loaded[base.identity]

    async def _make_room(self) -> None:
        if len(self._loaded) < self.limits.engines:
            return
        idle = [(one.used_s, name) for name, one in self._loaded.items() if not one.users]
        if not idle:
            message = f"{len(self._loaded)} other base models are loaded and in use."
            raise ApiError(429, "rate_limit_exceeded", message, retry_after_s=5)
        await self._close(self._loaded.pop(min(idle)[1]))

    async def _close(self, loaded: _Loaded) -> None:
        try:
            await run_sync(loaded.engine.close)
        except BackendError:
            _log.exception("an engine could not be closed")


async def answer(
    engine: Engine, model: str | None, prompt: Prompt, samplings: Sequence[Sampling]
) -> AsyncGenerator[tuple[int, Chunk], None]:
    """Stream several answers to one prompt, each with the number of its sampling.

    A thread of its own reads each answer from the engine. If the client disconnects, the threads
    stop at their next chunk.

    Raises:
        BackendError: The engine failed.
    """
    queue: asyncio.Queue[Item] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    stop = threading.Event()

    def put(item: Item) -> None:
        # The loop is already closed if the server ends during an answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(queue.put_nowait, item)

    def read(number: int, sampling: Sampling) -> None:
        try:
            for chunk in engine.generate(model, prompt, sampling):
                put((number, chunk))
                if stop.is_set():
                    return
            put((number, None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
            put((number, error))

    for number, sampling in enumerate(samplings):
        threading.Thread(target=read, args=(number, sampling), daemon=True).start()
    left = len(samplings)
    try:
        while left:
            number, item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield number, item
    finally:
        stop.set()
