"""Jobs that arrive over the protocol train on another machine."""

import sys
import time
from pathlib import Path

import pytest
import yaml

from backends.contract.jobs import Hardware as Wanted
from backends.launchers import table
from backends.local_gpu.backend import LocalGpuBackend
from controller.errors import InvalidInput
from controller.server.limits import Limits
from controller.spec.sections.hardware import Hardware
from controller.spec.sections.machines import MachineSettings, machines_of
from controller.spec.settings import load_settings
from tests.backends.local_gpu.machines.scheduler import Scheduler
from tests.controller.server.serve_helpers import BASE, lines, process, serving, until, upload
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


@pytest.fixture
def backend(tmp_path, scheduler):
    assert not scheduler.submitted
    (tmp_path / "shared").mkdir()
    make_base(tmp_path / "models" / BASE)
    settings = MachineSettings(
        launcher="processes",
        runs=str(tmp_path / "shared"),
        runtime={"venv": str(Path(sys.executable).parent.parent)},
        devices="cpu",
        environment={"PYTHONPATH": str(ROOT), "FTCTL_SCRATCH": str(tmp_path / "scratch")},
    )
    made = LocalGpuBackend(tmp_path / ".ftctl")
    made.use_machines(machines_of({"cluster": settings}))
    return made


@pytest.mark.torch
@pytest.mark.slow
def test_a_job_of_a_client_is_placed_and_its_model_comes_back(tmp_path, scheduler, backend):
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


@pytest.mark.torch
def test_the_command_knows_the_machines_of_the_settings(tmp_path, eventually):
    make_base(tmp_path / "models" / BASE)
    shared = tmp_path / "shared"
    shared.mkdir()
    machine = {"launcher": "manual", "runs": str(shared), "runtime": {"venv": "/opt/ftctl"}}
    serve = {"base_models": [f"../models/{BASE}"], "hardware": {"machine": "spot"}}
    text = yaml.safe_dump({"machines": {"spot": machine}, "serve": serve})
    (tmp_path / "ftctl.yaml").write_text(text)
    (tmp_path / "finetunes").mkdir()
    with process(tmp_path) as (_, greeting, client):
        assert "Jobs train on: spot\n" in greeting
        job = client.fine_tuning.jobs.create(model=BASE, training_file=upload(client).id)
        eventually(
            lambda: (
                list(shared.glob("jobs/ftctl-job-*.json"))
                or client.fine_tuning.jobs.retrieve(job.id).error
            )
        )
        assert client.fine_tuning.jobs.retrieve(job.id).error is None


@pytest.mark.torch
def test_a_store_that_is_away_is_reported_once_and_no_job_fails(
    tmp_path, scheduler, backend, caplog, monkeypatch, eventually
):
    monkeypatch.setattr("backends.local_gpu.machines.placed_workers.FRESH_S", 0.0)
    scheduler.is_full = True
    shared, away = tmp_path / "shared", tmp_path / "away"
    limits = Limits(poll_s=0.02, longest_poll_s=0.1, drain_s=1)
    with serving(tmp_path, backend, limits, hardware=Hardware(machine="cluster")) as server:
        jobs, file = server.client.fine_tuning.jobs, upload(server.client, lines(12)).id
        first = jobs.create(model=BASE, training_file=file, seed=1)
        eventually(lambda: len(scheduler.submitted) == 1)
        shared.rename(away)
        why = f"the store {shared} is not there. Mount it, or make it: mkdir -p {shared}"
        # A look that was under way may have met another error.
        eventually(lambda: why in caplog.text)
        before = len(caplog.records)
        second = jobs.create(model=BASE, training_file=file, seed=2)
        time.sleep(1)
        assert [jobs.retrieve(one.id).status for one in (first, second)] == ["queued"] * 2
        assert len(caplog.records) == before
        assert {one.exc_info for one in caplog.records} == {None}
        away.rename(shared)
        eventually(lambda: len(scheduler.submitted) == 2)
        eventually(lambda: len(caplog.records) > before)
        assert caplog.messages[-1].startswith("an answer again after ")


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
