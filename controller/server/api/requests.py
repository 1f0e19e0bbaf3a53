"""Read requests: the validated JSON body, and the cursor of a list."""

import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from backends.excerpt import dotted
from backends.pydantic_errors import in_our_words
from controller.server.api.errors import ApiError, invalid, missing, sentence, too_large
from controller.server.record_store import Record


class Body(BaseModel):
    """Settings shared by every request body. Unknown keys are ignored, since the protocol grows."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class ExactBody(Body, extra="forbid"):
    """A body that forbids unknown keys, since a misspelled key would change the result."""


B = TypeVar("B", bound=BaseModel)
R = TypeVar("R", bound=Record)


def unknown_parameter(param: str, remedy: str) -> ApiError:
    """Return the error for an unknown parameter, with the remedy, a sentence."""
    return invalid(f"Unknown parameter: '{param}'. {remedy}".rstrip(), param, "unknown_parameter")


async def read_body(request: Request, model: type[B], limit: int) -> B:
    """Read and validate a request's JSON body.

    Args:
        request: A request whose body is not read yet.
        model: The model of the body.
        limit: Maximum size of the body, in bytes.

    Raises:
        ApiError: The body is too long, is not JSON, or does not fit the model.
    """
    if int(request.headers.get("content-length", "0")) > limit:
        raise too_large(limit, "The request's body")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large(limit, "The request's body")
    try:
        value = from_json(bytes(body) or b"{}")
    except ValueError as error:
        raise invalid(f"Could not parse the JSON body of the request: {error}") from None
    return validated(model, value)


def validated(model: type[B], value: object) -> B:
    """Validate parameters.

    Raises:
        ApiError: A parameter is missing, unknown or invalid; the error names the first.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        wrong = in_our_words(error, value, [model], 1)[0]
    param = dotted(wrong.path)
    if wrong.kind == "missing":
        raise missing(param)
    if wrong.kind == "extra_forbidden":
        raise unknown_parameter(param, wrong.remedy)
    reason = sentence(wrong.problem().one_line)
    raise invalid(f"Invalid '{param}': {reason}", param, "invalid_value")


def page(items: Sequence[R], request: Request, *, default: int, most: int) -> tuple[list[R], bool]:
    """Return the requested page of a list, and whether there are more items.

    Args:
        items: The whole list.
        request: Its query may have a `limit`, and as `after` the ID of the item before the page.
        default: Items on a page if the request has no limit.
        most: Maximum number of items on a page.

    Raises:
        ApiError: The limit is out of range, or the cursor is not an ID in the list.
    """
    query = request.query_params
    text, after = query.get("limit", str(default)), query.get("after")
    limit = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
    if not 1 <= limit <= most:
        message = f"'limit' must be a whole number from 1 to {most:,}."
        raise invalid(message, "limit", "invalid_value")
    start = 0
    if after:
        start = next((number for number, item in enumerate(items, 1) if item.id == after), 0)
        if not start:
            raise invalid(f"No item in this list has the ID {after[:200]!r}.", "after")
    return list(items[start : start + limit]), len(items) > start + limit
