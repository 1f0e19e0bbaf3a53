"""A small server of the fine-tuning protocol on the loopback address, with faults on demand.

It keeps files and jobs in memory and knows nothing of the client. A fault is put in place by
`faults[("POST", "/fine_tuning/jobs")] = [Fault(...), ...]`: each matching request takes the first.
"""

import hashlib
import json
import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

KEY = "sk-test-0123456789abcdef"
OPEN = {"validating_files", "queued", "running", "paused", "pausing"}


@dataclass
class Fault:
    """What goes wrong with one request."""

    kind: str
    """`drop`, `html`, `body` or an HTTP status as text."""
    after: bool = False
    """Whether the request is carried out first."""
    body: object = None
    headers: dict = field(default_factory=dict)


def error_body(message, code=None, param=None, kind="invalid_request_error"):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Server:
    """State and switches; `url` is the base URL."""

    def __init__(self):
        self.files, self.jobs, self.events, self.models = {}, {}, {}, {}
        self.contents, self.uploads = {}, {}
        self.requests = []
        self.faults = {}
        self.ignore_filter = False
        self.no_metadata = False
        self.no_suffix = False
        self.lag = 0
        self.start_status = "validating_files"
        self.lock = threading.RLock()
        self.kill = None
        """(pid, request number, "before" or "after"): the client dies there."""
        self.count = self.at_once = self.most_at_once = 0
        self.finishes = False
        """Whether a job succeeds as soon as it is looked at by its ID."""
        self.hold_s = 0.0
        """How long each request is held, for counting those under way."""
        self.answer = lambda body: f"answer of {body['model']}"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def running(self):
        return [job for job in self.jobs.values() if job["status"] in OPEN]

    @property
    def trainings(self):
        """Jobs that cost money: open ones and finished ones."""
        return [job for job in self.jobs.values() if job["status"] in {*OPEN, "succeeded"}]

    def put_fault(self, method, path, *faults):
        self.faults[method, path] = list(faults)

    def finish(self, job_id, **changes):
        job = self.jobs[job_id]
        suffix = job["user_provided_suffix"] or "x"
        model = f"ft:{job['model']}:org:{suffix}:{job_id[-6:]}"
        self.models[model] = {"id": model, "object": "model", "created": 1, "owned_by": "org"}
        job |= {
            "status": "succeeded",
            "fine_tuned_model": model,
            "finished_at": job["created_at"] + 60,
            "trained_tokens": 1234,
        }
        job |= changes
        return model

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
            queue = self.faults.get((method, path), [])
            fault = queue.pop(0) if queue else None
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.hold_s)
        with self.lock:
            self.at_once -= 1
        self._kill(number, "before")
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
        self._send(http, int(fault.kind), fault.body or said, fault.headers)

    def _send(self, http, status, body, headers=None):
        raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else None
        raw = json.dumps(body).encode() if raw is None else raw
        try:
            http.send_response(status)
            for name, value in {"content-type": "application/json", **(headers or {})}.items():
                http.send_header(name, value)
            http.send_header("content-length", str(len(raw)))
            http.end_headers()
            http.wfile.write(raw)
        except OSError:
            http.close_connection = True

    def route(self, method, path, query, body):
        for (wanted, pattern), act in _ROUTES.items():
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                return act(self, query, body, *found.groups())
        return 404, error_body(f"Invalid URL ({method} /v1{path})", "unknown_url")

    # files

    def upload(self, _query, form):
        return 200, self.add_file(form["filename"], form["bytes"], form["purpose"], form["data"])

    def add_file(self, name, size, purpose, data):
        file_id = f"file-{len(self.files):04d}"
        self.contents[file_id] = data
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": size,
            "created_at": int(time.time()),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        return self.files[file_id]

    def list_files(self, query, _body):
        files = [f for f in self.files.values() if query.get("purpose") in {None, f["purpose"]}]
        return self._page(files[::-1], query, 10000)

    def get_file(self, _query, _body, file_id):
        if file_id not in self.files:
            return 404, error_body(f"No such File object: {file_id}", param="id")
        return 200, self.files[file_id]

    def get_content(self, _query, _body, file_id):
        return 200, self.contents[file_id]

    def delete_file(self, _query, _body, file_id):
        del self.files[file_id]
        return 200, {"id": file_id, "object": "file", "deleted": True}

    # uploads in parts

    def create_upload(self, _query, body):
        upload_id = f"upload_{len(self.uploads)}"
        self.uploads[upload_id] = body | {"parts": {}}
        return 200, self._upload(upload_id, "pending")

    def add_part(self, _query, form, upload_id):
        parts = self.uploads[upload_id]["parts"]
        part_id = f"part_{len(parts)}"
        parts[part_id] = form["bytes"]
        part = {"id": part_id, "object": "upload.part", "created_at": 1, "upload_id": upload_id}
        return 200, part

    def complete_upload(self, _query, body, upload_id):
        upload = self.uploads[upload_id]
        size = sum(upload["parts"][part] for part in body["part_ids"])
        if size != upload["bytes"]:
            return 400, error_body("bytes do not match")
        file = self.add_file(upload["filename"], size, upload["purpose"], b"")
        return 200, self._upload(upload_id, "completed") | {"file": file}

    def _upload(self, upload_id, status):
        body = self.uploads[upload_id]
        return {
            "id": upload_id,
            "object": "upload",
            "bytes": body["bytes"],
            "created_at": 1,
            "expires_at": 2,
            "filename": body["filename"],
            "purpose": body["purpose"],
            "status": status,
        }

    # jobs

    def create_job(self, _query, body):
        job_id = f"ftjob-{len(self.jobs):06d}"
        method = body.get("method") or {"type": "supervised"}
        settings = (method.get(method["type"]) or {}).get("hyperparameters", {})
        self.jobs[job_id] = {
            "id": job_id,
            "object": "fine_tuning.job",
            "created_at": int(time.time()),
            "error": {},
            "fine_tuned_model": None,
            "finished_at": None,
            "hyperparameters": {
                k: settings.get(k, "auto")
                for k in ("n_epochs", "batch_size", "learning_rate_multiplier")
            },
            "model": body["model"],
            "organization_id": "org-1",
            "result_files": [],
            "status": self.start_status,
            "trained_tokens": None,
            "training_file": body["training_file"],
            "validation_file": body.get("validation_file"),
            "seed": body.get("seed", 7),
            "method": method,
            "metadata": None if self.no_metadata else body.get("metadata"),
            "user_provided_suffix": None if self.no_suffix else body.get("suffix"),
            "shown_from": self.count + self.lag,
        }
        return 200, self._shown(self.jobs[job_id])

    def list_jobs(self, query, _body):
        jobs = [job for job in self.jobs.values() if job["shown_from"] <= self.count]
        wanted = {k[9:-1]: v for k, v in query.items() if k.startswith("metadata[")}
        if not self.ignore_filter:
            jobs = [j for j in jobs if wanted.items() <= (j["metadata"] or {}).items()]
        return self._page([self._shown(job) for job in jobs[::-1]], query, 20)

    def get_job(self, _query, _body, job_id):
        if job_id not in self.jobs:
            return 404, error_body(f"Could not find fine tune: {job_id}", "fine_tune_not_found")
        if self.finishes and self.jobs[job_id]["status"] in OPEN:
            self.finish(job_id)
        return 200, self._shown(self.jobs[job_id])

    def cancel_job(self, _query, _body, job_id):
        if job_id not in self.jobs:
            return 404, error_body(f"Could not find fine tune: {job_id}", "fine_tune_not_found")
        if self.jobs[job_id]["status"] not in OPEN:
            return 400, error_body(f"Job has already completed: {job_id}")
        self.jobs[job_id]["status"] = "cancelled"
        return 200, self._shown(self.jobs[job_id])

    def pause_job(self, _query, _body, job_id):
        self.jobs[job_id]["status"] = "paused"
        return 200, self._shown(self.jobs[job_id])

    def resume_job(self, _query, _body, job_id):
        self.jobs[job_id]["status"] = "queued"
        return 200, self._shown(self.jobs[job_id])

    def list_events(self, query, _body, job_id):
        return self._page(self.events.get(job_id, [])[::-1], query, 20)

    def list_checkpoints(self, query, _body, job_id):
        model = self.jobs[job_id]["fine_tuned_model"]
        points = [
            {
                "id": f"ftckpt_{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": 1,
                "fine_tuned_model_checkpoint": f"{model}:ckpt-step-{step}",
                "fine_tuning_job_id": job_id,
                "metrics": {"step": step},
                "step_number": step,
            }
            for step in ((20, 10) if model else ())
        ]
        return self._page(points, query, 10)

    @staticmethod
    def _shown(job):
        return {key: value for key, value in job.items() if key != "shown_from"}

    def _page(self, items, query, limit):
        limit = int(query.get("limit", limit))
        ids = [item["id"] for item in items]
        start = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        data = items[start : start + limit]
        page = {"object": "list", "data": data, "has_more": start + limit < len(items)}
        ends = (data[0]["id"], data[-1]["id"]) if data else ("", "")
        return 200, page | dict(zip(("first_id", "last_id"), ends, strict=True))

    # models and chat

    def get_model(self, _query, _body, model):
        if model not in self.models:
            message = f"The model '{model}' does not exist"
            return 404, error_body(message, "model_not_found", "model")
        return 200, self.models[model]

    def delete_model(self, _query, _body, model):
        if model not in self.models:
            return self.get_model(None, None, model)
        del self.models[model]
        return 200, {"id": model, "object": "model", "deleted": True}

    def chat(self, _query, body):
        if body["model"] not in self.models:
            return self.get_model(None, None, body["model"])
        text = self.answer(body)
        common = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        if not body.get("stream"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            return 200, common | {"object": "chat.completion", "choices": [choice], "usage": usage}
        chunk = common | {"object": "chat.completion.chunk"}
        pieces = [
            chunk | {"choices": [{"index": 0, "delta": {"content": c}, "finish_reason": None}]}
            for c in text
        ]
        pieces += [chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}]
        pieces += [chunk | {"choices": [], "usage": usage}]
        lines = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)
        return 200, f"{lines}data: [DONE]\n\n".encode()


