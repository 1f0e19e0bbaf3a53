"""Raw answers of a server: the JSON in them, or what their failure means. Needs the SDK."""

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final, Protocol
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

from backends.openai.api.causes import (
    NETWORK_LOGIN,
    Way,
    connection_failure,
    is_page,
    page_cause,
    redirect_cause,
    snippet,
)
from backends.openai.api.endpoints import host_of, shown_url
from backends.openai.api.protocol import NOT_THE_API, Body, OutcomeUnknown, Rejected, clean

_CONFLICTS: Final = frozenset({408, 409})
_SERVER_ERROR: Final = 500
_OF_ANSWERS: Final = frozenset({"id", "object", "data", "choices"})
"""Keys of which every API answer has at least one; a failed job also has an `error`."""
_KEEPS_METHOD: Final = frozenset({307, 308})
_READS: Final = frozenset({"GET", "HEAD"})


class RawAnswer(Protocol):
    """The part of a raw answer that this module reads."""

    @property
    def text(self) -> str:
        """The body as text."""

    @property
    def content(self) -> bytes:
        """The body."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""


class AnswerReader:
    """Reads the answers of one server, and never shows the key."""

    def __init__(self, base_url: str, secret: str) -> None:
        self._secret = secret
        self._way = Way(url=shown_url(base_url), proxy=_proxy(base_url))

    @property
    def host(self) -> str:
        """The server's host."""
        return self._way.host

    def parsed(self, raw: RawAnswer) -> Body:
        """Return the JSON object of an answer.

        Raises:
            OutcomeUnknown: The answer is not a JSON object of the API.
        """
        self.require_no_page(raw)
        try:
            parsed = json.loads(raw.content)
        except (ValueError, RecursionError):
            said = self.clean(raw.text[:80]) or "it is empty"
            raise OutcomeUnknown(f"the answer is not JSON: {said}", cause=NOT_THE_API) from None
        if not isinstance(parsed, dict):
            raise OutcomeUnknown("the answer is not a JSON object", cause=NOT_THE_API)
        error = parsed.get("error")
        if error and not parsed.keys() & _OF_ANSWERS:
            # Some gateways report an error with a success status.
            raise OutcomeUnknown(f"an error with HTTP 200: {self.clean(_said_in(error) or error)}")
        return parsed

    def items(self, raw: RawAnswer) -> list[Body]:
        """Return the objects of an answer that is a JSON list.

        Raises:
            OutcomeUnknown: The answer is not a list.
        """
        self.require_no_page(raw)
        try:
            parsed = json.loads(raw.content)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, list):
            raise OutcomeUnknown("the answer is not a list", cause=NOT_THE_API)
        return [item for item in parsed if isinstance(item, Mapping)]

    def require_no_page(self, raw: RawAnswer) -> None:
        """Refuse a page for browsers that came instead of the API's answer.

        Raises:
            OutcomeUnknown: The answer is a page; what the server did is not known.
        """
        kind = raw.headers.get("content-type", "")
        if is_page(kind, raw.text):
            cause = page_cause(200, raw.headers, raw.text, self._way)
            raise OutcomeUnknown(f"a web page: {self._snippet(raw.text)}", cause=cause)

    def refuse_redirect(self, response: httpx2.Response) -> None:
        """Refuse a redirect to another host, or a redirect that turns a change into a read.

        Raises:
            Rejected: The server did not process the request.
            OutcomeUnknown: The server may have made a change, and its answer is at another address.
        """
        if not response.has_redirect_location:
            return
        status, method = response.status_code, response.request.method
        location = response.headers["location"]
        elsewhere = host_of(location) not in {"", self._way.host}
        if not elsewhere and (method in _READS or status in _KEEPS_METHOD):
            return
        cause = redirect_cause(self._way, location)
        if elsewhere or status in _KEEPS_METHOD:
            raise Rejected(status, "a redirect", is_api_error=False, cause=cause)
        raise OutcomeUnknown(f"a redirect (HTTP {status})", may_pass=False, cause=cause)

    def failure(self, error: openai.APIError) -> Rejected | OutcomeUnknown:
        """Return what an exception of the SDK means."""
        if not isinstance(error, openai.APIStatusError):
            found = connection_failure(error, self._way)
            # A stream may carry an error of the API in one of its pieces.
            if type(error) is openai.APIError:
                found.reason = self.clean(error.message)
            return found
        status, text = error.status_code, error.response.text
        headers = error.response.headers
        body = error.body if isinstance(error.body, Mapping) else {}
        page = is_page(headers.get("content-type", ""), text) and "message" not in body
        said = self._snippet(text) if page else self.clean(_said_in(error.body) or text)
        said = said or "no message"
        retry_after_s = _retry_after(headers)
        cause = page_cause(status, headers, text, self._way) if page else None
        if status == NETWORK_LOGIN:
            cause = page_cause(status, headers, text, self._way)
        elif status in _CONFLICTS or status >= _SERVER_ERROR:
            return OutcomeUnknown(f"HTTP {status}: {said}", retry_after_s=retry_after_s)
        return Rejected(
            status,
            said,
            code=self.clean(body.get("code") or ""),
            param=self.clean(body.get("param") or ""),
            retry_after_s=retry_after_s,
            is_api_error="message" in body,
            cause=cause,
        )

    def _snippet(self, page: str) -> str:
        return self.clean(snippet(page.replace(self._secret, "***")))

    def clean(self, text: object) -> str:
        """Return a server's text without the key, fit to be shown."""
        return clean(text, self._secret)


def _proxy(url: str) -> str | None:
    """Return host and port of the proxy for requests to a URL."""
    host = host_of(url)
    if not host or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.partition(":")[0].lower()) or proxies.get("all")
    return None if proxy is None else proxy.rpartition("@")[2].rpartition("//")[2].rstrip("/")


def _said_in(body: object) -> object:
    """Return the message of an error body, in the protocol's form or in another usual form."""
    if isinstance(body, str):
        return body
    given = body if isinstance(body, Mapping) else {}
    for key in ("message", "detail", "error_description", "title", "error"):
        value = given.get(key)
        if isinstance(value, str) and value:
            return value
        if value:
            return json.dumps(value, ensure_ascii=False)
    return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the pause that a server requests: in milliseconds, in seconds, or until a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
            except (ValueError, OverflowError):
                continue
        if 0 <= seconds < math.inf:
            return seconds
    return None
