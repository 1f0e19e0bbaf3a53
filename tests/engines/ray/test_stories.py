"""Fine-tunes that are trained on a real Ray cluster by the command line."""

import json
import re
import subprocess
from contextlib import contextmanager

import openai
import pytest

from tests.children import child
from tests.engines.ray.cluster import wait_until
from tests.engines.ray.story import NAME, TOKEN, Story
from tests.tiny_base import make_base

pytestmark = pytest.mark.timeout(900)
CLUSTER = {"machine": "cluster"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="module")
def here(tmp_path_factory, base):
    """The fine-tune, trained on this machine."""
    story = Story(tmp_path_factory.mktemp("here"), base)
    story.declare()
    story.ftctl("apply", "--auto-approve")
    return story


@pytest.fixture
def there(tmp_path, base, cluster):
    """The same fine-tune, to be trained on the cluster."""
    story = Story(tmp_path, base)
    story.use(cluster)
    story.declare(CLUSTER)
    return story


def test_a_spec_is_trained_there_as_it_is_here(here, there, cluster):
    output = there.ftctl("apply", "--auto-approve")

    assert "Complete: 1 submitted" in output
    assert there.losses() == here.losses() != {}
    assert there.builds() == here.builds() != {}
    assert "No changes" in there.ftctl("plan")
    [job] = [
        each
        for each in cluster.launcher().dashboard.json("GET", "/api/jobs/")
        if each["submission_id"].startswith(f"ftctl-{NAME}")
    ]
    assert job["status"] == "SUCCEEDED"


def test_moving_a_trained_fine_tune_to_the_cluster_trains_nothing(here, cluster):
    here.use(cluster)
    here.declare(CLUSTER)

    assert "No changes" in here.ftctl("plan")


def test_a_queued_job_is_shown_and_cancelled(there):
    there.declare({**CLUSTER, "gpus": 1, "memory": "900GB"})

    there.ftctl("apply", "--auto-approve", "--no-wait")
    status = there.ftctl("status")
    assert "queued" in status
    there.ftctl("cancel", NAME)

    assert "cancelled" in there.ftctl("status")


def test_two_nodes_train_as_one(base, cluster, tmp_path, here):
    story = Story(tmp_path, base)
    story.use(cluster, environment={"OMP_NUM_THREADS": "1", "FTCTL_CPU_DEVICES": "4096,4096"})
    story.declare({**CLUSTER, "gpus": 2, "nodes": 2})

    story.ftctl("apply", "--auto-approve", seconds=600)

    both, alone = story.losses(), here.losses()
    assert both.keys() == alone.keys()
    assert both == pytest.approx(alone, abs=1e-4)
    assert story.builds() == here.builds() != {}


def test_a_check_from_inside_the_cluster(there):
    shown = there.ftctl("doctor", "--machine", "cluster")
    checks = re.findall(r"^ok +(\S+)", shown, re.MULTILINE)
    assert {"store", "scheduler", "job", "packages", "device", "clocks"} <= {*checks}, shown

    there.environment[TOKEN] = "wrong"
    refused = there.ftctl("doctor", "--machine", "cluster", codes=(1,))
    assert "Set RAY_TOKEN to the cluster's token" in refused


@contextmanager
def served(story):
    """Run `ftctl serve`; yield a client of the official SDK."""
    environment = story.environment | {"FTCTL_SERVE_TOKEN": "secret", "PYTHONUNBUFFERED": "1"}
    with child(
        story.command("serve", "--port", "0"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        greeting = ""
        while "follows them.\n" not in greeting:
            line = server.stdout.readline()
            assert line, greeting
            greeting += line
        [url] = re.findall(r"http://\S+/v1", greeting)
        with openai.OpenAI(api_key="secret", base_url=url) as client:
            yield client
        server.terminate()
        assert server.wait(timeout=60) == 0


def test_a_job_of_the_official_sdk_trains_on_the_cluster(there, cluster):
    hardware = {"machine": "cluster"}
    there.use(cluster, serve={"base_models": [str(there.base)], "hardware": hardware})
    there.write("finetunes/.keep", "")
    chats = (
        {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(12)
    )
    with served(there) as client:
        [base] = [model.id for model in client.models.list()]
        lines = "".join(json.dumps(chat) + "\n" for chat in chats).encode()
        training = client.files.create(file=("chats.jsonl", lines), purpose="fine-tune")
        job = client.fine_tuning.jobs.create(model=base, training_file=training.id)

        wait_until(lambda: client.fine_tuning.jobs.retrieve(job.id).status == "succeeded", 240)

        model = client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model
        messages = [{"role": "user", "content": "q1"}]
        answer = client.chat.completions.create(model=model, messages=messages, max_tokens=4)
        assert answer.choices[0].message.role == "assistant"
    # It was trained there, and only there.
    assert len([*there.shared.glob("runs/*/claims/*")]) == 1
    assert len([*there.shared.glob("runs/*/result.json")]) == 1


def test_an_interrupted_job_continues_on_the_cluster(there, cluster):
    """SIGTERM by Ray's own command: a checkpoint is saved, and the next apply continues."""
    there.use(cluster, environment={"OMP_NUM_THREADS": "1", "FTCTL_CHECKPOINT_SECONDS": "1"})
    there.declare(CLUSTER, num_train_epochs=200)
    with child(
        there.command("apply", "--auto-approve"),
        env=there.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as controller:
        wait_until(lambda: [*there.shared.glob("runs/*/checkpoints/*")], 120)
        controller.kill()
    launcher = cluster.launcher()
    [name] = {
        each["submission_id"]
        for each in launcher.dashboard.json("GET", "/api/jobs/")
        if each["status"] == "RUNNING"
    }
    launcher.stop(name, at_once=False)
    wait_until(lambda: [*there.shared.glob("runs/*/released/*")], 60)

    assert "interrupted" in there.ftctl("status")
    there.ftctl("apply", "--auto-approve")

    assert len([*there.shared.glob("runs/*/claims/*")]) == 2
    assert len([*there.shared.glob("runs/*/result.json")]) == 1
    assert "continues from step" in "".join(
        path.read_text() for path in there.shared.glob("runs/*/progress/*")
    )
