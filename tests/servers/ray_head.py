"""A head of a Ray cluster on loopback that behaves as badly as real ones do. It runs the jobs.

It answers as Ray 2.60 does: HTTP 500 with a traceback for a second job of one ID, 404 in plain text.
What goes wrong is told it: answers that get lost, come drop by drop or from a proxy, wrong states,
forgotten jobs.
"""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
import zipfile
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from tests.children import child

_JOB = re.compile(r"/api/jobs/([^/]+)(/stop|/logs)?$")
_PACKAGE = re.compile(r"/api/packages/gcs/(_ray_pkg_\w+\.zip)$")
TAKEN = """Traceback (most recent call last):
  File "job_head.py", line 134, in _raise_error
    raise RuntimeError(f"Request failed with status code {{status}}: {{error_text}}.")
RuntimeError: Request failed with status code 400: Traceback (most recent call last):
  File "job_manager.py", line 553, in submit_job
    raise ValueError(
ValueError: {reason}
.
"""


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.server.owner.serve(self)

    def do_POST(self) -> None:
        self.server.owner.serve(self)

    def do_PUT(self) -> None:
        self.server.owner.serve(self)

    def do_DELETE(self) -> None:
        self.server.owner.serve(self)


class _Job:
    """A job, and the process that runs it."""

    def __init__(self, body, folder: Path) -> None:
        self.body = body
        self.log = folder / f"job-driver-{body['submission_id']}.log"
        self.log.write_text(f"Running entrypoint for job: {body['entrypoint']}\n")
        self.lie = None
        """State to answer with instead of the right one."""
        self.ended_s = None
        """When it ended, to answer with; None for now."""
        self.is_stopped = False
        self.process = None

    def start(self, cwd, started: ExitStack) -> None:
        """Run the entrypoint, as Ray does: through a shell."""
        variables = (self.body.get("runtime_env") or {}).get("env_vars") or {}
        with self.log.open("ab") as log:
            process = child(
                self.body["entrypoint"],
                shell=True,
                cwd=cwd,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(cwd), "PYTHONUNBUFFERED": "1", **variables},
            )
            self.process = started.enter_context(process)

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after the time that the job's variables give."""
        self.is_stopped = True
        variables = (self.body.get("runtime_env") or {}).get("env_vars") or {}
        seconds = float(variables.get("RAY_JOB_STOP_WAIT_TIME_S", 3))
        self._send(signal.SIGTERM)
        timer = threading.Timer(seconds, self.kill)
        timer.daemon = True
        timer.start()

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number) -> None:
        if self.process is not None and self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    @property
    def status(self) -> str:
        if self.lie is not None:
            return self.lie
        if self.process is None:
            return "PENDING"
        code = self.process.poll()
        if code is None:
            return "RUNNING"
        if self.is_stopped:
            return "STOPPED"
        return "FAILED" if code else "SUCCEEDED"

    def answer(self):
        messages = {
            "PENDING": "Job has not started yet. It may be waiting for resources (CPUs, GPUs) to become available.",
            "FAILED": "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\nsecret row of data\n",
        }
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": self.body["submission_id"],
            "status": self.status,
            "entrypoint": self.body["entrypoint"],
            "message": messages.get(self.status, "Job."),
            "end_time": int(1000 * (self.ended_s or time.time())),
            "metadata": self.body.get("metadata"),
            "runtime_env": self.body.get("runtime_env"),
        }


