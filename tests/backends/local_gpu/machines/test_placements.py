"""Jobs as a launcher gets them: their names, commands, variables and hardware."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import BaseModel, Hardware, Machine, TrainRequest
from backends.local_gpu.machines.claims import LOST
from backends.local_gpu.machines.placed_workers import comment_of, job_name
from backends.local_gpu.machines.placements import Command, placement_on

ONE = Hardware()
COMMAND = Command(module="backends.some.worker", arguments=("--run", "0123456789abcdef-1"))
MACHINE = Machine(name="hpc", launcher="slurm", runs="/shared/runs")
REQUEST = TrainRequest(
    name="cafe-answers",
    fingerprint="ft1:" + "a" * 64,
    attempt=1,
    base_model=BaseModel(reference="/models/small", revision=None, identity="sha256:1"),
    method="supervised",
    hyperparameters={},
    seed=1,
    train=Path("train.jsonl"),
    held_out=Path("held_out.jsonl"),
    train_origins=Path("train.origins"),
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a function that makes the job of a machine with some settings."""
    monkeypatch.delenv(LOST, raising=False)

    def made(hardware=ONE, **settings):
        machine = replace(MACHINE, **settings)
        return placement_on(machine, tmp_path, COMMAND, hardware, name="job", comment="ours")

    return made


def test_a_job_runs_a_module_over_the_machine_s_store(place):
    placement = place()
    assert (placement.name, placement.comment) == ("job", "ours")
    over = ("--store", "/shared/runs", "--run", "0123456789abcdef-1")
    assert placement.command == ("python3", "-P", "-m", "backends.some.worker", *over)
    assert (placement.environment, placement.code, placement.image) == ({}, None, None)


@pytest.mark.parametrize(
    ("settings", "python"),
    [
        ({}, "python3"),
        ({"venv": "/opt/venv"}, "/opt/venv/bin/python"),
        ({"venv": "/opt/venv/"}, "/opt/venv/bin/python"),
        # A Python that has ftctl needs no copy of it.
        ({"venv": "/opt/venv", "ships": True}, "/opt/venv/bin/python"),
        ({"image": "registry/ftctl:1"}, "python3"),
    ],
)
def test_the_python_of_a_job(place, settings, python):
    placement = place(**settings)
    assert placement.command[0] == python
    assert placement.code is None
    assert "PYTHONPATH" not in placement.environment
    assert placement.image == settings.get("image")


def test_ftctl_goes_with_a_job_where_the_machine_lacks_it(place, tmp_path, shared):
    archive = place(ships=True, runs="s3://acme/runs")
    assert archive.code.parent == tmp_path / "code"
    assert archive.code.suffix == ".zip"
    assert "PYTHONPATH" not in archive.environment
    unpacked = place(ships=True, runs=str(shared))
    assert unpacked.code is None
    assert Path(unpacked.environment["PYTHONPATH"]).parent == shared / "code"


@pytest.mark.parametrize(
    ("hardware", "has_gpus", "gpus"),
    [
        (Hardware(), True, 1),
        (Hardware(gpus=8, nodes=1), True, 8),
        # A launcher gives each node its GPUs.
        (Hardware(gpus=8, nodes=2), True, 4),
        (Hardware(gpus=4, nodes=4), True, 1),
        (Hardware(gpus=8, nodes=2), False, 0),
    ],
)
def test_the_hardware_of_a_job_is_that_of_each_node(place, hardware, has_gpus, gpus):
    placement = place(replace(hardware, memory_bytes=1 << 34), has_gpus=has_gpus)
    assert (placement.gpus, placement.nodes) == (gpus, hardware.nodes)
    assert placement.memory_bytes == 1 << 34
    # torch would use a GPU that the machine has all the same.
    assert placement.environment.get("CUDA_VISIBLE_DEVICES") == (None if has_gpus else "")


def test_a_job_has_the_variables_of_its_machine_and_our_patience(place, monkeypatch):
    given_ = {"HF_HOME": "/models", LOST: "30"}
    assert place(environment=given_).environment == given_
    monkeypatch.setenv(LOST, "7")
    assert place(environment=given_).environment == {"HF_HOME": "/models", LOST: "7"}
    # What one job gets stays out of the next.
    place(environment=given_, has_gpus=False)
    assert given_ == {"HF_HOME": "/models", LOST: "30"}


def test_a_job_keeps_its_name_from_version_to_version():
    # A job that is open would be placed again under another name.
    assert job_name(REQUEST, "0123456789abcdef") == "ftctl-cafe-answers-6d5752686f5f"
    assert comment_of(REQUEST) == f"ftctl ft1:{'a' * 64} 1"


@pytest.mark.parametrize(
    "other",
    [
        (replace(REQUEST, attempt=2), "0123456789abcdef"),
        (replace(REQUEST, fingerprint="ft1:" + "b" * 64), "0123456789abcdef"),
        (REQUEST, "fedcba9876543210"),
    ],
)
def test_jobs_of_other_trainings_attempts_and_stores_have_other_names(other):
    assert job_name(*other) != job_name(REQUEST, "0123456789abcdef")


@given(st.text(max_size=60), st.integers(1, 999))
def test_every_scheduler_takes_the_name_of_a_job(name, attempt):
    made = job_name(replace(REQUEST, name=name, attempt=attempt), "0123456789abcdef")
    assert re.fullmatch(r"ftctl-[a-z0-9-]*-[0-9a-f]{12}", made)
    assert len(made) <= 40
    assert "--" not in made.removeprefix("ftctl-").rpartition("-")[0]
