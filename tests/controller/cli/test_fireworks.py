"""A service with paths of its own, from typed commands: train, name the deployment, promote."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "backends/openai"))

from controller.lockfile.model import parse_lockfile
from tests.backends.openai.servers.fault_server import KEY, Fault
from tests.backends.openai.servers.fireworks_server import ACCOUNT, FireworksServer

BASE = "accounts/fireworks/models/llama-v3p1-8b-instruct"
MORE = "endpoint: fw\nevaluation: {compare_to: [production]}\n"


class FinishingServer(FireworksServer):
    """Jobs end when they are looked at after they run."""

    def get_job(self, query, body, key):
        if key in self.jobs and self.jobs[key]["state"] == "JOB_STATE_RUNNING":
            self.succeed(key)
        elif key in self.jobs and self.jobs[key]["state"] == "JOB_STATE_CREATING":
            self.jobs[key]["state"] = "JOB_STATE_RUNNING"
        return super().get_job(query, body, key)

    def route(self, method, path, query, body):
        jobs = f"/accounts/{ACCOUNT}/supervisedFineTuningJobs/"
        if method == "GET" and path.startswith(jobs):
            return self.get_job(query, body, path.removeprefix(jobs))
        return super().route(method, path, query, body)


@pytest.fixture
def server():
    started = FinishingServer()
    yield started
    started.close()


@pytest.fixture
def declare(shell, server, monkeypatch):
    """Return a function that declares one fine-tune at the server."""
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)

    def write(**more):
        endpoint = {
            "kind": "fireworks",
            "account": ACCOUNT,
            "base_url": server.url,
            "api_key_env": "FIREWORKS_API_KEY",
            **more,
        }
        shell.write("ftctl.yaml", json.dumps({"endpoints": {"fw": endpoint}}))
        shell.declare(
            "cafe", f"{MORE}hyperparameters: {{lora_rank: 16}}\n", backend="openai", base=BASE
        )

    return write


def test_a_model_is_trained_named_and_promoted(shell, server, declare):
    declare()
    _, text = shell("plan")
    assert "not documented by servers of `kind: fireworks`" in text

    server.put_fault("POST", "/fine_tuning/jobs", Fault("drop", after=True))
    code, text = shell("apply", "--auto-approve")
    assert code == 1
    (job,) = server.jobs.values()
    assert (job["loraRank"], job["baseModel"]) == (16, BASE)
    model = f"accounts/{ACCOUNT}/models/{job['name'].rpartition('/')[2]}"
    assert f"deployments: {{'{model}': DEPLOYMENT}}" in text

    server.models["own"] = {"id": "own", "name": "own"}
    declare(deployments={model: "own"})
    code, text = shell("apply", "--auto-approve")
    assert code == 0, text
    assert shell("plan")[1].startswith("No changes")
    assert len(server.trainings) == 1


def test_a_lost_lockfile_is_found_again(shell, server, declare):
    declare()
    shell("apply", "--auto-approve")
    before = (shell.root / "finetunes/ftctl.lock").read_bytes()
    (shell.root / "finetunes/ftctl.lock").unlink()

    shell("apply", "--auto-approve")

    (build,) = parse_lockfile(before, "").finetunes["cafe"].builds.values()
    after = parse_lockfile((shell.root / "finetunes/ftctl.lock").read_bytes(), "")
    (again,) = after.finetunes["cafe"].builds.values()
    assert (again.job, again.model_id) == (build.job, build.model_id)
    assert len(server.trainings) == 1


def test_a_missing_account_is_asked_for(shell, declare):
    declare(account=None)
    code, text = shell("apply", "--auto-approve")
    assert code == 1
    assert "servers of `kind: fireworks` need an account" in text
    declare(account="a/b")
    assert "endpoints.fw.account" in shell("plan")[1]
