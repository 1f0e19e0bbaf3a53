"""Errors as the protocol has them: `{"error": {"message", "type", "param", "code"}}`."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from backends.contract.errors import (
    FtctlError,
    MachineFailed,
    ModelMissing,
    PromptRefused,
    PromptTooLong,
)
from controller.state_folder import is_full

_log = logging.getLogger(__name__)
_TYPES = {403: "permission_error", 409: "conflict_error", 429: "rate_limit_error"}


class ApiError(FtctlError):
    """The error of a refused request, as the client receives it.

    Attributes:
        status: HTTP status.
        code: Name of the error, for programs.
        param: Invalid field of the request.
        headers: HTTP headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        message: str,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, field=param or "")
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            # Seconds until the same request may succeed.
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers["www-authenticate"] = "Bearer"

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the body of the response."""
        server = self.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        kind = "server_error" if server else _TYPES.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> JSONResponse:
        """Return the HTTP response of the error."""
        return JSONResponse(self.body(), self.status, self.headers)


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error of an invalid request."""
    return ApiError(400, code, message, param)


def sentence(text: str) -> str:
    """Return a text with a full stop, unless it ends as a sentence."""
    return text if text.endswith((".", "?")) else f"{text}."


def missing(param: str) -> ApiError:
    """Return the error of a request without a required parameter."""
    message = f"Missing required parameter: '{param}'."
    return invalid(message, param, "missing_required_parameter")


def not_found(what: str, name: str, param: str = "id") -> ApiError:
    """Return the error of a request for an unknown object."""
    return ApiError(404, "not_found", f"No such {what}: {name[:200]}", param)


def too_large(limit: int, what: str) -> ApiError:
    """Return the error of a body that is too long."""
    return ApiError(413, "request_too_large", f"{what} is longer than {limit:,} bytes.")


def defect(error: Exception) -> ApiError:
    """Return the error of a request that met a defect."""
    message = f"The server had an error ({type(error).__name__}). Its log has the details."
    return ApiError(500, "internal_error", message)


def as_api_error(error: FtctlError) -> ApiError:
    """Return any error that a person can fix as the protocol has it."""
    match error:
        case ApiError():
            return error
        case ModelMissing():
            message = f"The model does not exist: {error.one_line}"
            return ApiError(404, "model_not_found", message, "model")
        case PromptTooLong():
            return ApiError(400, "context_length_exceeded", error.one_line, "messages")
        case PromptRefused():
            return ApiError(400, "invalid_prompt", error.one_line, "messages")
        case MachineFailed():
            return ApiError(500, "machine_failed", error.one_line)
        case _:
            return ApiError(500, "engine_failed", error.one_line)


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer a request that met an error; log what the server's operator has to fix."""
    match error:
        case FtctlError():
            return as_api_error(error).response()
        case HTTPException(status_code=status):
            message = f"Invalid URL ({request.method} {request.url.path})"
            return ApiError(status, "unknown_url", message, headers=_allow(request)).response()
        case OSError() if is_full(error):
            _log.error("%s %s: the disk is full: %s", request.method, request.url.path, error)
            message = (
                "The server's disk is full. Nothing of this request was kept; try again later."
            )
            return ApiError(507, "insufficient_storage", message).response()
        case OSError():
            _log.error("%s %s", request.method, request.url.path, exc_info=error)
        case _:
            pass  # it is raised again after the answer, and logged there
    return defect(error).response()


def _allow(request: Request) -> dict[str, str]:
    """Return the header with the methods of an address, from all of its routes; empty without."""
    # Here the request's scope is already relative to the one mount.
    routes = request.app.routes[0].routes
    fitting = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    allowed = {method for route in fitting for method in route.methods}
    return {"allow": ", ".join(sorted(allowed))} if allowed else {}
