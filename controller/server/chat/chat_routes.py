"""The endpoint `/v1/chat/completions`."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from backends.contract.completions import Chunk, Prompt, Sampling
from backends.contract.errors import BackendError
from controller.server.api.errors import ApiError
from controller.server.api.requests import read_body
from controller.server.chat.chat_answers import Answers, Pieces
from controller.server.chat.chat_messages import as_prompt
from controller.server.chat.chat_parameters import ChatRequest, check, ignored, samplings, unforced
from controller.server.chat.engines import EnginePool, answer
from controller.server.limits import Limits
from controller.server.models import Catalog, ModelTarget

IGNORED = "x-ftctl-ignored"
"""Header that lists the parameters, and a replaced system prompt, that have no effect here."""
UNFORCED = "x-ftctl-unforced"
"""Header that lists the parameters passed to the model, but not enforced in its answer."""


@dataclass(frozen=True, slots=True)
class ChatRoutes:
    """The endpoint for chat completions."""

    catalog: Catalog
    engines: EnginePool
    limits: Limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/chat/completions", self.create, methods=["POST"])]

    async def create(self, request: Request) -> Response:
        """Continue a conversation."""
        given = await read_body(request, ChatRequest, self.limits.json_bytes)
        check(given)
        drawn = samplings(given)
        target = await self._target(given.model)
        pieces = self._pieces(target, given, drawn)
        # An error of the first piece still gets an HTTP status: wait for it before the answer.
        pieces = _put_back(await anext(pieces, None), pieces)
        without_effect = [*ignored(given), *target.replaced(as_prompt(given.messages[:1]))]
        told = {IGNORED: without_effect, UNFORCED: unforced(given)}
        headers = {name: ", ".join(names) for name, names in told.items() if names}
        several = given.parallel_tool_calls is not False
        answers = Answers(target.public_id, len(drawn), several_calls=several)
        if given.stream:
            body = answers.events(pieces, wants_usage=given.wants_usage)
            headers["cache-control"] = "no-cache"
            return StreamingResponse(body, media_type="text/event-stream", headers=headers)
        return JSONResponse(await answers.whole(request, pieces), headers=headers)

    async def _target(self, name: str) -> ModelTarget:
        try:
            return await run_sync(self.catalog.resolve, name)
        except BackendError as error:
            message = f"The model '{name}' cannot be served: {error.message}."
            raise ApiError(404, "model_not_served", message, "model") from None

    async def _pieces(
        self, target: ModelTarget, given: ChatRequest, drawn: Sequence[Sampling]
    ) -> Pieces:
        tools = [tool.shown() for tool in given.tools or () if given.wants_tools]
        prompt = Prompt(messages=as_prompt(given.messages), tools=tools)
        async with (
            self.engines.use(target.base, len(drawn)) as engine,
            aclosing(answer(engine, target.model, target.asked(prompt), drawn)) as pieces,
        ):
            async for piece in pieces:
                yield piece


async def _put_back(first: tuple[int, Chunk] | None, others: Pieces) -> Pieces:
    async with aclosing(others):
        if first is not None:
            yield first
        async for piece in others:
            yield piece
