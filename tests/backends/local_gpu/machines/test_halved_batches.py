"""A run on two nodes that runs out of memory continues with smaller batches, on both."""

import pytest

from backends.contract.jobs import JobState
from backends.local_gpu.jobs.devices import CPU_DEVICES
from tests.tiny_base import make_base

pytestmark = [pytest.mark.torch, pytest.mark.slow]
FULL = """
import os, sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder

NAME = "transformers.trainer"

class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != NAME or os.environ.get("RANK") != "1":
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def patched(module):
            execute(module)
            step = module.Trainer.training_step

            def small(self, model, inputs, *rest):
                if len(inputs["input_ids"]) > 1:
                    raise MemoryError("this device takes one row at a time")
                return step(self, model, inputs, *rest)

            module.Trainer.training_step = small

        spec.loader.exec_module = patched
        return spec

sys.meta_path.insert(0, Finder())
"""
"""Code for one of two devices whose memory takes one row at a time."""


@pytest.fixture
def full_device(machine, tmp_path):
    """Give the machine a device whose memory takes one row at a time."""
    (tmp_path / "sitecustomize.py").write_text(FULL)
    machine.environment["PYTHONPATH"] += f":{tmp_path}"


@pytest.fixture
def request_(backend, placed, make_request, tmp_path, monkeypatch):
    """A request of which only shards have room on the devices."""
    settings = {
        "base": make_base(tmp_path / "deep", num_hidden_layers=12),
        "finetuning_type": "full",
        "gradient_checkpointing": "on",
        "num_train_epochs": 1,
    }
    # Each of two devices would have as many rows.
    alone = make_request(**settings, per_device_train_batch_size=2)
    size = (backend.memory(alone).needs - 1000) / 2**20
    monkeypatch.setenv(CPU_DEVICES, f"{size},{size}")
    return placed(gpus=2, nodes=2, **settings, per_device_train_batch_size=4)


@pytest.mark.usefixtures("full_device")
def test_a_device_of_the_other_node_that_is_full_halves_the_batches_of_both(
    backend, request_, wait, shared, eventually
):
    def start():
        job = backend.submit(request_)
        return wait(job, lambda job: job.state not in {JobState.QUEUED, JobState.RUNNING}, 120)

    assert start().state is JobState.INTERRUPTED
    # The other node may end a moment later.
    eventually(lambda: [path.name for path in shared.glob("runs/*/halvings/*")] == ["001"])
    ended = start()
    assert ended.state is JobState.SUCCEEDED, ended.error
    facts = ended.result.facts
    assert (facts["sharded"], facts["batch_parts"], facts["workers"]) == (True, 2, 2)
