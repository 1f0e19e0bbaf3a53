"""A server on a free port of this machine, and the official SDK pointed at it."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai
import pytest

from backends.contract.jobs import Event
from backends.local_gpu import hyperparameters
from backends.testing import ScriptedBackend
from controller.project.project import Project
from controller.server.api.listener import HttpServer
from controller.server.app import create_app
from controller.server.limits import Limits
from controller.spec.settings import ServeSettings
from tests.children import child as started

TOKEN = "a-token-for-tests"
BASE = "small-ko"
RUN = """
import os, sys
from pathlib import Path
from controller.cli.serve import command
sys.executable = os.environ.get("PYTHON_OF_CHILDREN", sys.executable)
command.main(sys.argv[2:], obj={"folder": Path(sys.argv[1]), "json": False})
"""


class Trainer(ScriptedBackend):
    """Jobs by script, the hyperparameters of local-gpu, metrics, and jobs that can be paused."""

    def parse_hyperparameters(self, method, raw):
        return hyperparameters.parse(method, raw)

    def events(self, job_id):
        yield from super().events(job_id)
        for step, loss in enumerate([2.0, 1.0], start=1):
            data = {"step": step, "total_steps": 2, "loss": loss}
            if step == 2:
                data["held_out_loss"] = 1.5
            yield Event(time_s=time.time(), message=f"step {step}/2", data=data)

    def pause(self, job_id):
        self.set_script(job_id, "interrupted", "queued", "running", "succeeded")


@dataclass
class Server:
    url: str
    backend: ScriptedBackend
    root: Path
    client: openai.OpenAI
    http: HttpServer

    def send(self, method, path, *, token=TOKEN, **options):
        """Send what no SDK would."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        url = self.url.removesuffix("/v1") + path
        return httpx2.request(method, url, headers=headers, **options)

    @property
    def state(self):
        return self.root / ".ftctl"


@contextlib.contextmanager
def serving(
    root,
    backend=None,
    limits=None,
    base_models=(f"../models/{BASE}", "org/hub-model"),
    **settings,
):
    """Serve a repository from a thread of this process until the block ends."""
    (root / "finetunes").mkdir(exist_ok=True)
    project = Project(root=root, state=root / ".ftctl")
    backend = backend or Trainer(project.state)
    limits = limits or Limits(poll_s=0.02, sweep_s=0.1, drain_s=1)
    settings = ServeSettings(base_models=list(base_models), **settings)
    server = HttpServer(create_app(project, backend, settings, TOKEN, limits), limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        client = openai.OpenAI(api_key=TOKEN, base_url=url, max_retries=0)
        try:
            deadline = time.monotonic() + 60
            while not server.started and thread.is_alive():
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.005)
            yield Server(url=url, backend=backend, root=root, client=client, http=server)
        finally:
            client.close()
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def lines(count=12, start=0):
    """Return a good training file."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"질문 {number}?"},
                {"role": "assistant", "content": f"답 {number}."},
            ]
        }
        for number in range(start, start + count)
    ]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def upload(client, content=None, purpose="fine-tune", name="train.jsonl"):
    return client.files.create(file=(name, content or lines()), purpose=purpose)


def until(client, job_id, *statuses, timeout_s=20):
    """Wait for a job to have one of these statuses."""
    deadline = time.monotonic() + timeout_s
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in statuses:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


def refused(call, *arguments, **options):
    """Return the status, code and param that a call is refused with."""
    with pytest.raises(openai.APIStatusError) as caught:
        call(*arguments, **options)
    error = caught.value
    assert error.request_id.startswith("req_")
    assert set(error.body) == {"message", "type", "param", "code"}
    return error.status_code, error.code, error.param


@contextlib.contextmanager
def process(root, *, token=TOKEN, arguments=(), files=None):
    """Start the command; yield the process, its greeting, and a client."""
    environment = {**os.environ, "FTCTL_SERVE_TOKEN": token, "PYTHONUNBUFFERED": "1"}
    given = [sys.executable, "-c", RUN, str(root), "--port", "0", *arguments]
    if files is not None:
        given = ["bash", "-c", f'ulimit -n {files}; exec "$@"', "bash", *given]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with started(given, env=environment, **output) as child:
        greeting = ""
        while not greeting.endswith("follows them.\n"):
            line = child.stdout.readline()
            assert line, child.stderr.read()
            greeting += line
        url = re.search(r"http://\S+/v1", greeting)[0]
        made = re.search(r"Token, made for this run: (\S+)", greeting)
        with openai.OpenAI(api_key=made[1] if made else token, base_url=url) as client:
            yield child, greeting, client
