"""An S3 server on the loopback address, and a proxy in front of it that misbehaves as told.

The server is moto's, which honours conditions. The proxy takes the condition away, refuses, answers
late, drops connections or damages objects.
"""

import http.client
import logging
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module

BUCKET = "models"
CONDITION = "if-none-match"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED0000000000",
    "AWS_SECRET_ACCESS_KEY": "plantedSecret/that+no1mustSee",
    "AWS_REGION": "us-east-1",
}
"""Credentials for it; the secret must be in no output."""


@contextmanager
def s3_server() -> Iterator[str]:
    """Serve S3 with one empty bucket; yield the address."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = import_module("moto.server").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    try:
        host, port = server.get_host_and_port()
        make_bucket(f"http://{host}:{port}", BUCKET)
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(address: str, name: str) -> None:
    """Create a bucket."""
    request = urllib.request.Request(f"{address}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=30):
        pass


@dataclass
class Fault:
    """What the proxy does wrong; nothing at first."""

    ignores_conditions: bool = False
    status: int = 0
    """Status of each answer; 0 to ask the server."""
    drops_after: int | None = None
    """Number of requests after which connections are dropped; None for never."""
    loses: int = 0
    """Number of PUTs yet whose work is done, and that are answered with an error all the same."""
    damages: str = ""
    """Objects whose name contains this come with other bytes."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""


class _Proxy(BaseHTTPRequestHandler):
    fault: Fault
    target: str
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_one(self):
        fault, body = self.fault, self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault.requests.append(f"{self.command} {self.path}")
        if fault.drops_after is not None and len(fault.requests) > fault.drops_after:
            self.close_connection = True
        elif fault.status:
            code = {401: "InvalidToken", 403: "AccessDenied"}.get(fault.status, "Failed")
            self.answer(fault.status, f"<Error><Code>{code}</Code></Error>".encode())
        else:
            headers = dict(self.headers.items())
            if fault.ignores_conditions:
                headers = {name: headers[name] for name in headers if name.lower() != CONDITION}
            answer = forward(self.target, self.command, self.path, body, headers, fault)
            if fault.loses and self.command == "PUT":
                fault.loses -= 1
                answer = 500, b"<Error><Code>InternalError</Code></Error>", {}
            self.answer(*answer)

    def answer(self, status, content, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers or {}}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def faulty(address: str) -> Iterator[tuple[str, Fault]]:
    """Serve a proxy of an S3 server; yield its address, and what it does wrong."""
    fault, target = Fault(), address.removeprefix("http://")

    methods = {f"do_{name}": _Proxy.handle_one for name in ("GET", "HEAD", "POST", "PUT", "DELETE")}
    handler = type("Handler", (_Proxy,), {**methods, "fault": fault, "target": target})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", fault
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def forward(target, method, path, body, headers, fault):
    """Return status, content and headers of the server's answer, damaged as told."""
    connection = http.client.HTTPConnection(target, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers)
        found = connection.getresponse()
        content = found.read()
    finally:
        connection.close()
    if fault.damages and fault.damages in path and method == "GET":
        content = b"x" * len(content)
    return found.status, content, dict(found.getheaders())


def environment(address: str) -> dict[str, str]:
    """Return the variables by which clients find a server and its keys."""
    return {**os.environ, **KEYS, "AWS_ENDPOINT_URL": address}
