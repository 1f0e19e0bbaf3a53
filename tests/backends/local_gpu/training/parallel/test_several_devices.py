"""Jobs on two devices, which the CPU stands for: the same losses as on one, and no process is left."""

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import Hardware, JobState
from backends.local_gpu.jobs.devices import CPU_DEVICES
from backends.local_gpu.json_files import read_json, read_lines
from backends.local_gpu.memory.room import room_of

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("warm")]

PAIRS = [
    {
        "input": {"messages": [{"role": "user", "content": f"{number}: open?"}]},
        "preferred_output": [{"role": "assistant", "content": "yes" + " of course" * (number % 4)}],
        "non_preferred_output": [{"role": "assistant", "content": "no" + " never" * (number % 3)}],
    }
    for number in range(9)
]
MARKS = [
    {
        "input": {"messages": [{"role": "user", "content": f"{number}: open?"}]},
        "output": [{"role": "assistant", "content": "yes" + " of course" * (number % 4)}],
        "label": number % 3 > 0,
    }
    for number in range(13)
]
BATCHES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
FULL = {"finetuning_type": "full", "early_stopping": {"patience": 9}, "eval_steps": 2, **BATCHES}
CASES = {
    "one batch in two": {"per_device_train_batch_size": 8},
    "packed": {"max_tokens_per_batch": 100, "packing": True, "gradient_accumulation_steps": 2},
    "pairs": {"method": "dpo", "rows": PAIRS, "held_out": PAIRS[:3], **BATCHES},
    "marks": {
        "method": "kto",
        "rows": MARKS,
        "held_out": MARKS[:4],
        "per_device_train_batch_size": 3,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 2,
    },
    "shards": FULL,
    "shards, selective": FULL | {"gradient_checkpointing": "selective", "dtype": "bfloat16"},
}
"""The last step has too few examples for both devices in each."""


@pytest.fixture
def devices(monkeypatch):
    """Return a function: from then on, the CPU stands for devices with so many MiB each."""

    def stand(*sizes):
        room_of.cache_clear()
        monkeypatch.setenv(CPU_DEVICES, ",".join(map(str, sizes)))

    yield stand
    room_of.cache_clear()


@pytest.fixture
def train(backend, make_request, wait, examples):
    """Return a function that trains on some devices, and returns the job."""

    def run(letter, gpus, **settings):
        settings = {"num_train_epochs": 1, "rows": examples(26), **settings}
        request = make_request(fingerprint=letter * 64, **settings)
        return wait(backend.submit(dataclasses.replace(request, hardware=Hardware(gpus=gpus))))

    return run


@pytest.fixture
def losses(run_folder):
    """Return a function from a job to its losses, by step and kind."""

    def read(job):
        return {
            (line["step"], kind): line[kind]
            for line in read_lines(run_folder(job) / "progress.jsonl")
            for kind in ("loss", "held_out_loss", "reward_margin")
            if kind in line
        }

    return read


@pytest.fixture
def too_small_for_one(backend, make_request, examples):
    """Return a function from settings to the MiB with which only a shard of the model has room."""

    def size(**settings):
        # With checkpointing, one device needs least, and a shard 120 KB less than that.
        settings = {"rows": examples(26), **settings, "gradient_checkpointing": "on"}
        return (backend.memory(make_request(**settings)).needs - 1000) / 2**20

    return size


@pytest.mark.parametrize("name", CASES)
def test_two_devices_have_the_losses_of_one(name, train, losses, devices, too_small_for_one):
    settings = CASES[name]
    one = train("a", 1, **settings)
    size = too_small_for_one(**settings) if name.startswith("shards") else 4096
    devices(size, size)
    two = train("b", 2, **settings)
    assert (one.state, two.state) == (JobState.SUCCEEDED,) * 2, two.error
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert len(losses(one)) > 3
    assert (two.result.facts["gpus"], two.result.facts["sharded"]) == (2, name.startswith("shards"))
    for key in ("trained_tokens", "trained_labels", "steps", "epochs"):
        assert one.result.facts[key] == two.result.facts[key], key


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")