_JOB = r"/fine_tuning/jobs/([^/]+)"
_ROUTES = {
    ("POST", "/files"): Server.upload,
    ("GET", "/files"): Server.list_files,
    ("GET", "/files/([^/]+)"): Server.get_file,
    ("DELETE", "/files/([^/]+)"): Server.delete_file,
    ("GET", "/files/([^/]+)/content"): Server.get_content,
    ("POST", "/uploads"): Server.create_upload,
    ("POST", "/uploads/([^/]+)/parts"): Server.add_part,
    ("POST", "/uploads/([^/]+)/complete"): Server.complete_upload,
    ("POST", "/fine_tuning/jobs"): Server.create_job,
    ("GET", "/fine_tuning/jobs"): Server.list_jobs,
    ("GET", _JOB): Server.get_job,
    ("POST", f"{_JOB}/cancel"): Server.cancel_job,
    ("POST", f"{_JOB}/pause"): Server.pause_job,
    ("POST", f"{_JOB}/resume"): Server.resume_job,
    ("GET", f"{_JOB}/events"): Server.list_events,
    ("GET", f"{_JOB}/checkpoints"): Server.list_checkpoints,
    ("GET", "/models/([^/]+)"): Server.get_model,
    ("DELETE", "/models/([^/]+)"): Server.delete_model,
    ("POST", "/chat/completions"): Server.chat,
}


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
