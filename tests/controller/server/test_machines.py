"""Jobs that arrive over the protocol train on another machine."""

import sys
from pathlib import Path

import pytest
from serve_helpers import BASE, lines, serving, until, upload

from backends.contract.jobs import Hardware as Wanted
from backends.launchers import table
from backends.local_gpu.backend import LocalGpuBackend
from controller.errors import InvalidInput
from controller.spec.sections.hardware import Hardware
from controller.spec.sections.machines import MachineSettings, machines_of
from controller.spec.settings import load_settings
from tests.backends.local_gpu.machines.scheduler import Scheduler
from tests.tiny_base import make_base

ROOT = Path(__file__).parents[3]
SCHEDULERS = []


def create(_settings, _environment):
    return SCHEDULERS[-1]


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    folder = tmp_path / "scheduler"
    folder.mkdir()
    made = Scheduler(folder)
    monkeypatch.setitem(table.BUILT_IN, "processes", f"{__name__}:create")
    SCHEDULERS.append(made)
    yield made
    made.end()
    SCHEDULERS.pop()


@pytest.mark.torch
@pytest.mark.slow
def test_a_job_of_a_client_is_placed_and_its_model_comes_back(tmp_path, scheduler):
    (tmp_path / "shared").mkdir()
    make_base(tmp_path / "models" / BASE)
    settings = MachineSettings(
        launcher="processes",
        runs=str(tmp_path / "shared"),
        runtime={"venv": str(Path(sys.executable).parent.parent)},
        devices="cpu",
        environment={"PYTHONPATH": str(ROOT), "FTCTL_SCRATCH": str(tmp_path / "scratch")},
    )
    backend = LocalGpuBackend(tmp_path / ".ftctl")
    backend.use_machines(machines_of({"cluster": settings}))
    with serving(tmp_path, backend, hardware=Hardware(machine="cluster")) as server:
        training = upload(server.client, lines(12))
        hyperparameters = {"n_epochs": 1, "batch_size": 12}
        job = server.client.fine_tuning.jobs.create(
            model=BASE, training_file=training.id, hyperparameters=hyperparameters
        )
        done = until(server.client, job.id, "succeeded", "failed", timeout_s=240)
        assert done.status == "succeeded", done.error
        assert done.fine_tuned_model in {one.id for one in server.client.models.list()}
    (placement,) = scheduler.submitted
    assert placement.name.startswith("ftctl-job-")
    (run,) = (tmp_path / ".ftctl" / "runs").iterdir()
    assert (run / "model").is_dir()
    assert (tmp_path / "shared" / "runs" / run.name / "result.json").is_file()


def test_a_machine_that_is_not_declared_is_named_with_its_line(tmp_path):
    text = "machines: {cluster: {launcher: slurm, runs: /shared}}\nserve:\n  hardware:\n    machine: clustre\n"
    (tmp_path / "ftctl.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load_settings(tmp_path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.field) == (4, "serve.hardware.machine")
    assert problem.remedy == "Did you mean `cluster`?"


def test_hardware_is_checked_as_in_a_spec(tmp_path):
    (tmp_path / "ftctl.yaml").write_text("serve: {hardware: {nodes: 2, gpus: 2}}\n")
    with pytest.raises(InvalidInput) as caught:
        load_settings(tmp_path)
    assert "needs `machine`" in str(caught.value)


def test_settings_reach_the_request(tmp_path):
    text = "machines: {hpc: {launcher: slurm, runs: /shared}}\nserve: {hardware: {machine: hpc, gpus: 8, nodes: 2}}\n"
    (tmp_path / "ftctl.yaml").write_text(text)
    asked = load_settings(tmp_path).serve.hardware.asked
    assert asked == Wanted(machine="hpc", gpus=8, nodes=2)
