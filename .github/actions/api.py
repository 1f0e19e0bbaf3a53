"""The few calls of GitHub's REST API that the actions make, with the standard library alone."""

import http.client
import io
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Json: TypeAlias = Any
"""A value of JSON."""
TIMEOUT_S = 30.0
TRIES = 4
_AGAIN = frozenset({429, 500, 502, 503, 504})
MOST_PAGES = 50
PAGE = 100
_MOVED = frozenset({301, 302, 303, 307, 308})
_MISSING = 404


class ApiError(Exception):
    """GitHub refused a call, or gave no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class _StopAtRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the token must not go to another host."""

    def redirect_request(self, *_: object) -> None:
        return None


class GitHub:
    """A repository at GitHub, called with the job's token."""

    def __init__(self, token: str, repository: str | None = None) -> None:
        server = os.environ.get("GITHUB_API_URL", "https://api.github.com")
        self._base = f"{server}/repos/{repository or os.environ['GITHUB_REPOSITORY']}"
        self._token = token

    def get(self, path: str, **query: object) -> Json:
        """Return the answer to a GET; None if there is nothing at that address."""
        raw = self._call("GET", _with(path, query))
        return None if raw is None else _json(raw, path)

    def pages(self, path: str, key: str | None = None, **query: object) -> Iterator[Json]:
        """Yield every item of a listing."""
        for page in range(1, MOST_PAGES + 1):
            answer = self.get(path, per_page=PAGE, page=page, **query) or []
            items = answer[key] if key and answer else answer
            yield from items
            if len(items) < PAGE:
                return
        raise ApiError(f"{path} has more than {MOST_PAGES} pages")

    def send(self, method: str, path: str, body: object) -> Json:
        """Send a body; return the answer, None if it is empty."""
        raw = self._call(method, path, json.dumps(body).encode())
        return _json(raw, path) if raw else None

    def file(self, path: str, ref: str, limit: int) -> bytes | None:
        """Return a file of a branch or commit; None if there is none."""
        quoted = urllib.parse.quote(path)
        raw = self._call(
            "GET",
            _with(f"/contents/{quoted}", {"ref": ref}),
            accept="application/vnd.github.raw+json",
        )
        if raw is not None and len(raw) > limit:
            raise ApiError(f"{path} has more than {limit} bytes")
        return raw

    def artifact(self, run: int, name: str, limit: int) -> dict[str, bytes]:
        """Return the files of a run's artifact, by name; empty if there is none. Data, never run."""
        found = [
            one
            for one in self.pages(f"/actions/runs/{run}/artifacts", "artifacts")
            if one["name"] == name and not one["expired"]
        ]
        if not found:
            return {}
        newest = max(found, key=lambda one: one["id"])
        raw = self._call("GET", f"/actions/artifacts/{newest['id']}/zip", limit=limit) or b""
        files = {}
        try:
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                for entry in archive.infolist():
                    if entry.file_size > limit:
                        raise ApiError(f"{entry.filename} in {name} has more than {limit} bytes")
                    if not entry.is_dir():
                        files[entry.filename] = archive.read(entry)
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ApiError(f"the artifact {name} of run {run} is damaged: {error}") from None
        return files

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        accept: str = "application/vnd.github+json",
        limit: int = 256 << 20,
    ) -> bytes | None:
        headers = {"Accept": accept, "Authorization": f"Bearer {self._token}"}
        headers |= {"X-GitHub-Api-Version": "2022-11-28", "User-Agent": "ftctl"}
        request = urllib.request.Request(self._base + path, body, headers, method=method)
        for attempt in range(1, TRIES + 1):
            try:
                return _fetch(request, limit)
            except urllib.error.HTTPError as error:
                if error.code == _MISSING and method == "GET":
                    return None
                # Sent twice, a comment or an issue would be there twice.
                if error.code not in _AGAIN or method == "POST" or attempt == TRIES:
                    text = error.read(500).decode("utf-8", "replace")
                    raise ApiError(f"{method} {path}: {error.code} {text}", error.code) from None
            except (OSError, http.client.HTTPException) as error:
                if method == "POST" or attempt == TRIES:
                    raise ApiError(f"{method} {path}: {error}") from None
            time.sleep(2**attempt / 4)
        return None


def _fetch(request: urllib.request.Request, limit: int) -> bytes:
    opener = urllib.request.build_opener(_StopAtRedirect)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            return _read(answer, limit)
    except urllib.error.HTTPError as error:
        if error.code not in _MOVED or request.method != "GET":
            raise
        # An artifact lies elsewhere, at an address that holds its own permission.
        with urllib.request.urlopen(error.headers["Location"], timeout=TIMEOUT_S) as answer:
            return _read(answer, limit)


def _json(raw: bytes, path: str) -> Json:
    try:
        return json.loads(raw)
    except ValueError:
        raise ApiError(f"{path}: the answer is not JSON") from None


def output(**values: object) -> None:
    """Write outputs of the step."""
    with Path(os.environ.get("GITHUB_OUTPUT", os.devnull)).open("a", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in values.items())


def event() -> Json:
    """Return the event that started the run."""
    return json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))


def fail(message: str) -> None:
    """End the step with an error that the run's page shows. On one line, so nothing else is read."""
    flat = " ".join(message.split()).replace("%", "%25")
    sys.exit(f"::error::{flat}")


def _read(answer: http.client.HTTPResponse, limit: int) -> bytes:
    raw: bytes = answer.read(limit + 1)
    if len(raw) > limit:
        raise ApiError(f"the answer has more than {limit} bytes")
    if answer.length:  # what is still to come: the connection ended before it
        raise http.client.IncompleteRead(raw, answer.length)
    return raw


def _with(path: str, query: dict[str, object]) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path
