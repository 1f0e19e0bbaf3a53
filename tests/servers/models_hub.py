"""A hub for tests that serves models from memory, by the protocol that huggingface_hub speaks."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_right"
FIRST, SECOND = "1" * 40, "2" * 40


@dataclass
class ModelsHub:
    """Repositories at a hub, and what the hub does to requests."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by repository, the same at each commit."""
    main: str = FIRST
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    cards: dict[str, dict] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Requests, with the range of bytes where one was asked for."""
    busy: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next answers."""
    breaks: list[int] = field(default_factory=list)
    """Bytes after which the next downloads of weights break off."""
    damaged: set[str] = field(default_factory=set)
    """Files whose content is not what the hub lists."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Sizes that are listed of some files, whatever they hold."""
    whole: bool = False
    """True if files are always sent whole, whatever range is asked for."""
    slow_s: float = 0.0
    """Pause after each piece of a file."""
    url: str = ""

    def downloads(self) -> list[str]:
        """Return the requests for files."""
        return [one for one in self.asked if "/resolve/" in one]


@contextmanager
def serving(hub: ModelsHub) -> Iterator[ModelsHub]:
    """Serve a hub on the loopback address; its `url` is set."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ModelsHub

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = unquote(self.path).partition("?")[0]
        asked = self.headers.get("range", "")
        self.hub.asked.append(" ".join(part for part in (path, asked) if part))
        if self.hub.busy:
            status, headers = self.hub.busy.pop(0)
            return self.send(status, b"", headers)
        listed = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/(.+))?", path)
        file = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/(\w+)/(.+)", path)
        name = (listed or file)[1] if listed or file else ""
        allowed = self.headers.get("authorization") == f"Bearer {TOKEN}"
        if name not in self.hub.files or (name in self.hub.private and not allowed):
            return self.send(404 if allowed else 401, b"", {"X-Error-Code": "RepoNotFound"})
        if listed:
            return self.list(name, listed[2] or "main")
        if name in self.hub.gated and not allowed:
            return self.send(401, b"", {"X-Error-Code": "GatedRepo"})
        return self.give(name, file[2], file[3])

    def list(self, name, revision):
        commit = self.hub.main if revision == "main" else revision
        if revision != "main" and not re.fullmatch("[0-9a-f]{40}", commit):
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = self.hub.files[name].items()
        value = {
            "id": name,
            "sha": commit,
            "siblings": [sibling(*file, self.hub.sizes.get(file[0])) for file in files],
            "tags": [],
            "cardData": self.hub.cards.get(name),
        }
        return self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def give(self, name, commit, path):
        content = self.hub.files[name].get(path)
        if content is None:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        if path in self.hub.damaged:
            content = content[:-1] + b"?"
        headers, status = {"X-Repo-Commit": commit, "ETag": '"x"'}, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if asked and not self.hub.whole:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            content, status = content[start:], 206
        return self.send(status, content, headers, pieces=path.endswith(".safetensors"))

    def send(self, status, body, headers, *, pieces=False):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body), "Connection": "close"}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if not pieces:
            self.wfile.write(body)
            return
        until = self.hub.breaks.pop(0) if self.hub.breaks else len(body)
        for start in range(0, until, 1 << 20):
            self.wfile.write(body[start : min(until, start + (1 << 20))])
            self.wfile.flush()
            time.sleep(self.hub.slow_s)


def sibling(name, content, listed=None):
    """Return what a hub lists of a file: large ones by SHA-256, small ones by git's SHA-1."""
    size = len(content) if listed is None else listed
    found = {
        "rfilename": name,
        "size": size,
        "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
    }
    if name.endswith((".safetensors", ".bin", ".gguf", "tokenizer.json")):
        digest = hashlib.sha256(content).hexdigest()
        found["lfs"] = {"size": size, "sha256": digest, "pointerSize": 130}
    return found
