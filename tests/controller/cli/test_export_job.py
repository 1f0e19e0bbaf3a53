"""`ftctl export --job`: files by which other engines start a placed job, found by `reconcile`."""

import dataclasses
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from backends.contract.jobs import PlacedCommand
from controller.errors import FtctlError
from controller.export.job_files import KINDS
from controller.lockfile.store import read_lockfile
from tests.tiny_base import make_base

ROOT = Path(__file__).parents[3]
PYTHON = "/opt/ftctl/bin/python"
JOB = PlacedCommand(
    name="ftctl-cafe-answers-0123456789ab",
    command=(PYTHON, "-P", "-m", "worker", "--store", "/shared/our runs", "--run", "0a-1"),
    runs="/shared/our runs",
    environment={"HF_HOME": "/hub", "PRICE": "$5"},
    gpus=4,
    memory_bytes=64_000_000_000,
    image="registry/ftctl:1",
    accelerator="H100",
)
IN_A_BUCKET = dataclasses.replace(JOB, runs="s3://bucket/runs", nodes=2, memory_bytes=None)
ON_CPUS = dataclasses.replace(JOB, gpus=0, environment={}, accelerator=None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_each_engine(golden, kind):
    golden(f"export/job.{kind}.yaml", KINDS[kind](JOB))


@pytest.mark.parametrize("kind", ["skypilot", "trainjob"])
def test_nodes_are_numbered_by_the_engine(kind):
    text = KINDS[kind](IN_A_BUCKET)
    assert "credentials for s3://bucket/runs" in text
    variable = {"skypilot": "SKYPILOT_NODE_RANK", "trainjob": "JOB_COMPLETION_INDEX"}[kind]
    assert f'--node "${variable}"' in str(yaml.safe_load(text))


@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_without_gpus_asks_for_none(kind):
    text = KINDS[kind](ON_CPUS)
    assert "nvidia" not in text
    assert "accelerators" not in text


@pytest.mark.parametrize("job", [JOB, ON_CPUS], ids=["gpus", "cpus"])
def test_the_file_of_compose_is_what_its_schema_allows(job, tmp_path):
    assert find_spec("check_jsonschema")
    path = tmp_path / "compose.yaml"
    path.write_text(KINDS["compose"](job))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("kind", "job", "words"),
    [
        ("skypilot", dataclasses.replace(JOB, accelerator=None), "kind of GPU"),
        ("trainjob", dataclasses.replace(JOB, image=None), "needs an image"),
        ("compose", dataclasses.replace(JOB, image=None), "needs an image"),
        ("compose", IN_A_BUCKET, "on one node"),
    ],
)
def test_what_an_engine_lacks_is_told(kind, job, words):
    with pytest.raises(FtctlError, match=words) as caught:
        KINDS[kind](job)
    assert caught.value.remedy


def declare(shell, folder, **machine):
    settings = {
        "launcher": "manual",
        "runs": str(folder / "shared"),
        "devices": "cpu",
        "environment": {"PYTHONPATH": str(ROOT), "FTCTL_SCRATCH": str(folder / "scratch")},
        **machine,
    }
    (folder / "shared").mkdir(exist_ok=True)
    shell.write("ftctl.yaml", yaml.safe_dump({"machines": {"spot": settings}}))
    make_base(shell.root / "models" / "small")
    shell.declare(
        "cafe",
        "hardware: {machine: spot}\nhyperparameters: {num_train_epochs: 1}\n",
        backend="local-gpu",
        base="../models/small",
    )


def state_of(shell):
    return read_lockfile(shell.root, shell.root / ".ftctl").finetunes["cafe"]


@pytest.mark.torch
@pytest.mark.slow
def test_a_worker_that_a_file_started_is_found(shell, tmp_path):
    declare(shell, tmp_path, runtime={"image": "registry/ftctl:1"})
    code, text = shell("apply", "--auto-approve", "--no-wait")
    assert code == 0, text
    assert "waits to be started" in shell("status")[1]
    out = tmp_path / "files"
    files = {}
    for kind in ("skypilot", "compose"):
        code, text = shell("export", "cafe", "--job", kind, "--to", str(out))
        assert code == 0, text
        (path,) = out.glob(f"*.{kind}.yaml")
        files[kind] = yaml.safe_load(path.read_text())
    # In the place of the image: this Python is the `python3` of the engine.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    service = files["compose"]["services"]["train"]
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    task = files["skypilot"]
    first = subprocess.run(
        ["sh", "-c", task["run"]],
        env={**os.environ, **path, **task["envs"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert first.returncode == 0, first.stdout + first.stderr
    # Another engine that starts it too trains nothing again.
    second = subprocess.run(
        service["command"],
        env={**os.environ, **path, **service["environment"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert "nothing to do" in second.stdout
    code, text = shell("reconcile")
    (build,) = state_of(shell).builds.values()
    assert build.facts["workers"] == 1, text


def test_without_a_placed_job_nothing_is_written(shell, tmp_path):
    declare(shell, tmp_path, runtime={"venv": "/opt/ftctl"})
    code, text = shell("export", "cafe", "--job", "skypilot", "--to", str(tmp_path / "files"))
    assert code == 1
    assert not (tmp_path / "files").exists()
    assert "cafe" in text