class RayHead:
    """The head. Use as a context manager; the jobs end with it.

    Attributes:
        url: Its address.
        token: Token that it asks for; None for none.
        nodes: Resources of its nodes.
        faults: What goes wrong with the next requests: of the first entry that begins like
            `METHOD PATH`, the function is called once, with the handler. It returns True if it answered.
        requests: `METHOD PATH` of every request.
        starts: Number of processes that were started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.token = None
        self.nodes = [{"CPU": 2.0, "memory": 1e9}]
        self.faults = []
        self.requests = []
        self.logins = []
        self.starts = 0
        self.jobs = {}
        self.others = [{"type": "DRIVER", "submission_id": None, "status": "RUNNING"}]
        """Further entries of the list of jobs."""
        self.packages = {}
        self._started = ExitStack()
        self._lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        for job in self.jobs.values():
            job.kill()
        self._started.close()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def fail(self, request: str, fault) -> None:
        """Have the next request that begins like this go wrong."""
        self.faults.append((request, fault))

    def forget(self) -> None:
        """Lose the history, as a head does that is replaced; the processes live on."""
        self.jobs = {}

    def serve(self, handler) -> None:
        """Answer a request."""
        length = int(handler.headers.get("content-length") or 0)
        body = handler.rfile.read(length)
        path = urlsplit(handler.path).path
        asked = f"{handler.command} {path}"
        with self._lock:
            self.requests.append(asked)
            self.logins.append(handler.headers.get("authorization"))
            fault = next((each for each in self.faults if asked.startswith(each[0])), None)
            if fault is not None:
                self.faults.remove(fault)
        if fault is not None and fault[1](handler, lambda: self._answer(handler, path, body)):
            return
        status, answer = self._answer(handler, path, body)
        send(handler, status, answer)

    def _answer(self, handler, path, body):
        """Do what is asked; return status and answer."""
        if self.token is not None:
            login = handler.headers.get("authorization")
            if not login:
                return 401, "Unauthorized: Missing authentication token"
            if login != f"Bearer {self.token}":
                return 403, "Forbidden: Invalid authentication token"
        if handler.headers.get("user-agent", "").startswith("Mozilla"):
            return 405, "Method Not Allowed for browser traffic."
        with self._lock:
            if path == "/api/jobs/":
                if handler.command == "POST":
                    return self._submit(json.loads(body))
                return 200, [*(job.answer() for job in self.jobs.values()), *self.others]
            if path == "/api/v0/nodes":
                nodes = [{"state": "ALIVE", "resources_total": each} for each in self.nodes]
                return 200, {"result": True, "msg": "", "data": {"result": {"result": nodes}}}
            if found := _PACKAGE.fullmatch(path):
                return self._package(handler.command, found[1], body)
            if found := _JOB.fullmatch(path):
                return self._of_job(handler.command, unquote(found[1]), found[2])
        return 404, "404: Not Found"

    def _submit(self, body):
        name = body["submission_id"]
        if name in self.jobs:
            reason = f"Job with submission_id {name} already exists. Please use a different submission_id."
            return 500, TAKEN.format(reason=reason)
        runtime = body.get("runtime_env") or {}
        if "nonsense" in runtime:
            return 500, TAKEN.format(reason="runtime_env field nonsense is not known")
        job = self.jobs[name] = _Job(body, self.folder)
        if self._fits(body):
            job.start(self._unpacked(runtime), self._started)
            self.starts += 1
        return 200, {"job_id": name, "submission_id": name}

    def _fits(self, body) -> bool:
        wanted = {"CPU": body.get("entrypoint_num_cpus"), "GPU": body.get("entrypoint_num_gpus")}
        return any(
            all((some or 0) <= node.get(kind, 0) for kind, some in wanted.items())
            for node in self.nodes
        )

    def _unpacked(self, runtime) -> Path:
        address = runtime.get("working_dir")
        if address is None:
            return self.folder
        name = address.removeprefix("gcs://")
        folder = self.folder / name.removesuffix(".zip")
        if not folder.exists():
            with zipfile.ZipFile(BytesIO(self.packages[name])) as archive:
                archive.extractall(folder)
        return folder

    def _package(self, method, name, body):
        if method == "PUT":
            self.packages[name] = body
            return 200, b""
        if name in self.packages:
            return 200, b""
        return 404, f"Package gcs://{name} does not exist"

    def _of_job(self, method, name, what):
        job = self.jobs.get(name)
        if job is None:
            return 404, f"Job {name} does not exist"
        if what == "/stop":
            job.stop()
            return 200, {"stopped": True}
        if what == "/logs":
            return 200, {"logs": job.log.read_text(errors="replace")}
        if method == "DELETE":
            if job.status in {"PENDING", "RUNNING"}:
                return 500, f"RuntimeError: Attempted to delete job '{name}'"
            del self.jobs[name]
            return 200, {"deleted": True}
        return 200, job.answer()


def send(handler, status, answer, kind=None) -> None:
    """Send an answer: JSON, or plain text for a text."""
    content = answer
    if isinstance(answer, str):
        content, kind = answer.encode(), kind or "text/plain; charset=utf-8"
    elif not isinstance(answer, bytes):
        content = json.dumps(answer).encode()
    handler.send_response(status)
    handler.send_header("content-type", kind or "application/json; charset=utf-8")
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


# ---- what can go wrong with one request: functions of the handler, and of what does the work


def answers(status, text, kind=None):
    """Answer so, and do nothing."""

    def fault(handler, _) -> bool:
        send(handler, status, text, kind)
        return True

    return fault


def redirects(location, status=302):
    """Send the client elsewhere."""

    def fault(handler, _) -> bool:
        handler.send_response(status)
        handler.send_header("location", location)
        handler.send_header("content-length", "0")
        handler.end_headers()
        return True

    return fault


def resets(*, after_work: bool):
    """Break the connection off, before or after the work was done."""

    def fault(handler, work) -> bool:
        if after_work:
            work()
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.rfile.close()
        handler.connection.close()
        return True

    return fault


def drips(*, after_work: bool, in_headers: bool = False):
    """Answer a byte at a time, without end."""

    def fault(handler, work) -> bool:
        if after_work:
            work()
        start = b"HTTP/1.1 200 OK\r\n"
        start += b"x-slow: " if in_headers else b"content-length: 100000\r\n\r\n"
        with suppress(OSError):
            handler.wfile.write(start)
            while True:
                handler.wfile.write(b"[")
                time.sleep(0.05)
        return True

    return fault


def answers_after_work(status, text):
    """Do the work, and answer with an error nevertheless."""

    def fault(handler, work) -> bool:
        work()
        send(handler, status, text)
        return True

    return fault


def endless(size):
    """Answer with that many bytes."""

    def fault(handler, _) -> bool:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            for _ in range(size >> 20):
                handler.wfile.write(b" " * (1 << 20))
        handler.close_connection = True
        return True

    return fault
