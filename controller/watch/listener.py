"""`/healthz` and `/metrics` over HTTP, answered in threads beside the loop."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TypeAlias

from controller.errors import FtctlError

_Connection: TypeAlias = socket.socket | tuple[bytes, socket.socket]
_TIMEOUT_S = 10.0
"""Time limit of a request: a silent client does not keep its thread."""
_AT_ONCE = 32
"""Requests answered at once; more are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer."""

    content_type: str
    body: bytes


def json_page(value: object) -> Page:
    """Return a JSON document as an answer."""
    body = json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"
    return Page(content_type="application/json; charset=utf-8", body=body)


@contextmanager
def listening(host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> Iterator[str]:
    """Answer requests until the block ends.

    Args:
        host: Address to listen on.
        port: Its port; 0 takes a free one.
        pages: What answers, by path.

    Yields:
        The address, `http://127.0.0.1:9464`.

    Raises:
        FtctlError: The address cannot be listened on.
    """
    try:
        server = _Server((host, port), pages)
    except (OSError, OverflowError) as error:
        message = f"cannot listen on {host}:{port}: {error}"
        remedy = "Choose another port; `--port 0` takes a free one."
        raise FtctlError(message, remedy) from None
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], pages: Mapping[str, Callable[[], Page]]) -> None:
        self.pages = pages
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without looking up the name of the address: that may take long without a network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: _Connection, client_address: object) -> None:
        """Answer a request in a thread, unless too many are answered already."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: _Connection, client_address: object) -> None:
        """Answer a request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: _Connection, client_address: object) -> None:
        """Ignore a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S
    server_version = "ftctl"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with a page."""
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        found = page()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", found.content_type)
        self.send_header("Content-Length", str(len(found.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(found.body)

    def do_HEAD(self) -> None:
        """Answer with the head of a page."""
        self.do_GET()

    def log_message(self, *_: object, **__: object) -> None:
        """Log no request."""
