"""A machine over real processes, with a folder as the store that it shares with this one."""

import dataclasses
import sys
from pathlib import Path

import pytest

from backends.contract.jobs import Hardware, Machine
from backends.launchers import table
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.devices import CPU_DEVICES
from backends.local_gpu.machines.claims import LOST
from backends.local_gpu.machines.scratch import SCRATCH
from tests.backends.local_gpu.machines.scheduler import Scheduler

ROOT = Path(__file__).parents[4]
SCHEDULERS = {}


def create(settings, _environment):
    return SCHEDULERS[settings["runs"]]


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    folder = tmp_path / "scheduler"
    folder.mkdir()
    made = Scheduler(folder)
    monkeypatch.setitem(table.BUILT_IN, "processes", f"{__name__}:create")
    monkeypatch.setenv(LOST, "3")
    SCHEDULERS[str(tmp_path / "shared")] = made
    yield made
    made.end()


@pytest.fixture
def shared(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def machine(tmp_path, shared):
    return Machine(
        name="cluster",
        launcher="processes",
        runs=str(shared),
        venv=str(Path(sys.executable).parent.parent),
        has_gpus=False,
        environment={"PYTHONPATH": str(ROOT), SCRATCH: str(tmp_path / "scratch")},
        settings={"runs": str(shared)},
    )


@pytest.fixture
def placed(make_request):
    """Return a function that makes a request for the machine."""

    def make(gpus=1, nodes=1, **settings):
        hardware = Hardware(machine="cluster", gpus=gpus, nodes=nodes)
        return dataclasses.replace(make_request(**settings), hardware=hardware)

    return make


@pytest.fixture
def backend(backend, machine, scheduler):
    assert not scheduler.submitted
    backend.use_machines({"cluster": machine})
    return backend


@pytest.fixture
def elsewhere(tmp_path, machine):
    """The backend of another machine of ftctl, with a state folder of its own."""
    other = LocalGpuBackend(tmp_path / "elsewhere")
    other.use_machines({"cluster": machine})
    return other


@pytest.fixture
def two_devices(monkeypatch):
    """Let two nodes on this machine have a device each."""
    monkeypatch.setenv(CPU_DEVICES, "4096,4096")
