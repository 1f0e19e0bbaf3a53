"""A hosted service on this machine with fine-tunes that somebody else made."""

import json

from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Server

BASE = "gpt-4o-mini-2024-07-18"
SETTINGS = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}


def rows(count=40, start=0):
    """Return chat JSONL as people upload it, Korean included."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "system", "content": "문의를 분류하세요."},
                    {"role": "user", "content": f"{number}번 테이블 예약되나요?"},
                    {"role": "assistant", "content": ["예약", "메뉴", "영업시간"][number % 3]},
                ]
            },
            ensure_ascii=False,
        )
        + "\n"
        for number in range(start, start + count)
    ).encode()


class Service(Server):
    """A server that others have trained at."""

    def __init__(self):
        super().__init__()
        self.gone = set()

    def train(self, suffix="triage", data=None, validation=None, state="succeeded", **changes):
        """Add a job as somebody else made it, and return it."""
        files = {}
        for key, content in (("training_file", data or rows()), ("validation_file", validation)):
            if content is not None:
                name = f"{suffix or 'x'}-{key}.jsonl"
                files[key] = self.add_file(name, len(content), "fine-tune", content)["id"]
        _, job = self.create_job(None, {"model": BASE, "suffix": suffix, **files})
        job = self.jobs[job["id"]]
        job |= {
            "status": state,
            "seed": 7,
            "hyperparameters": SETTINGS,
            "created_at": 1_772_000_000,
        }
        if state == "succeeded":
            self.finish(job["id"])
        job |= changes
        return job

    def forget_file(self, file_id):
        self.gone.add(file_id)

    def route(self, method, path, query, body):
        """Answer as the service does for files that are gone."""
        gone = next((one for one in self.gone if path.startswith(f"/files/{one}")), None)
        if gone is not None:
            return 404, error_body(f"No such File object: {gone}", param="id")
        status, answer = super().route(method, path, query, body)
        if (method, path) == ("GET", "/files"):
            answer |= {"data": [one for one in answer["data"] if one["id"] not in self.gone]}
        return status, answer

    @property
    def downloads(self):
        return [path for _, path, *_ in self.requests if path.endswith("/content")]

    @property
    def changes(self):
        """Requests that could cost something."""
        return [(method, path) for method, path, *_ in self.requests if method != "GET"]
