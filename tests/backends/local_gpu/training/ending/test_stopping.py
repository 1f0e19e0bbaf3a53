"""Held-out losses every few steps, early stopping, limits of steps and time, requests to stop."""

import dataclasses
import itertools
import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import JobState
from backends.local_gpu.jobs.run_dir import create
from backends.local_gpu.json_files import read_json, read_lines

pytestmark = [
    pytest.mark.torch,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
QUICK = {
    "finetuning_type": "full",
    "learning_rate": 3e-3,
    "num_train_epochs": 25,
    "lr_scheduler_type": "constant",
    "per_device_train_batch_size": 2,
}
"""Few rows, many epochs: the held-out loss soon rises."""
STOPPING = QUICK | {"eval_steps": 3, "early_stopping": {"patience": 2}}


@pytest.fixture
def overfit(train_here, examples, example):
    """Return a function that trains on few rows and measures others."""
    strangers = [example("주차 되나요?", "건물 뒤에 세 대까지 됩니다."), example("Hi", "Hello!")]

    def run(**settings):
        return train_here(recipe=2, rows=examples(4), held_out=strangers, **settings)

    return run


def facts_of(run):
    return read_json(run.result)["facts"]


def measured(run):
    """Return each held-out loss by its step."""
    return {
        line["step"]: line["held_out_loss"]
        for line in read_lines(run.progress)
        if "held_out_loss" in line
    }


def test_a_training_stops_when_its_held_out_loss_falls_no_more_and_keeps_the_best(overfit):
    run = overfit(**STOPPING)

    losses, facts = measured(run), facts_of(run)
    last = max(losses)
    best = min((step for step in losses if step), key=losses.__getitem__)
    assert last == best + 6 < 50
    assert (facts["steps"], facts["best_step"], facts["planned_steps"]) == (last, best, 50)
    assert facts["held_out_loss"] == losses[best] < losses[last]
    assert facts["epochs"] == last / 2
    assert "held_out_loss_by_epoch" not in facts
    assert facts["stopped_because"] == (
        f"the held-out loss was no lower than {losses[best]:.4g} in 2 measurements"
    )
    (told,) = [line["message"] for line in read_lines(run.progress) if "stopped" in str(line)]
    assert told == (
        f"stopped at step {last}: {facts['stopped_because']}; the weights of step {best} are kept"
    )
    assert f"| best step | {best} |\n| stopped because | " in (run.model / "README.md").read_text()
    # The published weights are those of a training that ended there.
    shorter = overfit(fingerprint="b" * 64, **QUICK, max_steps=best)
    assert facts_of(shorter)["weights_digest"] == facts["weights_digest"]
    assert facts_of(shorter)["held_out_loss"] == pytest.approx(losses[best], abs=1e-12)


def test_an_adapter_keeps_its_best_weights_too(overfit):
    adapter = STOPPING | {"finetuning_type": "lora", "learning_rate": 0.05, "num_train_epochs": 60}
    run = overfit(**adapter)
    best = facts_of(run)["best_step"]
    assert facts_of(run)["steps"] > best
    del adapter["early_stopping"]
    shorter = overfit(fingerprint="b" * 64, **adapter | {"max_steps": best})
    assert facts_of(shorter)["weights_digest"] == facts_of(run)["weights_digest"]


def test_a_fall_that_is_too_small_does_not_count_as_better(overfit):
    """The lowest loss is kept even so."""
    rule = {"patience": 2, "min_delta": 100.0}
    run = overfit(**STOPPING | {"early_stopping": rule})
    facts = facts_of(run)
    assert facts["steps"] == 9
    assert facts["best_step"] in {3, 6, 9}
    assert facts["stopped_because"].endswith("by 100 in 2 measurements")


def test_without_eval_steps_epochs_are_measured(overfit):
    run = overfit(**QUICK, early_stopping={"patience": 1})
    losses = measured(run)
    assert sorted(losses) == list(range(0, max(losses) + 1, 2))
    facts = facts_of(run)
    assert facts["held_out_loss_by_epoch"] == [losses[step] for step in sorted(losses)[1:]]
    assert facts["held_out_loss"] == min(facts["held_out_loss_by_epoch"])
    assert facts["epochs"] == max(losses) // 2 < 25


def test_held_out_losses_change_no_bit_of_the_training(overfit):
    short = QUICK | {"num_train_epochs": 3, "finetuning_type": "lora", "lora_dropout": 0.2}
    plain = facts_of(overfit(**short))
    often = overfit(fingerprint="b" * 64, **short, eval_steps=4)
    assert sorted(measured(often)) == [0, 4, 6]
    assert facts_of(often)["weights_digest"] == plain["weights_digest"]
    assert facts_of(often)["held_out_loss"] == plain["held_out_loss"]


@pytest.mark.parametrize(("limit", "steps", "epochs"), [(5, 5, 2.5), (4, 4, 2), (99, 6, 3)])
def test_a_training_ends_at_its_step_limit(overfit, limit, steps, epochs):
    settings = QUICK | {"num_train_epochs": 3}
    run = overfit(**settings, max_steps=limit)
    facts = facts_of(run)
    assert (facts["steps"], facts["epochs"]) == (steps, epochs)
    assert max(measured(run)) == steps
    assert (facts.get("stopped_because") == "max_steps was reached") is (steps < 6)
    lines = [line for line in read_lines(run.progress) if "learning_rate" in line]
    assert {line["total_steps"] for line in lines} == {steps}


def test_only_the_tokens_that_were_read_are_counted(overfit):
    settings = QUICK | {"per_device_train_batch_size": 1, "num_train_epochs": 1}
    one = facts_of(overfit(**settings))
    parts = [
        facts_of(overfit(fingerprint=letter * 64, **settings | {"max_steps": steps}))
        for letter, steps in (("b", 1), ("c", 3))
    ]
    assert 0 < parts[0]["trained_tokens"] < parts[1]["trained_tokens"] < one["trained_tokens"]
    assert 0 < parts[0]["trained_labels"] < parts[1]["trained_labels"] < one["trained_labels"]
    more = facts_of(overfit(fingerprint="d" * 64, **QUICK | {"max_steps": 2}))
    assert more["trained_tokens"] == one["trained_tokens"]


def test_packed_batches_stop_and_are_counted_too(overfit):
    filled = {key: value for key, value in STOPPING.items() if "batch" not in key}
    filled |= {"packing": True, "max_tokens_per_batch": 64}
    facts = facts_of(overfit(**filled))
    assert facts["steps"] > facts["best_step"]
    assert facts["stopped_because"].startswith("the held-out loss was no lower")
    shorter = {key: value for key, value in filled.items() if key != "early_stopping"}
    best = facts_of(overfit(fingerprint="b" * 64, **shorter, max_steps=facts["best_step"]))
    assert best["weights_digest"] == facts["weights_digest"]
    assert best["trained_tokens"] < facts["trained_tokens"]


@pytest.mark.parametrize("settings", [{"eval_steps": 2}, {"early_stopping": {"patience": 1}}])
def test_held_out_examples_are_needed(train_here, settings):
    (name,) = settings
    with pytest.raises(BackendError, match=f"{name} needs held-out examples") as caught:
        train_here(held_out=[], **settings)
    assert "data.held_out" in caught.value.remedy


def test_a_request_to_stop_inside_a_step_is_met_after_the_step(
    make_request, tmp_path, monkeypatch, examples
):
    """A step of four batches is trained whole, saved, and the training continues with its bits."""
    training = import_module("backends.local_gpu.training.train")
    trainer = training.LabelledTrainer

    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    settings |= {"num_train_epochs": 2, "lora_dropout": 0.1, "eval_steps": 2}
    rows = examples(24)
    straight = create(tmp_path / "state", make_request(fingerprint="b" * 64, rows=rows, **settings))
    assert training.train(straight, training.Stop(cancel=straight.cancel))

    run = create(tmp_path / "state", make_request(rows=rows, **settings))
    stop = training.Stop(cancel=run.cancel)
    batches = itertools.count(1)
    original = trainer.compute_loss

    def interrupted(self, *given, **named):
        if next(batches) == 6:
            stop.receive(signal.SIGTERM, None)
        return original(self, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "compute_loss", interrupted)
        assert not training.train(run, stop)
    assert next(batches) == 9
    assert [path.name for path in run.checkpoints.glob("checkpoint-*")] == ["checkpoint-2"]
    assert sorted(measured(run)) == [0, 2]
    assert training.train(run, training.Stop(cancel=run.cancel))
    assert sorted(measured(run)) == [0, 2, 4, 6]
    for key in ("weights_digest", "train_loss", "held_out_loss", "steps", "trained_tokens"):
        assert facts_of(run)[key] == facts_of(straight)[key], key


def test_the_time_of_a_killed_start_counts_for_the_budget(train_here, make_request, tmp_path):
    request = dataclasses.replace(make_request(num_train_epochs=50), max_gpu_hours=1.0)
    run = create(tmp_path / "state", request)
    line = {"time_s": time.time(), "step": 3, "total_steps": 150, "epoch": 1, "spent_s": 3599.9}
    run.progress.write_text(json.dumps(line) + "\n")
    with pytest.raises(BackendError, match=r"budget\.max_gpu_hours of 1 is used up") as caught:
        train_here(num_train_epochs=50, max_gpu_hours=1.0)
    assert "Raise it to about" in caught.value.remedy


@pytest.fixture
def submit(backend, make_request, examples, example, warm_python, monkeypatch):
    """Return a function that starts a job that overfits, with a checkpoint after every step."""
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(sys, "executable", warm_python)
    strangers = [example("주차 되나요?", "건물 뒤에 세 대까지 됩니다."), example("Hi", "Hello!")]

    def start(letter):
        settings = STOPPING | {"early_stopping": {"patience": 6}}
        return backend.submit(
            make_request(letter * 64, rows=examples(4), held_out=strangers, **settings)
        )

    return start


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_stops_at_the_same_step_with_the_same_bits(
    seed, submit, wait, run_folder
):
    straight = wait(submit("b"))
    chance, killed = random.Random(seed), 0
    job = submit("a")
    while True:
        goal = chance.randint(1, 12)
        begun = 0 if job.progress is None else job.progress.step
        job = wait(job, lambda job, least=begun + goal: not _is_below(job, least))
        if not job.state.is_open:
            break
        time.sleep(chance.random() / 20)
        with suppress(ProcessLookupError):  # it may have ended meanwhile
            os.kill(read_json(run_folder(job) / "worker.json")["pid"], signal.SIGKILL)
            killed += 1
        job = wait(job, lambda job: job.state not in {JobState.RUNNING, JobState.QUEUED})
        if job.state is JobState.INTERRUPTED:
            submit("a")
    assert killed
    assert job.state is JobState.SUCCEEDED, job.error
    facts, theirs = job.result.facts, straight.result.facts
    assert theirs["steps"] > theirs["best_step"]
    for key in ("weights_digest", "steps", "best_step", "held_out_loss", "train_loss"):
        assert facts[key] == theirs[key], key
    assert facts["stopped_because"] == theirs["stopped_because"]


def _is_below(job, step):
    return job.state.is_open and (job.progress is None or job.progress.step < step)