@pytest.fixture
def resuming(backend, make_request, wait, run_folder, devices, too_small_for_one):
    """Return a function that interrupts a job as told and lets it continue; with a straight one."""

    def run(rows, which, number, first, then, tuning):
        settings = {"rows": rows, "finetuning_type": tuning, **LONG}
        straight = wait(backend.submit(make_request(fingerprint="b" * 64, **settings)))
        size = too_small_for_one(**settings) if tuning == "full" else 4096
        devices(size, size)
        request = make_request(**settings)
        job = backend.submit(dataclasses.replace(request, hardware=Hardware(gpus=first)))
        folder = run_folder(job)
        wait(job, lambda job: job.progress is not None and job.progress.step >= 4)
        parent = read_json(folder / "worker.json")["pid"]
        ranks = processes_below(parent) if first > 1 else []
        assert len(ranks) == (first if first > 1 else 0)
        os.kill(parent if which is None else ranks[which], number)
        interrupted = wait(job, lambda job: job.state is not JobState.RUNNING)
        assert interrupted.state is JobState.INTERRUPTED, interrupted.error
        assert interrupted.progress.step < 20
        wait(job, lambda _: all(map(is_gone, [parent, *ranks])), patience_s=20)
        if which is not None:
            said = f"process {ranks[which]} of device {which + 1} was ended by SIGKILL"
            assert said in (folder / "log.txt").read_text()
        backend.submit(dataclasses.replace(request, hardware=Hardware(gpus=then)))
        return straight, wait(job)

    return run


def processes_below(pid):
    """Return the processes that a process has started, as the kernel lists them."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


LONG = {"num_train_epochs": 5, "gradient_checkpointing": "on", **BATCHES}
"""20 steps."""
INTERRUPTIONS = {
    "first process, continued on one device": (0, signal.SIGKILL, 2, 1, "full"),
    "second process, continued on two devices": (1, signal.SIGKILL, 2, 2, "lora"),
    "parent, continued on one device": (None, signal.SIGKILL, 2, 1, "lora"),
    "all asked to stop, begun on one device": (None, signal.SIGTERM, 1, 2, "full"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("case", INTERRUPTIONS)
def test_an_interrupted_job_leaves_no_process_and_continues_on_any_number_of_devices(
    case, resuming, run_folder, losses, examples
):
    *_, then, tuning = INTERRUPTIONS[case]
    straight, ended = resuming(examples(26), *INTERRUPTIONS[case])
    assert ended.state is JobState.SUCCEEDED, ended.error
    lines = list(read_lines(run_folder(ended) / "progress.jsonl"))
    assert any("resumed from" in line.get("message", "") for line in lines)
    assert losses(ended) == pytest.approx(losses(straight), abs=1e-5)
    facts = ended.result.facts
    sharded = tuning == "full" and then > 1
    assert (facts.get("gpus", 1), facts.get("sharded", False)) == (then, sharded)


def test_more_devices_than_there_are_are_refused_before_anything_starts(
    backend, make_request, devices
):
    request = dataclasses.replace(make_request(**BATCHES), hardware=Hardware(gpus=4))
    said = "hardware.gpus is 4, and this machine has no GPU that can be used"
    assert backend.memory(request).problem == said
    with pytest.raises(BackendError, match="no GPU that can be used"):
        backend.submit(request)
    devices(4096, 4096)
    with pytest.raises(BackendError, match="has 2, which are cpu:0, cpu:1") as caught:
        backend.submit(request)
    assert "hardware: {gpus: 2}" in caught.value.remedy
    assert backend.find_jobs([request.fingerprint]) == {}


def test_the_plan_counts_a_device_s_own_part(backend, make_request, devices, examples):
    def remark(gpus, **settings):
        request = make_request(rows=examples(26), **BATCHES, **settings)
        return backend.memory(dataclasses.replace(request, hardware=Hardware(gpus=gpus)))

    devices(4096, 4096)
    one, two = remark(1), remark(2)
    assert one.needs == two.needs
    assert "2 x " in two.remark
    assert two.remark.endswith("on each of 2 devices, with all weights")
    whole = remark(1, finetuning_type="full", gradient_checkpointing="on").needs
    devices(*[(whole - 1000) / 2**20] * 2)
    sharded = remark(2, finetuning_type="full", gradient_checkpointing="on")
    assert "share its weights" in sharded.remark
    assert sharded.needs < whole
    assert not sharded.problem
