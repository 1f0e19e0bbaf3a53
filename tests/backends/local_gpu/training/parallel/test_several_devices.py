"""Jobs on two devices, which the CPU stands for: the same losses as on one, and no process is left."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import JobState
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
BATCHES = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
FULL = {"finetuning_type": "full", "early_stopping": {"patience": 9}, "eval_steps": 2}
CASES = {
    "whole batches": {"lora_dropout": 0.0, **BATCHES},
    "one batch in two": {"per_device_train_batch_size": 8},
    "packed": {"max_tokens_per_batch": 100, "packing": True, "gradient_accumulation_steps": 2},
    "pairs": {"method": "dpo", "rows": PAIRS, "held_out": PAIRS[:3], **BATCHES},
    "whole model": {**FULL, **BATCHES},
    "shards": {**FULL, **BATCHES},
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
        return wait(backend.submit(dataclasses.replace(request, gpus=gpus)))

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
        return 450 + (backend.memory(make_request(**settings)).needs - 1000) / 2**20

    return size


@pytest.mark.parametrize("name", CASES)
def test_two_devices_have_the_losses_of_one(name, train, losses, devices, too_small_for_one):
    settings = CASES[name]
    one = train("a", 1, **settings)
    size = too_small_for_one(**settings) if name == "shards" else 4096
    devices(size, size)
    two = train("b", 2, **settings)
    assert (one.state, two.state) == (JobState.SUCCEEDED,) * 2, two.error
    assert losses(two) == pytest.approx(losses(one), abs=1e-5)
    assert len(losses(one)) > 3
    assert (two.result.facts["gpus"], two.result.facts["sharded"]) == (2, name == "shards")
    for key in ("trained_tokens", "trained_labels", "steps", "epochs"):
        assert one.result.facts[key] == two.result.facts[key], key
