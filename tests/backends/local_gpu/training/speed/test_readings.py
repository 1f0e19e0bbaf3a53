"""Losses that stay on the device: none is lost, and no step waits for one."""

import functools
import json
import threading
import time
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from backends.contract.errors import BackendError
from backends.local_gpu.jobs.run_dir import create
from backends.local_gpu.training import train as training
from backends.local_gpu.training.objectives.likelihood import Likelihood
from backends.local_gpu.training.objectives.objective import Outcome
from backends.local_gpu.training.packing.self_check import start_packing
from backends.local_gpu.training.speed import readings
from backends.local_gpu.training.speed.prefetch import Prefetch
from backends.local_gpu.training.speed.readings import Reading, Readings

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
NEVER = 1e9


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Let trainings on this CPU defer and prefetch as on a GPU."""
    made = training.LabelledTrainer.__init__

    def init(self, *given, **more):
        made(self, *given, **more)
        self.defers, self.prefetch = True, Prefetch()

    def turned_on():
        monkeypatch.setattr(training.LabelledTrainer, "__init__", init)
        monkeypatch.setattr(readings, "READ_S", NEVER)

    return turned_on


def test_steps_are_read_at_once_in_their_order(monkeypatch):
    monkeypatch.setattr(readings, "READ_S", 0.05)
    kept = Readings()
    assert not kept.are_due()
    for step in (1, 2, 3):
        kept.add(step, torch.tensor(step / 2), torch.tensor(1.0), step / 10)
    time.sleep(0.06)
    assert kept.are_due()
    assert list(kept.take()) == [
        Reading(step=step, loss=step / 2, grad_norm=1.0, learning_rate=step / 10)
        for step in (1, 2, 3)
    ]
    assert not kept.are_due()
    assert list(kept.take()) == []


def test_a_kept_loss_does_not_change_with_the_tensor_it_came_from():
    kept, loss = Readings(), torch.tensor(2.0)
    kept.add(1, loss, torch.tensor(1.0), 0.1)
    loss.zero_()
    assert [one.loss for one in kept.take()] == [2.0]


def lines(run):
    return [json.loads(line) for line in run.progress.read_text().splitlines()]


def test_deferred_losses_are_those_of_steps_that_wait(
    as_on_a_gpu, train_here, examples, one_thread
):
    del one_thread
    settings = {"recipe": 2, "rows": examples(24), "per_device_train_batch_size": 4}
    settings |= {"gradient_accumulation_steps": 2, "num_train_epochs": 2}
    waiting = train_here(fingerprint="a" * 64, **settings)
    as_on_a_gpu()
    deferring = train_here(fingerprint="b" * 64, **settings)
    one, other = (
        [
            (line["step"], line["loss"], line["learning_rate"])
            for line in lines(run)
            if "loss" in line
        ]
        for run in (waiting, deferring)
    )
    assert one == other
    assert [step for step, _, _ in one] == [1, 2, 3, 4, 5, 6]
    first, second = (
        json.loads((run.model / "metrics.json").read_text()) for run in (waiting, deferring)
    )
    for key in ("train_loss", "weights_digest", "held_out_loss", "steps", "padding"):
        assert first[key] == second[key]


@pytest.mark.parametrize("what", ["loss", "grad norm"])
def test_a_loss_that_is_no_number_is_found_late_and_named_right(
    as_on_a_gpu, train_here, examples, monkeypatch, what, tmp_path
):
    calls, outcome = [], Likelihood.outcome

    def sometimes(self, batch):
        found = outcome(self, batch)
        if torch.is_grad_enabled():
            calls.append(1)
            if len(calls) == 3:
                broken = found.total * (torch.nan if what == "loss" else 1)
                if what == "grad norm":
                    broken.register_hook(lambda gradient: gradient * torch.inf)
                return Outcome(total=broken)
        return found

    monkeypatch.setattr(Likelihood, "outcome", sometimes)
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", str(NEVER))
    as_on_a_gpu()
    with pytest.raises(BackendError, match=rf"the {what} became (nan|inf) at step 3"):
        train_here(recipe=2, rows=examples(24), per_device_train_batch_size=4, num_train_epochs=2)
    assert len(calls) == 6, "it is found where the epoch ends, before anything is measured or saved"
    assert not list(tmp_path.glob("state/runs/*/checkpoints/checkpoint-*"))


class Waits(TorchDispatchMode):
    """Counts the operations that would stop the host for a GPU."""

    def __init__(self):
        super().__init__()
        self.counted = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        if func.name() in {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal"}:
            self.counted[func.name()] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("packing", [True, False])
def test_no_step_waits_for_the_device(
    as_on_a_gpu, make_request, tmp_path, examples, packing, monkeypatch
):
    """Between the first step and the last of an epoch, nothing is read."""
    as_on_a_gpu()
    waits, step = Waits(), training.LabelledTrainer.training_step
    steps = []

    def watched(self, *given, **more):
        steps.append(1)
        with waits:
            return step(self, *given, **more)

    monkeypatch.setattr(training.LabelledTrainer, "training_step", watched)
    if not packing:
        # On a GPU, padded batches have the same attention.
        monkeypatch.setattr(
            training, "choose_attention", lambda model, job, _, of, __: start_packing(
                model, job.loss, job.train.rows, of
            )
        )  # fmt: skip
    request = make_request(
        rows=examples(24), packing=packing, per_device_train_batch_size=4, num_train_epochs=1
    )
    run = create(tmp_path / "state", request)
    assert training.train(run, training.Stop(cancel=run.cancel))
    assert len(steps) == 6
    assert waits.counted == {}


def test_batches_are_made_ahead_in_the_same_order():
    made, ahead = [], threading.Event()

    def source():
        for number in range(7):
            made.append(number)
            if number == 3:
                ahead.set()
            yield number

    prefetch, items = Prefetch(), source()
    assert prefetch.take(items, 2) == [0, 1]
    assert ahead.wait(5), "the next step's batches are made without being asked for"
    assert [prefetch.take(items, 2) for _ in range(4)] == [[2, 3], [4, 5], [6], []]
    other = iter([10, 11])
    assert prefetch.take(other, 2) == [10, 11]


def test_an_error_in_the_thread_is_raised_where_the_batches_are_taken():
    def source():
        yield 1
        raise OSError("the disk is gone")

    prefetch, items = Prefetch(), source()
    assert prefetch.take(items, 1) == [1]
    with pytest.raises(OSError, match="the disk is gone"):
        prefetch.take(items, 1)


def test_the_optimiser_is_fused(make_request, tmp_path):
    request = make_request()
    run = create(tmp_path / "state", request)
    found = training.training_arguments(run, request.hyperparameters, 1, torch.device("cpu"))
    assert found.optim == "adamw_torch_fused"


def test_numbers_are_read_in_the_time_between_readings_only(
    as_on_a_gpu, train_here, examples, monkeypatch
):
    as_on_a_gpu()
    monkeypatch.setattr(readings, "READ_S", NEVER)
    taken, take = [], Readings.take

    @functools.wraps(take)
    def counted(self):
        found = list(take(self))
        taken.append(len(found))
        return iter(found)

    monkeypatch.setattr(Readings, "take", counted)
    train_here(recipe=2, rows=examples(24), per_device_train_batch_size=2, num_train_epochs=1)
    assert [count for count in taken if count] == [1, 11]
