"""Requests to the dashboard of a Ray cluster. Needs the standard library only.

No request is repeated here: whether it may be, its caller knows. Redirects are not followed, so that
a token goes to the cluster alone.
"""

import http.client
import json
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from backends.contract.inspector import Json
from backends.launchers.launcher import Unanswered
from backends.launchers.ray.failures import Failures, TokenMissing
from backends.launchers.ray.settings import is_loopback

LONGEST_ANSWER: Final = 64 << 20
"""Maximum number of bytes of an answer that is read as a whole."""
_CHUNK: Final = 1 << 16
_SLOWEST: Final = 1_000_000
"""Bytes a second that a connection must transfer of what is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """The dashboard of one cluster. Each request has a connection of its own. Thread-safe."""

    address: str
    token: str | None
    token_env: str | None
    """Variable that the token comes from; None where the cluster asks for none."""
    timeout_s: float
    """Seconds within which an answer has to be complete."""

    def json(self, method: str, path: str, body: Json = None) -> Json:
        """Return the JSON of an answer.

        Args:
            method: HTTP method.
            path: Path and query, below the address.
            body: Value to send as JSON; None to send nothing.

        Raises:
            TokenMissing: The token is not set here.
            NotSent: The cluster cannot be reached.
            Unanswered: The answer does not come, or is not JSON.
            Refusal: The answer is an error.
        """
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        answer = self.read(method, path, data)
        try:
            parsed: Json = json.loads(answer)
        except (ValueError, RecursionError):
            raise self._failures.not_the_api(answer) from None
        return parsed

    def read(
        self, method: str, path: str, data: bytes | None = None, *, tail: int | None = None
    ) -> bytes:
        """Return the body of an answer.

        Args:
            method: HTTP method.
            path: Path and query, below the address.
            data: Body to send.
            tail: Number of bytes to return, from the answer's end; None for the whole answer, which
                may have `LONGEST_ANSWER` bytes.

        Raises:
            TokenMissing: The token is not set here.
            NotSent: The cluster cannot be reached.
            Unanswered: The answer does not come, breaks off or is too long.
            Refusal: The answer is an error.
        """
        seconds = self.timeout_s + (len(data) / _SLOWEST if data else 0)
        headers = self._headers(data)
        connection, target, of_proxy = self._connection(path, seconds)
        with self._opened(connection, seconds):
            connection.request(method, target, body=data, headers=headers | of_proxy)
            with connection.getresponse() as answer:
                if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                    location = answer.headers.get("location", "")
                    raise self._failures.refusal(answer.status, location, answer.read(_CHUNK))
                return self._body(answer, tail)

    def unexpected(self, answer: Json) -> Unanswered:
        """Return the error for JSON that is not the API's."""
        return self._failures.not_the_api(json.dumps(answer).encode())

    @property
    def _failures(self) -> Failures:
        host = urlsplit(self.address).netloc
        return Failures(host=host, token_env=self.token_env, token=self.token)

    def _headers(self, data: bytes | None) -> dict[str, str]:
        # Ray refuses requests that look like those of a browser.
        headers = {"User-Agent": "ftctl", "Accept": "application/json", "Connection": "close"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self.token_env is None:
            return headers
        token = self.token or ""
        if not token.strip():
            raise TokenMissing(
                f"no token for the Ray cluster at {urlsplit(self.address).netloc}: the variable "
                f"{self.token_env} is not set",
                f"Set {self.token_env} in the environment.",
            )
        if not (token.isascii() and token.isprintable() and " " not in token):
            raise TokenMissing(
                f"the variable {self.token_env} has blanks, line ends or letters that no token has",
                f"Set {self.token_env} again, without quotes and line ends.",
            )
        return headers | {"Authorization": f"Bearer {token}"}

    def _connection(
        self, path: str, seconds: float
    ) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """Return an unopened connection, the request's target, and headers for a proxy."""
        parts = urlsplit(self.address)
        host, target = parts.hostname or "", f"{parts.path}{path}"
        by = _proxy(parts)
        to, port = (by.hostname or "", by.port) if by else (host, parts.port)
        login = _login(by) if by else {}
        if parts.scheme == "https":
            tunnel = http.client.HTTPSConnection(to, port, timeout=seconds, context=_authorities())
            if by:
                tunnel.set_tunnel(host, parts.port, headers=login)
            return tunnel, target, {}
        if by:
            target = f"{parts.scheme}://{parts.netloc}{target}"
        return http.client.HTTPConnection(to, port, timeout=seconds), target, login

    @contextmanager
    def _opened(self, connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
        """Open a connection, and break it off when its time is over: a slow answer never ends."""
        try:
            connection.connect()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._failures.not_sent(error) from None
        opened, over = connection.sock, threading.Event()

        def break_off() -> None:
            over.set()
            # Closing it would not wake the thread that reads from it.
            with suppress(OSError):
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

        timer = threading.Timer(seconds, break_off)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise self._failures.broken_off(error, seconds, is_over=over.is_set()) from None
        finally:
            timer.cancel()
            connection.close()
        if over.is_set():
            # Headers that were broken off look like those of an empty answer.
            raise self._failures.broken_off(TimeoutError(), seconds, is_over=True)

    def _body(self, answer: http.client.HTTPResponse, tail: int | None) -> bytes:
        body = bytearray()
        while chunk := answer.read1(_CHUNK):
            body += chunk
            if tail is not None:
                del body[: max(0, len(body) - tail)]
            elif len(body) > LONGEST_ANSWER:
                raise self._failures.too_long(LONGEST_ANSWER)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return bytes(body)


def _proxy(parts: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for an address; None for a direct way."""
    # A tunnel's end on this machine is not behind a proxy, and its token must not reach one.
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxy = getproxies().get(parts.scheme, "")
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _login(by: SplitResult) -> dict[str, str]:
    if not by.username:
        return {}
    login = f"{unquote(by.username)}:{unquote(by.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(login.encode()).decode()}"}


@cache
def _authorities() -> ssl.SSLContext:
    """Return the trusted authorities; reading them takes longer than a request."""
    return ssl.create_default_context()
