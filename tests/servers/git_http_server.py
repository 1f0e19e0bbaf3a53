"""Git over HTTP on loopback, with a token, outages, and GitHub's endpoint for commit statuses.

Git itself answers (`git http-backend`); this server asks for the token and passes requests on.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

TOKEN = "ghp_0123456789secret"
_STATUSES = re.compile(r"/api/v3/repos/([\w.-]+/[\w.-]+)/statuses/([0-9a-f]{40})")


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.server.owner.serve(self)

    def do_POST(self) -> None:
        self.server.owner.serve(self)


class GitServer:
    """Bare repositories below a folder, at `url/OWNER/NAME.git`."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.is_down = False
        """True to close every connection without an answer."""
        self.status_answers = []
        """Status and headers of the next answers to a commit status, instead of 201."""
        self.statuses = []
        """Commit, state and description of each status, as they came."""
        self.logins = set()
        """What clients sent as `authorization`."""
        self._http = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self._http.owner = self
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def serve(self, http: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        if self.is_down:
            http.close_connection = True
            http.connection.close()
            return
        body = http.rfile.read(int(http.headers.get("content-length") or 0))
        login = http.headers.get("authorization")
        self.logins.add(login)
        found = _STATUSES.fullmatch(urlsplit(http.path).path)
        if found is not None:
            self._take_status(http, found[2], json.loads(body), login)
            return
        basic = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
        scheme, _, given = (login or "").partition(" ")
        if (scheme.lower(), given) != ("basic", basic):
            self._send(http, 401, b"", {"WWW-Authenticate": 'Basic realm="git"'})
            return
        self._pass_on(http, body)

    def _take_status(self, http, commit: str, status: dict, login: str | None) -> None:
        code, headers = self.status_answers.pop(0) if self.status_answers else (201, {})
        if login != f"Bearer {TOKEN}":
            code = 401
        if code == 201:
            self.statuses.append((commit, status["state"], status["description"]))
            assert status["context"] == "ftctl / apply"
        self._send(http, code, json.dumps({"message": f"answer {code}"}).encode(), headers)

    def _pass_on(self, http, body: bytes) -> None:
        parts = urlsplit(http.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "somebody",
            "REQUEST_METHOD": http.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": http.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": http.headers.get("git-protocol", ""),
            "HTTP_CONTENT_ENCODING": http.headers.get("content-encoding", ""),
        }
        git = shutil.which("git")
        done = subprocess.run(
            [git, "http-backend"],
            env=environment,
            input=body,
            capture_output=True,
            timeout=60,
            check=False,
        )
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        code = int(headers.pop("Status", "200").split()[0])
        self._send(http, code, answer, headers)

    @staticmethod
    def _send(http, code: int, body: bytes, headers: dict[str, str]) -> None:
        http.send_response(code)
        for name, value in headers.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(body)))
        http.end_headers()
        http.wfile.write(body)
