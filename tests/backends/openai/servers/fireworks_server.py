"""Fireworks, as its API reference describes it: datasets, jobs and models under the client's IDs."""

import re
from datetime import UTC, datetime

from tests.backends.openai.servers.fault_server import Server

ACCOUNT = "acme"
_ROOT = f"/accounts/{ACCOUNT}"
_OPEN = {"JOB_STATE_CREATING", "JOB_STATE_RUNNING"}
_SENT = {
    *("dataset", "displayName", "baseModel", "evaluationDataset", "evalAutoCarveout", "epochs"),
    *("learningRate", "batchSizeSamples", "gradientAccumulationSteps", "learningRateWarmupSteps"),
    *("optimizerWeightDecay", "maxContextLength", "loraRank", "earlyStop", "outputModel"),
}
"""Fields of the create call that the reference names and ftctl may send."""


def gone(what):
    return 404, {"code": 5, "message": f"{what} not found", "details": []}


class FireworksServer(Server):
    """The service; chat is at `/inference/v1`, all else at `/v1`."""

    kind = "fireworks"

    def __init__(self):
        super().__init__()
        self.url = self.url.removesuffix("/v1") + "/inference/v1"
        self.most = 200
        """Longest page."""
        self.keeps_uploading = 0
        """Number of looks for which a new dataset is not ready."""

    @property
    def trainings(self):
        return [
            job for job in self.jobs.values() if job["state"] in {*_OPEN, "JOB_STATE_COMPLETED"}
        ]

    def place(self, method, path):
        """Return the call of the protocol that a request stands for."""
        jobs = f"{_ROOT}/supervisedFineTuningJobs"
        if path == jobs:
            return method, "/fine_tuning/jobs"
        if method == "GET" and path.startswith(f"{jobs}/"):
            return method, "/fine_tuning/jobs"
        if path.endswith(":upload"):
            return method, "/files"
        return method, path

    def fail(self, job_id):
        self.jobs[job_id] |= {
            "state": "JOB_STATE_FAILED",
            "status": {"code": "INVALID_ARGUMENT", "message": "dataset is empty"},
        }

    def succeed(self, job_id):
        job = self.jobs[job_id]
        begun = datetime.fromisoformat(job["createTime"]).timestamp()
        job |= {
            "state": "JOB_STATE_COMPLETED",
            "completedTime": _time(begun + 60),
            "outputModel": job_id,
        }
        name = f"accounts/{ACCOUNT}/models/{job_id}"
        self.models[name] = {"name": name, "kind": "HF_PEFT_ADDON", "state": "READY"}

    def route(self, method, path, query, body):
        path = path.removeprefix("/inference/v1")
        for (wanted, pattern), act in _ROUTES.items():
            found = re.fullmatch(pattern, path)
            if wanted == method and found:
                return act(self, query, body, *found.groups())
        if path == "/chat/completions":
            if body["model"].startswith(_ROOT[1:]):
                # An adapter answers only through a deployment.
                return gone("deployment")
            return super().route(method, path, query, body)
        return 404, {"code": 5, "message": "Not Found", "details": []}

    # datasets

    def create_dataset(self, _query, body):
        if body.keys() != {"datasetId", "dataset"} or "userUploaded" not in body["dataset"]:
            return 400, {"code": 3, "message": f"unknown fields in {sorted(body)}", "details": []}
        key = body["datasetId"]
        if key in self.files:
            return 409, {"code": 6, "message": f"dataset {key} already exists", "details": []}
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", key):
            return 400, {"code": 3, "message": f"invalid dataset ID {key}", "details": []}
        self.files[key] = body["dataset"] | {
            "name": f"accounts/{ACCOUNT}/datasets/{key}",
            "state": "UPLOADING",
            "createTime": _time(1_700_000_000),
            "status": {"code": "OK", "message": ""},
        }
        return 200, self.files[key]

    def fill_dataset(self, _query, form, key):
        if key not in self.files:
            return gone("dataset")
        self.contents[key] = form["data"]
        self.files[key]["looks"] = self.keeps_uploading
        if not self.keeps_uploading:
            self.files[key]["state"] = "READY"
        return 200, {
            "id": key,
            "object": "file",
            "bytes": form["bytes"],
            "filename": form["filename"],
        }

    def get_dataset(self, _query, _body, key):
        if key not in self.files:
            return gone("dataset")
        if self.files[key].get("looks"):
            self.files[key]["looks"] -= 1
            if not self.files[key]["looks"]:
                self.files[key]["state"] = "READY"
        return 200, {name: value for name, value in self.files[key].items() if name != "looks"}

    def delete_dataset(self, _query, _body, key):
        return (200, {}) if self.files.pop(key, None) else gone("dataset")

    # jobs

    def create_job(self, query, body):
        unknown = sorted(body.keys() - _SENT)
        key = query.get("supervisedFineTuningJobId", "")
        if unknown or query.keys() != {"supervisedFineTuningJobId"}:
            return 400, {"code": 3, "message": f"unknown fields {unknown}", "details": []}
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", key):
            return 400, {"code": 3, "message": f"invalid job ID {key}", "details": []}
        if key in self.jobs:
            return 409, {"code": 6, "message": f"job {key} already exists", "details": []}
        for name in ("dataset", "evaluationDataset"):
            if (
                name in body
                and self.files.get(body[name].rpartition("/")[2], {}).get("state") != "READY"
            ):
                return 400, {"code": 9, "message": f"{name} is not ready", "details": []}
        self.jobs[key] = body | {
            "name": f"{_ROOT[1:]}/supervisedFineTuningJobs/{key}",
            "state": "JOB_STATE_CREATING",
            "createTime": _time(1_700_000_000 + len(self.jobs)),
            "status": {"code": "OK", "message": ""},
            "shown_from": self.count + self.lag,
        }
        return 200, self._shown(self.jobs[key])

    def list_jobs(self, query, _body):
        shown = [job for job in self.jobs.values() if job["shown_from"] <= self.count]
        return self._tokens("supervisedFineTuningJobs", [self._shown(job) for job in shown], query)

    def get_job(self, _query, _body, key):
        if key not in self.jobs or self.jobs[key]["shown_from"] > self.count:
            return gone("job")
        return 200, self._shown(self.jobs[key])

    def cancel_job(self, _query, _body, key):
        if key not in self.jobs:
            return gone("job")
        if self.jobs[key]["state"] not in _OPEN:
            return 400, {"code": 9, "message": "the job has ended", "details": []}
        self.jobs[key]["state"] = "JOB_STATE_CANCELLED"
        return 200, {}

    def resume_job(self, _query, _body, key):
        self.jobs[key]["state"] = "JOB_STATE_RUNNING"
        return 200, self._shown(self.jobs[key])

    # models

    def list_own_models(self, query, _body):
        return self._tokens("models", list(self.models.values()), query)

    def get_own_model(self, _query, _body, name):
        return (200, self.models[name]) if name in self.models else gone("model")

    def delete_own_model(self, _query, _body, name):
        return (200, {}) if self.models.pop(name, None) else gone("model")

    def _tokens(self, key, items, query):
        size = min(int(query.get("pageSize", 50)), self.most)
        start = int(query.get("pageToken", 0))
        page = {key: items[start : start + size]} if items[start : start + size] else {}
        more = start + size < len(items)
        return 200, page | {
            "nextPageToken": str(start + size) if more else "",
            "totalSize": len(items),
        }


def _time(seconds):
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


_JOBS = f"{_ROOT}/supervisedFineTuningJobs"
_DATASET = f"{_ROOT}/datasets/([^/:]+)"
_ROUTES = {
    ("POST", f"{_ROOT}/datasets"): FireworksServer.create_dataset,
    ("POST", f"{_DATASET}:upload"): FireworksServer.fill_dataset,
    ("GET", _DATASET): FireworksServer.get_dataset,
    ("DELETE", _DATASET): FireworksServer.delete_dataset,
    ("POST", _JOBS): FireworksServer.create_job,
    ("GET", _JOBS): FireworksServer.list_jobs,
    ("GET", f"{_JOBS}/([^/:]+)"): FireworksServer.get_job,
    ("POST", f"{_JOBS}/([^/:]+):cancel"): FireworksServer.cancel_job,
    ("POST", f"{_JOBS}/([^/:]+):resume"): FireworksServer.resume_job,
    ("GET", f"{_ROOT}/models"): FireworksServer.list_own_models,
    ("GET", "/(accounts/[^/]+/models/[^/]+)"): FireworksServer.get_own_model,
    ("DELETE", "/(accounts/[^/]+/models/[^/]+)"): FireworksServer.delete_own_model,
}
