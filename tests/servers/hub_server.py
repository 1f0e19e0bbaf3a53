"""A hub for tests: repositories of models in memory, by the protocol that huggingface_hub speaks.

It takes small files in the commit and large files by LFS, as a hub without Xet does.
"""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

LARGE = (".safetensors", ".gguf")
MISSING = 404


@dataclass
class Hub:
    """What a hub holds, and what it is asked."""

    token: str = "hf_right"
    private: dict[str, bool] = field(default_factory=dict)
    """Repositories; True if private."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    status: int = 200
    """Status of every answer to a commit."""
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held for a commit: its parent is compared and replaced at once."""

    @property
    def head(self) -> str:
        """Newest commit."""
        return f"{len(self.commits):040x}"


@contextmanager
def hub_server(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on the loopback address; its `url` is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, value):
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Repo-Commit", hub.head)
            self.send_header("ETag", f'"{len(body)}"')
            if status == MISSING:
                is_file = "Entry" in value["error"]
                self.send_header("X-Error-Code", "EntryNotFound" if is_file else "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def handle_one(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            if path.startswith("/lfs/"):
                hub.blobs[path.rpartition("/")[2]] = body
                return self.answer(200, {})
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.answer(401, {"error": "Invalid username or password."})
            return self.answer(*reply(hub, path, body))

        do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815 - names of the library

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


def reply(hub, path, body):
    """Return status and content for a request."""
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path == "/api/repos/create":
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        known = name in hub.private
        hub.private.setdefault(name, asked.get("visibility") == "private")
        return (409 if known else 200), {"url": f"{hub.url}/{name}"}
    if path.endswith("/objects/batch"):
        objects = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}},
            }
            for one in json.loads(body)["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}
    if "/resolve/" in path:
        name, _, file = path.removeprefix("/").partition("/resolve/")
        found = hub.files.get(name, {}).get(unquote(file.partition("/")[2]))
        return (MISSING, {"error": "Entry not found"}) if found is None else (200, found)
    name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
    if name not in hub.private:
        return 404, {"error": "Repository not found"}
    files = hub.files.setdefault(name, {})
    if "/tree/" in path:
        below = unquote(path.partition("/tree/")[2].partition("/")[2])
        last = {"id": hub.head, "title": "it", "date": "2026-11-30T00:00:00.000Z"}
        listed = [
            {"type": "file", "path": one, "size": len(files[one]), "oid": "0", "lastCommit": last}
            for one in files
            if one.startswith(f"{below}/" if below else "")
        ]
        return (200, listed) if listed or not below else (MISSING, {"error": "Entry not found"})
    if "/preupload/" in path:
        asked = json.loads(body)["files"]
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if is_large(files, one["path"]) else "regular",
                "shouldIgnore": False,
            }
            for one in asked
        ]
        return 200, {"files": modes}
    if "/commit/" in path:
        with hub.lock:
            return commit(hub, name, files, body)
    return 200, {"id": name, "private": hub.private[name], "sha": hub.head, "siblings": []}


def is_large(files, path):
    """Return whether a file is kept by LFS, by its ending or by the rules of the repository."""
    rules = files.get(".gitattributes", b"").decode()
    return path.endswith(LARGE) or (
        path.startswith("objects/") and "objects/** filter=lfs" in rules
    )


def commit(hub, name, files, body):
    """Apply the lines of a commit."""
    if hub.status != 200:
        return hub.status, {"error": "not now"}
    parent = json.loads(body.splitlines()[0])["value"].get("parentCommit")
    if parent not in {None, hub.head}:
        return 412, {"error": "A commit has happened since. Please refresh and try again."}
    for line in body.splitlines():
        entry = json.loads(line)
        value = entry["value"]
        if entry["key"] == "header":
            hub.commits.append(value["summary"])
        elif entry["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            files[value["path"]] = hub.blobs[value["oid"]]
        elif entry["key"] == "deletedFile":
            files.pop(value["path"], None)
    return 200, {"commitUrl": f"{hub.url}/{name}/commit/{hub.head}", "commitOid": hub.head}
