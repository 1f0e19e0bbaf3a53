"""Trained models that are deployed by `ftctl apply`: the plan's words, the record, the answers."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "backends/openai"))

from controller.lockfile.model import parse_lockfile
from tests.backends.openai.servers.deploying_servers import AzureServer, NebiusServer
from tests.backends.openai.servers.fault_server import KEY, Fault
from tests.backends.openai.servers.servers_by_kind import KindServer

MODEL = "gpt-4.1-mini-2025-04-14"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
EVALUATION = "endpoint: cloud\nevaluation: {compare_to: [production]}\n"
PRICE = 1.7


class FinishingNebius(NebiusServer, KindServer):
    """Jobs end when they are looked at, and their newest checkpoint is the model."""

    def __init__(self):
        super().__init__("nebius")

    def get_job(self, query, body, job_id):
        if job_id in self.jobs and self.jobs[job_id]["status"] != "succeeded":
            self.succeed(job_id)
        return super().get_job(query, body, job_id)

    def route(self, method, path, query, body):
        found = re.fullmatch("/fine_tuning/jobs/([^/]+)", path)
        if method == "GET" and found:
            return self.get_job(query, body, found[1])
        return super().route(method, path, query, body)


@pytest.fixture(params=["azure", "nebius"])
def kind(request):
    return request.param


@pytest.fixture
def server(kind):
    started = AzureServer() if kind == "azure" else FinishingNebius()
    started.finishes = kind == "azure"
    yield started
    started.close()


@pytest.fixture
def declared(shell, server, kind, monkeypatch):
    """Return a function that declares one fine-tune at the server, with or without `deploy`."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def declare(*, deploys=True, more="", **settings):
        endpoint = {"kind": kind, "base_url": server.url, "api_key_env": "OPENAI_API_KEY"}
        if deploys:
            price = {"usd_per_hour": PRICE} if kind == "azure" else {}
            endpoint["deploy"] = server.settings | price | settings
        shell.write("ftctl.yaml", json.dumps({"endpoints": {"cloud": endpoint}}))
        base = MODEL if kind == "azure" else LLAMA
        shell.declare("cafe", EVALUATION + more, backend="openai", base=base)

    return declare


def build_of(shell):
    lockfile = parse_lockfile((shell.root / "finetunes/ftctl.lock").read_bytes(), "")
    entry = lockfile.finetunes["cafe"]
    return entry, entry.builds[entry.production or entry.candidate]


def test_one_apply_trains_deploys_measures_and_promotes(shell, server, declared, kind):
    declared()
    code, text = shell("plan")
    said = "$1.70 per hour, used or not" if kind == "azure" else "nothing by the hour"
    assert f"deployed = when it is trained: {said}" in " ".join(text.split())

    code, text = shell("apply", "--auto-approve")

    assert code == 0, text
    entry, build = build_of(shell)
    assert entry.production == build.fingerprint
    (name,) = server.deployments
    fact = build.facts["deployment"]
    assert fact["name"] == name
    assert fact["usd_per_hour"] == (PRICE if kind == "azure" else 0.0)
    asked = {body["model"] for _, path, _, body in server.requests if path == "/chat/completions"}
    assert asked == {name}
    assert shell("plan")[1].startswith("No changes")


def test_a_deployment_that_is_gone_is_planned_again(shell, server, declared, golden, kind):
    declared()
    assert shell("apply", "--auto-approve")[0] == 0
    server.deployments.clear()

    _, text = shell("plan")

    assert "will be deployed" in text
    lines = [line for line in text.splitlines() if not line.startswith("Plan ID")]
    stable = "\n".join(lines).replace(build_of(shell)[1].fingerprint[4:16], "BUILD")
    golden(f"render/plan-deploy-{kind}.txt", stable)
    assert shell("apply", "--auto-approve")[0] == 0
    assert len(server.deployments) == 1
    assert shell("plan")[1].startswith("No changes")


@pytest.mark.parametrize("kind", ["azure"], indirect=True)
def test_a_deployment_needs_approval(shell, server, declared):
    declared()
    assert shell("apply", "--auto-approve")[0] == 0
    server.deployments.clear()

    code, _ = shell("apply")

    assert not server.deployments
    assert code != 0


def test_a_run_that_nobody_approved_deploys_what_an_approved_job_announced(shell, server, declared):
    declared()
    server.finishes = False
    assert shell("apply", "--auto-approve", "--no-wait")[0] == 0
    server.finishes = True

    code, text = shell("reconcile")

    assert code == 0, text
    entry, build = build_of(shell)
    assert entry.production == build.fingerprint
    assert len(server.deployments) == 1


def test_a_lost_answer_and_a_second_run_make_one_deployment(shell, server, declared, kind):
    declared()
    create = "PUT" if kind == "azure" else "POST"
    server.put_fault(create, "/deployments", Fault("drop", after=True))

    assert shell("apply", "--auto-approve")[0] == 0
    assert shell("apply", "--auto-approve")[0] == 0

    assert len(server.deployments) == 1


def test_a_refused_deployment_says_why_and_the_next_run_goes_on(shell, server, declared, kind):
    declared()
    create = "PUT" if kind == "azure" else "POST"
    server.put_fault(create, "/deployments", Fault("403"))
    code, text = shell("apply", "--auto-approve")
    assert code == 1
    assert "fault 403" in text
    assert len(server.trainings) == 1

    assert shell("apply", "--auto-approve")[0] == 0
    assert len(server.deployments) == len(server.trainings) == 1


def test_without_settings_the_message_of_before_stays(shell, server, declared):
    declared(deploys=False)
    code, text = shell("apply", "--auto-approve")
    assert code == 1
    assert "and name the" in text
    assert "deployments: {" in text
    assert not server.deployments


@pytest.mark.parametrize("kind", ["azure"], indirect=True)
def test_what_still_costs_by_the_hour_is_in_the_plan(shell, server, declared):
    declared()
    assert shell("apply", "--auto-approve")[0] == 0
    old = build_of(shell)[1]
    declared(more="seed: 7\n")
    assert shell("apply", "--auto-approve")[0] == 0
    assert len(server.deployments) == 2

    _, text = shell("plan")
    assert text.startswith("No changes")
    assert f"its deployment at openai@cloud still costs: {old.facts['deployment']['name']}" in text
    assert "$1.70 per hour. ftctl deletes no deployment: delete it there." in text

    del server.deployments[old.facts["deployment"]["name"]]
    assert "still costs" not in shell("plan")[1]
    (shell.root / "finetunes/cafe.yaml").unlink()
    shell.declare("other", EVALUATION + "seed: 9\n", backend="openai", base=MODEL)
    _, text = shell("plan")
    assert "which stays until you delete it" in text


@pytest.mark.parametrize("kind", ["azure"], indirect=True)
def test_without_a_token_the_record_counts(shell, declared):
    declared()
    assert shell("apply", "--auto-approve")[0] == 0
    declared(token_env="NOT_SET")
    code, text = shell("plan")
    assert code == 0
    assert "will be deployed" not in text


@pytest.mark.parametrize("kind", ["azure"], indirect=True)
def test_wrong_settings_are_named(shell, declared):
    declared(base_url="http://elsewhere.example")
    code, text = shell("plan")
    assert code == 1
    assert "endpoints.cloud.deploy.base_url: a token would be sent there unprotected" in text
    declared(sku="a/b")
    assert "endpoints.cloud.deploy.sku" in shell("plan")[1]
