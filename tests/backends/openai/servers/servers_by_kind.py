"""A server of each kind: what it takes, refuses and answers, as its documents describe it."""

import re

from backends.contract.jobs import BaseModel
from backends.openai.profiles.profile import PROFILES
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Server
from tests.backends.openai.servers.fireworks_server import ACCOUNT, FireworksServer

MODELS = {
    "nebius": "meta-llama/Llama-3.1-8B-Instruct",
    "crusoe": "Qwen/Qwen3.5-9B",
    "fireworks": "accounts/fireworks/models/llama-v3p1-8b-instruct",
}
"""A base model that the service trains, where it is not OpenAI's."""
_KNOWN = {
    "nebius": {
        *("model", "training_file", "validation_file", "hyperparameters", "method", "seed"),
        *("suffix", "tags", "integrations", "from_checkpoint"),
    },
    "crusoe": {"model", "training_file", "validation_file", "method", "seed", "suffix"},
}
"""Fields of the create call that the documents name."""


SETTINGS = {"fireworks": {"account": ACCOUNT}}
"""Settings of an endpoint that its kind needs."""


def server_of(kind):
    """Start a server of a kind."""
    return FireworksServer() if kind == "fireworks" else KindServer(kind)


class KindServer(Server):
    """A server of one kind."""

    def __init__(self, kind):
        self.kind = kind
        super().__init__()
        self.no_metadata = self.ignore_filter = not PROFILES[kind].metadata

    def route(self, method, path, query, body):
        if (method, path) == ("POST", "/fine_tuning/jobs") and self.kind in _KNOWN:
            return self._create(body)
        found = re.fullmatch(r"/fine_tuning/jobs/([^/]+)/checkpoints", path)
        if found and self.kind in _KNOWN:
            return self._page(self._checkpoints(found.group(1)), query, 10)
        return super().route(method, path, query, body)

    def _create(self, body):
        unknown = sorted(body.keys() - _KNOWN[self.kind])
        if unknown:
            return 422, error_body(f"extra fields not permitted: {unknown}")
        if self.kind == "nebius" and {"method", "hyperparameters"} <= body.keys():
            return 422, error_body("hyperparameters are given twice")
        status, job = self.create_job(None, body)
        made = self.jobs[job["id"]]
        if self.kind == "nebius":
            made["suffix"] = made.pop("user_provided_suffix")
            made["hyperparameters"] = body["hyperparameters"]
            for key in ("method", "metadata", "fine_tuned_model"):
                del made[key]
            made |= {"trained_steps": 0, "total_steps": 6}
        return status, self._shown(made)

    def fail(self, job_id):
        """End a job without a model."""
        self.jobs[job_id]["status"] = "failed"

    def succeed(self, job_id):
        """End a job as the service does."""
        if self.kind not in _KNOWN:
            self.finish(job_id)
            return
        job = self.jobs[job_id]
        job |= {
            "status": "succeeded",
            "finished_at": job["created_at"] + 60,
            "trained_tokens": 1234,
        }

    def _checkpoints(self, job_id):
        if self.jobs[job_id]["status"] != "succeeded":
            return []
        points = []
        for step in (6, 3):
            point = {
                "id": f"ftckpt_{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": 1,
                "fine_tuned_model_checkpoint": f"step-{step}",
                "fine_tuning_job_id": job_id,
                "step_number": step,
                "metrics": {"step": step, "train_loss": 1 / step, "valid_loss": 2 / step},
                "result_files": [f"file-{step}-config", f"file-{step}-weights"],
            }
            if self.kind == "crusoe":
                point["fine_tuned_model_id"] = f"ftmodel-{step}"
            points.append(point)
        return points


def changes_for(kind, parse):
    """Return what a request to train at a kind of server differs in.

    Args:
        kind: The kind of server.
        parse: The backend's `parse_hyperparameters`.
    """
    if kind not in MODELS:
        return {}
    base = MODELS[kind]
    return {
        "base_model": BaseModel(reference=base, revision=None, identity=f"model:{base}"),
        "hyperparameters": parse("supervised", {"n_epochs": 3}),
    }
