"""A small server of the fine-tuning protocol on the loopback address, with faults on demand.

It keeps files and jobs in memory and knows nothing of the client. A fault is put in place by
`faults[("POST", "/fine_tuning/jobs")] = [Fault(...), ...]`: each matching request takes the first.
"""

import hashlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit
from weakref import WeakSet

from tests.backends.openai.servers.emulator import Emulator, error_body

KEY = "sk-test-0123456789abcdef"


@dataclass
class Fault:
    """What goes wrong with one request."""

    kind: str
    """`drop`, `html`, `body` or an HTTP status as text."""
    after: bool = False
    """Whether the request is carried out first."""
    body: object = None
    headers: dict = field(default_factory=dict)


class _Http(ThreadingHTTPServer):
    """Closes what clients keep open, whose threads would wait for requests as long as the tests run."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._open = WeakSet()

    def process_request(self, request, client_address):
        self._open.add(request)
        super().process_request(request, client_address)

    def close_connections(self):
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Server(Emulator):
    """State and switches; `url` is the base URL."""

    def __init__(self):
        super().__init__()
        self.requests = []
        self.faults = {}
        self.always = None
        """The fault of every request that has none of its own."""
        self.lock = threading.RLock()
        self.kill = None
        """(pid, request number, "before" or "after"): the client dies there."""
        self.at_once = self.most_at_once = 0
        self.hold_s = 0.0
        """How long each request is held, for counting those under way."""
        self._http = _Http(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.handle_error = self._tell_error
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._http.close_connections()
        self._thread.join(10)

    def _tell_error(self, _request, _address):
        # A client that dies is not an error of the server.
        if not isinstance(sys.exception(), ConnectionError):
            traceback.print_exc()

    def place(self, method, path):
        """Return the call whose faults meet a request."""
        return method, path

    def put_fault(self, method, path, *faults):
        self.faults[method, path] = list(faults)

    def _handler(server):  # noqa: N805 - the handler below has a `self` of its own
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_GET(self):
                server._serve(self, "GET")

            def do_POST(self):
                server._serve(self, "POST")

            def do_PUT(self):
                server._serve(self, "PUT")

            def do_DELETE(self):
                server._serve(self, "DELETE")

        return Handler

    def _serve(self, http, method):
        parts = urlsplit(http.path)
        path = parts.path.removeprefix("/v1")
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self._read(http)
        with self.lock:
            self.count += 1
            number = self.count
            self.requests.append((method, path, query, body if isinstance(body, dict) else None))
            queue = self.faults.get(self.place(method, path), [])
            fault = queue.pop(0) if queue else self.always
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.hold_s)
        with self.lock:
            self.at_once -= 1
        if self._kill(number, "before"):
            return None  # it never arrived
        if fault is not None and not fault.after:
            return self._fail(http, fault)
        if http.headers.get("authorization") != f"Bearer {KEY}":
            message = f"Incorrect API key provided: {http.headers.get('authorization')}."
            return self._send(http, 401, error_body(message, "invalid_api_key"))
        with self.lock:
            status, answer = self.route(method, path, query, body)
        self._kill(number, "after")
        if fault is not None:
            return self._fail(http, fault)
        return self._send(http, status, answer)

    def _kill(self, number, when):
        if self.kill is not None and self.kill[1:] == (number, when):
            os.kill(self.kill[0], signal.SIGKILL)
            time.sleep(0.02)
            return True
        return False

    def _read(self, http):
        length = int(http.headers.get("content-length") or 0)
        kind = http.headers.get("content-type", "")
        if kind.startswith("multipart/"):
            return _read_multipart(http, length, kind)
        raw = http.rfile.read(length)
        return json.loads(raw) if raw else {}

    def _fail(self, http, fault):
        if fault.kind == "drop":
            http.close_connection = True
            http.connection.close()
            return
        if fault.kind == "html":
            self._send(http, 200, "<!DOCTYPE html><p>Bad gateway", {"content-type": "text/html"})
            return
        if fault.kind == "body":
            self._send(http, 200, fault.body)
            return
        said = error_body(f"fault {fault.kind}", param=None)
        if isinstance(fault.body, str | bytes):
            self._send(
                http, int(fault.kind), fault.body, {"content-type": "text/html", **fault.headers}
            )
            return
        self._send(http, int(fault.kind), fault.body or said, fault.headers)

    def _send(self, http, status, body, headers=None):
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else None
        raw = json.dumps(body).encode() if raw is None else raw
        try:
            http.send_response_only(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                http.send_header(name, value)
            http.send_header("content-length", str(len(raw)))
            http.end_headers()
            http.wfile.write(raw)
        except OSError:
            http.close_connection = True


def _read_multipart(http, length, kind):
    """Read a form without keeping large files: fields, the file's name, size and digest."""
    boundary = b"\r\n--" + kind.partition("boundary=")[2].strip('"').encode()
    buffer, left = b"\r\n" + http.rfile.read(min(length, 1 << 16)), length - min(length, 1 << 16)
    form = {"filename": None, "purpose": None, "bytes": 0, "data": b""}
    while buffer.startswith(boundary) and not buffer.startswith(boundary + b"--"):
        head, _, buffer = buffer[len(boundary) + 2 :].partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]+)"', head)[1].decode()
        filename = re.search(rb'filename="([^"]+)"', head)
        digest, size, kept = hashlib.sha256(), 0, b""
        while True:
            end = buffer.find(boundary)
            piece = buffer[: end if end >= 0 else max(0, len(buffer) - len(boundary))]
            digest.update(piece)
            size += len(piece)
            kept = (kept + piece)[: 1 << 16]
            buffer = buffer[len(piece) :]
            if end >= 0:
                break
            more = http.rfile.read(min(left, 1 << 20))
            left -= len(more)
            buffer += more
        if filename is not None or name == "data":
            form |= {"bytes": size, "data": kept, "sha256": digest.hexdigest()}
        if filename is not None and name == "file":
            form["filename"] = filename[1].decode()
        elif name != "data":
            form[name] = kept.decode()
    if left:
        http.rfile.read(left)
    return form
