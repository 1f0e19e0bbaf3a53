"""The endpoint `/v1/chat/completions`."""

from collections.abc import Sequence
from contextlib import aclosing

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError
from controller.server.api.errors import ApiError
from controller.server.api.requests import read_body
from controller.server.chat.chat_answers import Pieces, Shape, events, whole
from controller.server.chat.chat_messages import as_prompt
from controller.server.chat.chat_parameters import (
    KNOWN,
    ChatRequest,
    check,
    samplings,
    unforced,
)
from controller.server.chat.engines import EnginePool, answer
from controller.server.limits import Limits
from controller.server.model_catalog import Catalog, ModelTarget

UNFORCED = "x-ftctl-unforced"
"""Header that lists the parameters passed to the model, but not enforced in its answer."""


class ChatRoutes:
    """The endpoint for chat completions."""

    def __init__(self, catalog: Catalog, engines: EnginePool, limits: Limits) -> None:
        self._catalog = catalog
        self._engines = engines
        self._limits = limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/chat/completions", self.create, methods=["POST"])]

    async def create(self, request: Request) -> Response:
        """Continue a conversation."""
        given = await read_body(request, ChatRequest, self._limits.json_bytes, KNOWN)
        check(given)
        drawn = samplings(given)
        shape = Shape(
            model=given.model,
            answers=len(drawn),
            several_calls=given.parallel_tool_calls is not False,
            wants_usage=given.wants_usage,
        )
        served = await self._served(given.model)

        pieces = self._pieces(served, given, drawn)
        # Awaited before anything is answered: what is wrong shows with the first piece, and
        # then still has an HTTP status.
        first = await anext(pieces, None)
        headers = {UNFORCED: ", ".join(names)} if (names := unforced(given)) else {}
        if given.stream:
            body = events(shape, first, pieces)
            headers["cache-control"] = "no-cache"
            return StreamingResponse(body, media_type="text/event-stream", headers=headers)
        return JSONResponse(await whole(request, shape, first, pieces), headers=headers)

    async def _served(self, name: str) -> ModelTarget:
        try:
            return await run_sync(self._catalog.resolve, name)
        except BackendError as error:
            message = f"The model '{name}' cannot be served: {error.message}."
            raise ApiError(404, "model_not_served", message, "model") from None

    async def _pieces(
        self, served: ModelTarget, given: ChatRequest, drawn: Sequence[Sampling]
    ) -> Pieces:
        tools = [tool.shown() for tool in given.tools or () if given.wants_tools]
        prompt = Prompt(messages=as_prompt(given.messages), tools=tools)
        async with (
            self._engines.use(served.base, len(drawn)) as engine,
            aclosing(answer(engine, served.model, prompt, drawn)) as pieces,
        ):
            async for piece in pieces:
                yield piece
