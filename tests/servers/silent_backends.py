"""Repositories whose jobs are at a place that gives no answer, and servers that give wrong ones."""

import http.server
import json
import socket
import threading
from contextlib import contextmanager, suppress

from controller.lockfile.model import (
    Build,
    DataFacts,
    Entry,
    Lockfile,
    OpenJob,
    PartFacts,
    dump_lockfile,
)

MODEL = "gpt-4.1-mini-2025-04-14"
KEY = "sk-test-of-nobody"
IDENTITY = f"scripted:{MODEL}@{'0' * 40}"
PART = PartFacts(digest="sha256:" + "1" * 64, examples=9)
DATA = DataFacts(train=PART, held_out=PART)
PLUG_INS = {
    "raising": "raise_all:create",
    "old": "raise_all:old",
    "nonsense": "raise_all:nonsense",
    "unopened": "raise_all:refuse",
    "unloaded": "absent_module:create",
    "broken": "broken_module:create",
}
RAISE_ALL = '''
"""A plug-in that is wrong in every way."""

from backends.testing import ScriptedBackend


class Raising(ScriptedBackend):
    def observe(self, *arguments):
        raise ZeroDivisionError("boom")

    events = cancel = resolve_base_model = complete = find_jobs = submit = estimate = observe


class Nonsense(ScriptedBackend):
    def observe(self, job_ids):
        return {job_id: None for job_id in job_ids}

    def events(self, job_id):
        return None

    def complete(self, base_model, models, prompts, sampling, skip=()):
        return []


class Old:
    """Made before anything but this was asked for."""

    name = "old"

    def observe(self, job_id):
        return {}


def create(state, endpoint):
    return Raising(state)


def old(state, endpoint):
    return Old()


def nonsense(state, endpoint):
    return Nonsense(state)


def refuse(state, endpoint):
    raise KeyError("no such setting")
'''


def fingerprint(number):
    return f"ft1:{number:064x}"


def entry(place, number, base_model=MODEL):
    shared = {
        "backend": place,
        "fingerprint": fingerprint(number),
        "attempt": 1,
        "inputs": {"base_model": f"model:{MODEL}" if place == "openai" else IDENTITY},
        "base_model": base_model,
        "data": DATA,
        "submitted": "2026-11-20T09:00:00Z",
    }
    job = OpenJob(id=f"ftjob-{number}", **shared)
    build = Build(
        **shared | {"fingerprint": fingerprint(number + 100)},
        job=f"ftjob-{number + 100}",
        model_id=f"ft:model:{number}",
        facts={},
        finished="2026-11-20T10:00:00Z",
    )
    return Entry(production=build.fingerprint, builds={build.fingerprint: build}, job=job)


def install_plug_ins(packages):
    """Write plug-ins that are wrong in every way into a folder."""
    info = packages / "ftctl_wrong-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-wrong\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in PLUG_INS.items())
    (info / "entry_points.txt").write_text(f"[ftctl.backends]\n{lines}")
    (packages / "raise_all.py").write_text(RAISE_ALL)
    (packages / "broken_module.py").write_text("import absent_package\n")


def record(shell, *places):
    """Declare a fine-tune for each place, with a model in production and a job open there."""
    names = {}
    for number, place in enumerate(places, start=1):
        name, backend, endpoint = place.replace("@", "-"), *place.partition("@")[::2]
        more = f"endpoint: {endpoint}\n" if endpoint else ""
        shell.declare(name, more, backend=backend, base=MODEL)
        names[name] = entry(place, number)
    shell.write("finetunes/ftctl.lock", dump_lockfile(Lockfile(finetunes=names)))
    return list(names)


@contextmanager
def answering(status, body, kind="application/json"):
    """Run a server that gives the same answer to every request; return its URL."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-should-retry", "false")
            self.send_header("retry-after-ms", "1")
            self.end_headers()
            # Whoever was refused once may not wait for its other answers.
            with suppress(ConnectionError):
                self.wfile.write(content)

        def do_POST(self):
            self.do_GET()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join(10)


def dead_server():
    """Return the URL of a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
