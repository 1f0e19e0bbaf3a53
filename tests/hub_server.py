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

LARGE = (".safetensors", ".gguf")


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


@contextmanager
def hub_server(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on the loopback address; its `url` is set."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, value):
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
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

        do_GET = do_POST = do_PUT = handle_one  # noqa: N815 - names of the library

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
    name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
    if name not in hub.private:
        return 404, {"error": "Repository not found"}
    files = hub.files.setdefault(name, {})
    if "/tree/" in path:
        return 200, [
            {"type": "file", "path": one, "size": len(files[one]), "oid": "0"} for one in files
        ]
    if "/preupload/" in path:
        asked = json.loads(body)["files"]
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in asked
        ]
        return 200, {"files": modes}
    if "/commit/" in path:
        return commit(hub, name, files, body)
    return 200, {"id": name, "private": hub.private[name], "sha": "b" * 40, "siblings": []}


def commit(hub, name, files, body):
    """Apply the lines of a commit."""
    if hub.status != 200:
        return hub.status, {"error": "not now"}
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
    return 200, {"commitUrl": f"{hub.url}/{name}/commit/{'a' * 40}", "commitOid": "a" * 40}
