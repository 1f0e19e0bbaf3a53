"""The protocol itself, faithful and small: files, uploads, jobs, models and chat in memory."""

import json
import re
import time

OPEN = {"validating_files", "queued", "running", "paused", "pausing"}


def error_body(message, code=None, param=None, kind="invalid_request_error"):
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Emulator:
    """What a server of the fine-tuning protocol keeps, and its switches."""

    def __init__(self):
        self.files, self.jobs, self.events, self.models = {}, {}, {}, {}
        self.contents, self.uploads = {}, {}
        self.ignore_filter = False
        self.no_metadata = False
        self.no_suffix = False
        self.no_integrations = False
        self.lag = 0
        """For how many requests a new job is missing from the list."""
        self.start_status = "validating_files"
        self.finishes = False
        """Whether a job succeeds as soon as it is looked at by its ID."""
        self.file_statuses = []
        """What new files are called, one look after the other; then `processed`."""
        self.needs_read_files = False
        """Whether a job is refused while its files are not `processed`."""
        self.count = 0
        self.answer = lambda body: f"answer of {body['model']}"
        self.usage = lambda _body, _text: (5, 3)
        """Returns the tokens of a request and of its answer."""
        self.gives_logprobs = False
        """Whether log-probabilities are given; they are refused otherwise."""
        self.stored = None
        """Stored completions by ID, each with its messages; None where the server stores none."""

    @property
    def running(self):
        return [job for job in self.jobs.values() if job["status"] in OPEN]

    @property
    def trainings(self):
        """Jobs that cost money: open ones and finished ones."""
        return [job for job in self.jobs.values() if job["status"] in {*OPEN, "succeeded"}]

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
            "status": self.file_statuses[0] if self.file_statuses else "processed",
        }
        return self.files[file_id]

    def list_files(self, query, _body):
        files = [f for f in self.files.values() if query.get("purpose") in {None, f["purpose"]}]
        return self._page(files[::-1], query, 10000)

    def get_file(self, _query, _body, file_id):
        if file_id not in self.files:
            return 404, error_body(f"No such File object: {file_id}", param="id")
        if self.file_statuses:
            self.file_statuses.pop(0)
            status = self.file_statuses[0] if self.file_statuses else "processed"
            self.files[file_id] |= {"status": status}
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
        file = self.files.get(body["training_file"], {})
        if self.needs_read_files and file.get("status") != "processed":
            self.get_file(None, None, body["training_file"])
            return 400, error_body(f"The file {file.get('id')} is not ready.", "invalidPayload")
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
            "integrations": None if self.no_integrations else body.get("integrations"),
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

    def list_models(self, _query, _body):
        return 200, {"object": "list", "data": list(self.models.values())}

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
        if body.get("logprobs") and not self.gives_logprobs:
            return 400, error_body("logprobs are not supported", param="logprobs")
        text = self.answer(body)
        common = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        asked, given = self.usage(body, text)
        usage = {
            "prompt_tokens": asked,
            "completion_tokens": given,
            "total_tokens": asked + given,
        }
        if not body.get("stream"):
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            if body.get("logprobs"):
                choice["logprobs"] = {"content": [_token(text, body["top_logprobs"])]}
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

    # stored completions

    def list_stored(self, query, _body):
        if self.stored is None:
            return 405, error_body("Method not allowed")
        wanted = {k[9:-1]: v for k, v in query.items() if k.startswith("metadata[")}
        shown = [
            {key: value for key, value in one.items() if key != "messages"}
            for one in self.stored.values()
            if query.get("model") in {None, one["model"]}
            and wanted.items() <= one["metadata"].items()
        ]
        return self._page(shown, query, 20)

    def list_stored_messages(self, query, _body, completion_id):
        if completion_id not in self.stored:
            return 404, error_body(f"No completion {completion_id}", "not_found")
        messages = [
            {"id": f"{completion_id}-{place}", "name": None, "content_parts": None, **message}
            for place, message in enumerate(self.stored[completion_id]["messages"])
        ]
        return self._page(messages, query, 20)

    def store(self, model, messages, answer, **more):
        """Store a completion."""
        completion_id = f"chatcmpl-{len(self.stored):04d}"
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer, "tool_calls": None},
            "finish_reason": "stop",
        }
        self.stored[completion_id] = {
            "id": completion_id,
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [choice],
            "tools": None,
            "metadata": {},
            "messages": messages,
            **more,
        }


def _token(text, count):
    """Return the log-probabilities of an answer that is one token; Korean as OpenAI writes it."""
    first = list(text.encode())[:2]
    part = {"token": "".join(f"\\x{one:02x}" for one in first), "logprob": -7.25, "bytes": first}
    whole = {"token": text, "logprob": -0.01234, "bytes": list(text.encode())}
    return whole | {"top_logprobs": [whole, part][:count]}


_JOB = r"/fine_tuning/jobs/([^/]+)"
_ROUTES = {
    ("POST", "/files"): Emulator.upload,
    ("GET", "/files"): Emulator.list_files,
    ("GET", "/files/([^/]+)"): Emulator.get_file,
    ("DELETE", "/files/([^/]+)"): Emulator.delete_file,
    ("GET", "/files/([^/]+)/content"): Emulator.get_content,
    ("POST", "/uploads"): Emulator.create_upload,
    ("POST", "/uploads/([^/]+)/parts"): Emulator.add_part,
    ("POST", "/uploads/([^/]+)/complete"): Emulator.complete_upload,
    ("POST", "/fine_tuning/jobs"): Emulator.create_job,
    ("GET", "/fine_tuning/jobs"): Emulator.list_jobs,
    ("GET", _JOB): Emulator.get_job,
    ("POST", f"{_JOB}/cancel"): Emulator.cancel_job,
    ("POST", f"{_JOB}/pause"): Emulator.pause_job,
    ("POST", f"{_JOB}/resume"): Emulator.resume_job,
    ("GET", f"{_JOB}/events"): Emulator.list_events,
    ("GET", f"{_JOB}/checkpoints"): Emulator.list_checkpoints,
    ("GET", "/models"): Emulator.list_models,
    ("GET", "/models/([^/]+)"): Emulator.get_model,
    ("DELETE", "/models/([^/]+)"): Emulator.delete_model,
    ("POST", "/chat/completions"): Emulator.chat,
    ("GET", "/chat/completions"): Emulator.list_stored,
    ("GET", "/chat/completions/([^/]+)/messages"): Emulator.list_stored_messages,
}
