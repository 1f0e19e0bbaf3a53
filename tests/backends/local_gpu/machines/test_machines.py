"""The machines by name: what stays where, and what is said of one that nobody declared."""

from dataclasses import replace

import pytest

from backends.contract.errors import BackendError, InvalidInput
from backends.contract.jobs import Hardware, Machine
from backends.launchers.table import MANUAL
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.jobs.workers.local_process import LocalProcess
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.machines.machines import Machines

NAME = "0123456789abcdef-1"
FINGERPRINT = "ft1:" + "0123456789abcdef" * 4


@pytest.fixture
def manual(shared):
    return Machine(
        name="k8s",
        launcher=MANUAL,
        runs=str(shared),
        image="registry/ftctl:1",
        environment={"HF_HOME": "/models"},
        settings={"runs": str(shared), "accelerator": "nvidia-h100"},
    )


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the request of a run on some hardware."""

    def made(**hardware):
        run = RunDir(path=tmp_path / "state" / "runs" / NAME)
        run.path.mkdir(parents=True, exist_ok=True)
        request = {
            "name": "cafe",
            "fingerprint": FINGERPRINT,
            "attempt": 1,
            "base_model": {"reference": "/base", "revision": None, "identity": "sha256:1"},
            "method": "supervised",
            "hyperparameters": {},
            "seed": 1,
            "train": "train.jsonl",
            "held_out": "held_out.jsonl",
            "train_origins": "train.origins",
            "format": 1,
            "hardware": hardware,
        }
        run.request.write_bytes(json_bytes(request))
        return run

    return made


def test_a_run_of_no_machine_has_its_worker_here(tmp_path, write, manual):
    found = Machines(tmp_path / "state", {"k8s": manual})
    assert isinstance(found.workers_of(write(machine=None)), LocalProcess)
    assert found.workers_of(write(machine="k8s")).machine == manual
    # It asks its store once, and its scheduler: both are opened once.
    assert found.workers_of(write(machine="k8s")) is found.workers(Hardware(machine="k8s"))


def test_a_machine_that_was_taken_out_of_the_settings_is_named(tmp_path, write):
    found = Machines(tmp_path / "state", {})
    for ask in (
        lambda: found.workers_of(write(machine="gone")),
        lambda: found.check("gone", 1.0),
    ):
        with pytest.raises(
            BackendError, match=r"machine gone, which ftctl\.yaml does not"
        ) as caught:
            ask()
        assert caught.value.remedy == "Declare it again: `ftctl help machines`."


def test_a_machine_that_nothing_runs_on_is_not_opened(tmp_path, write, manual):
    broken = replace(manual, name="broken", launcher="nobody-installed-it")
    found = Machines(tmp_path / "state", {"broken": broken, "k8s": manual})
    assert found.privacy() == {"broken": False, "k8s": False}
    run = write(machine="k8s")
    found.follow([run])
    # A run that has ended asks nobody, wherever it was.
    ended = write(machine="broken")
    ended.result.write_text("{}")
    found.follow([ended])
    ended.result.unlink()
    with pytest.raises(InvalidInput, match="nobody-installed-it"):
        found.follow([ended])


@pytest.mark.parametrize("is_private", [True, False])
def test_private_data_goes_only_where_the_settings_let_it(tmp_path, manual, is_private):
    found = Machines(tmp_path, {"k8s": replace(manual, is_private=is_private)})
    assert found.privacy() == {"k8s": is_private}


def test_a_run_gets_more_hardware_only_where_it_began(tmp_path, write, manual):
    found = Machines(tmp_path / "state", {"k8s": manual})
    run = RunDir(path=tmp_path / "state" / "runs" / NAME)
    wanted = Hardware(machine="k8s", gpus=4)
    assert found.hardware(run, wanted) == wanted
    write(machine="k8s", gpus=1)
    assert found.hardware(run, wanted) == wanted
    # Its checkpoints are in the store of the other machine.
    for elsewhere in (Hardware(machine="other", gpus=4), Hardware(gpus=2)):
        assert found.hardware(run, elsewhere) == Hardware(machine="k8s", gpus=1)


def test_the_command_of_a_job_that_somebody_else_starts(tmp_path, write, manual):
    backend = LocalGpuBackend(tmp_path / "state")
    backend.use_machines({"k8s": manual})
    write(machine="k8s", gpus=8, nodes=2, memory_bytes=1 << 36)
    made = backend.placed_command(f"run-{NAME}")
    assert made.command[:4] == ("python3", "-P", "-m", "backends.local_gpu.machines.worker")
    assert made.command[4:] == ("--store", manual.runs, "--run", NAME)
    assert made.name.startswith("ftctl-cafe-")
    assert (made.runs, made.environment) == (manual.runs, {"HF_HOME": "/models"})
    assert (made.gpus, made.nodes, made.memory_bytes) == (4, 2, 1 << 36)
    assert (made.image, made.accelerator) == ("registry/ftctl:1", "nvidia-h100")
    backend.use_machines({"k8s": replace(manual, settings={"runs": manual.runs})})
    assert backend.placed_command(f"run-{NAME}").accelerator is None


@pytest.mark.parametrize(
    ("machine", "launcher", "where"),
    [(None, MANUAL, "this machine"), ("k8s", "slurm", "k8s, by slurm")],
)
def test_a_job_that_ftctl_starts_has_no_command_for_others(
    tmp_path, write, manual, machine, launcher, where
):
    found = Machines(tmp_path / "state", {"k8s": replace(manual, launcher=launcher)})
    with pytest.raises(BackendError) as caught:
        found.command(write(machine=machine))
    assert caught.value.message == f"its job is placed on {where}"
    assert "launcher: manual" in caught.value.remedy


@pytest.mark.parametrize(
    "job_id", [f"run-{'f' * 16}-1", NAME, "run-", "run-../state", f"job-{NAME}", "run-1"]
)
def test_a_job_that_is_not_here_has_no_command(tmp_path, write, manual, job_id):
    backend = LocalGpuBackend(tmp_path / "state")
    backend.use_machines({"k8s": manual})
    write(machine="k8s")
    with pytest.raises(BackendError, match=f"there is no job {job_id} here") as caught:
        backend.placed_command(job_id)
    assert caught.value.remedy == "Type `ftctl reconcile`."
