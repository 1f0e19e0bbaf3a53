"""Read requests: the validated JSON body, and the cursor of a list."""

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from backends.did_you_mean import did_you_mean
from backends.excerpt import dotted
from backends.pydantic_errors import Wrong, in_our_words
from controller.server.api.errors import ApiError, invalid, too_large


class Body(BaseModel):
    """Settings shared by every request body. Unknown keys are ignored, since the protocol grows."""

    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


class Named(Protocol):
    """An object with an ID."""

    @property
    def id(self) -> str:
        """The ID."""
        ...


B = TypeVar("B", bound=BaseModel)
N = TypeVar("N", bound=Named)


class ExactBody(Body):
    """A body that forbids unknown keys, since a misspelled key would change the result."""

    model_config = ConfigDict(extra="forbid")


def unknown_parameter(param: str, known: Collection[str] = ()) -> ApiError:
    """Return the error for an unknown parameter.

    Args:
        param: Path of the parameter in the body.
        known: Parameters from which to suggest a name.
    """
    meant = did_you_mean(param.rpartition(".")[2], sorted(known))
    return invalid(f"Unknown parameter: '{param}'. {meant}".rstrip(), param, "unknown_parameter")


async def read_body(
    request: Request,
    model: type[B],
    limit: int,
    known: Collection[str] = (),
) -> B:
    """Read and validate a request's JSON body.

    Args:
        request: A request whose body is not read yet.
        model: The model of the body.
        limit: Maximum size of the body, in bytes.
        known: Parameters from which to suggest a name for an unknown parameter.

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
        return model.model_validate_json(bytes(body) or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            reason = first.get("ctx", {}).get("error", "")
            message = f"Could not parse the JSON body of the request: {reason}"
            raise invalid(message, None, None) from None
        wrong = in_our_words(error, from_json(bytes(body) or b"{}"), [model], 1)[0]
        raise _refused(wrong, known) from None


def _refused(wrong: Wrong, known: Collection[str]) -> ApiError:
    param = dotted(wrong.path)
    if wrong.kind == "missing":
        return invalid(
            f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
        )
    if wrong.kind == "extra_forbidden":
        return unknown_parameter(param, known)
    reason = wrong.problem().one_line.removesuffix(".")
    return invalid(f"Invalid '{param}': {reason}.", param, "invalid_value")


def whole_number(request: Request, name: str, default: int, most: int) -> int:
    """Return a number of the query.

    Raises:
        ApiError: The value is not a whole number, or is out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):  # noqa: PLR2004
        raise invalid(f"'{name}' must be a whole number from 1 to {most:,}.", name, "invalid_value")
    return int(text)


def page(items: Sequence[N], request: Request, *, default: int, most: int) -> tuple[list[N], bool]:
    """Return the requested page of a list, and whether there are more items.

    Raises:
        ApiError: The cursor is not an ID in the list.
    """
    limit = whole_number(request, "limit", default, most)
    after = request.query_params.get("after")
    start = 0
    if after:
        places = (place for place, item in enumerate(items) if item.id == after)
        start = next(places, -1) + 1
        if not start:
            raise invalid(f"No item with the ID {after[:200]!r} in this list.", "after")
    return list(items[start : start + limit]), len(items) > start + limit
