"""Jobs that are killed, stopped, cancelled, raced for and queued."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from backends.contract.jobs import JobState
from backends.local_gpu.jobs.devices import acquire
from backends.local_gpu.json_files import read_json
from tests.children import child

pytestmark = pytest.mark.torch
PYTHON = sys.executable

LONG = {"num_train_epochs": 8, "lora_dropout": 0.1, "per_device_train_batch_size": 4}
"""48 steps in 8 epochs."""


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")


def under_way(steps):
    return lambda job: job.progress is not None and job.progress.step >= steps


def worker_of(folder):
    return read_json(folder / "worker.json")["pid"]


def messages(backend, job):
    return [event.message for event in backend.events(job.id)]


@pytest.fixture
def straight(backend, make_request, wait, warm_python, monkeypatch):
    """Run the same training without an interruption; return its job."""
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", warm_python)
        return wait(backend.submit(make_request(fingerprint="b" * 64, **LONG)))


@pytest.fixture(params=[signal.SIGKILL, signal.SIGTERM])
def number(request, warm_python, monkeypatch):
    """Return a signal. The first meets processes as users have them, the other warm ones."""
    if request.param == signal.SIGTERM:
        monkeypatch.setattr(sys, "executable", warm_python)
    return request.param


@pytest.mark.slow
@pytest.mark.usefixtures("often")
def test_an_interrupted_job_goes_on_and_ends_with_the_bits_of_a_straight_run(
    backend, make_request, wait, run_folder, straight, number
):
    request = make_request(**LONG)
    job = backend.submit(request)
    folder = run_folder(job)
    wait(job, under_way(10))
    os.kill(worker_of(folder), number)
    interrupted = wait(job, lambda job: job.state is JobState.INTERRUPTED)
    done = interrupted.progress.step
    assert 10 <= done < 48
    assert read_json(folder / "worker.json")["starts"] == (0 if number == signal.SIGTERM else 1)
    if number == signal.SIGKILL:
        assert "was ended by SIGKILL" in (folder / "log.txt").read_text()
    assert backend.submit(request).state in {JobState.QUEUED, JobState.RUNNING}
    ended = wait(job)
    assert ended.state is JobState.SUCCEEDED, ended.error
    assert any("resumed from checkpoint-" in text for text in messages(backend, job))
    facts, theirs = ended.result.facts, straight.result.facts
    assert facts["weights_digest"] == theirs["weights_digest"]
    for key in ("steps", "train_loss", "held_out_loss", "held_out_loss_by_epoch"):
        assert facts[key] == theirs[key], key


@pytest.mark.usefixtures("often", "warm")
def test_a_paused_job_waits_until_it_is_submitted_again(backend, make_request, wait):
    request = make_request(**LONG)
    job = backend.submit(request)
    wait(job, under_way(3))
    backend.pause(job.id)
    backend.pause(job.id)
    paused = wait(job, lambda job: job.state is JobState.INTERRUPTED)
    assert 3 <= paused.progress.step < 48
    backend.submit(request)
    ended = wait(job)
    assert ended.state is JobState.SUCCEEDED, ended.error
    assert any("resumed from checkpoint-" in text for text in messages(backend, job))
    backend.pause(job.id)
    assert backend.observe([job.id])[job.id].state is JobState.SUCCEEDED


@pytest.mark.usefixtures("often", "warm")
def test_a_cancelled_job_stops_for_good(backend, make_request, wait, run_folder):
    request = make_request(**LONG)
    job = backend.submit(request)
    wait(job, under_way(3))
    backend.cancel(job.id)
    backend.cancel(job.id)
    ended = wait(job)
    assert ended.state is JobState.CANCELLED
    assert ended.progress.step < 48
    assert backend.submit(request).state is JobState.CANCELLED
    assert read_json(run_folder(job) / "result.json")["state"] == "cancelled"


@pytest.mark.usefixtures("often", "warm")
def test_a_job_cancelled_from_another_host_sees_it_itself(backend, make_request, wait, run_folder):
    job = backend.submit(make_request(**LONG | {"num_train_epochs": 1000}))
    wait(job, under_way(1))
    (run_folder(job) / "cancel").touch()
    assert wait(job).state is JobState.CANCELLED


@pytest.mark.usefixtures("often", "warm")
def test_a_checkpoint_of_another_job_is_refused(backend, make_request, wait, run_folder):
    request = make_request(**LONG)
    job = backend.submit(request)
    folder = run_folder(job)
    wait(job, under_way(3))
    os.kill(worker_of(folder), signal.SIGKILL)
    wait(job, lambda job: job.state is JobState.INTERRUPTED)
    other = make_request(fingerprint="b" * 64, **LONG)
    target = folder.with_name("b" * 16 + "-1")
    target.mkdir()
    shutil.copytree(folder / "checkpoints", target / "checkpoints")
    ended = wait(backend.submit(other))
    assert ended.state is JobState.FAILED
    assert "belongs to another job" in ended.error


def test_many_who_submit_at_once_start_one_child(
    backend, make_request, wait, run_folder, tmp_path, warm
):
    request = make_request(num_train_epochs=1)
    code = (
        "import sys, pickle, pathlib\n"
        "from backends.local_gpu.backend import create\n"
        "sys.executable = sys.argv[3]\n"
        "request = pickle.loads(bytes.fromhex(sys.argv[2]))\n"
        "print(create(pathlib.Path(sys.argv[1])).submit(request).id)\n"
    )
    import pickle  # noqa: PLC0415

    state, sent = str(tmp_path / "state"), pickle.dumps(request).hex()
    arguments = [PYTHON, "-c", code, state, sent, warm]
    threads = [
        threading.Thread(target=backend.submit, args=(request,), daemon=True) for _ in range(4)
    ]
    with ExitStack() as stack:
        racers = [stack.enter_context(child(arguments, stdout=subprocess.PIPE)) for _ in range(4)]
        for thread in threads:
            thread.start()
        answers = {racer.communicate(timeout=110)[0].strip() for racer in racers}
        for thread in threads:
            thread.join(60)
    (answer,) = answers
    (job,) = backend.find_jobs([request.fingerprint])[request.fingerprint]
    assert answer.decode() == job.id
    ended = wait(job)
    assert ended.state is JobState.SUCCEEDED, ended.error
    assert sum("training on cpu" in text for text in messages(backend, job)) == 1
    assert read_json(run_folder(job) / "worker.json")["starts"] == 1


@pytest.mark.usefixtures("warm")
def test_a_job_waits_for_its_device_and_can_be_cancelled_there(backend, make_request, wait):
    held = acquire(["cpu"], lambda: None)
    try:
        first, second = (
            backend.submit(make_request(fingerprint=letter * 64, num_train_epochs=1))
            for letter in "ab"
        )
        assert first.state is second.state is JobState.QUEUED
        assert "waiting for a free device" in first.error
        backend.cancel(second.id)
        assert wait(second).state is JobState.CANCELLED
        assert backend.observe([first.id])[first.id].state is JobState.QUEUED
    finally:
        os.close(held.handle)
    assert wait(first).state is JobState.SUCCEEDED


@pytest.mark.usefixtures("warm")
def test_a_model_that_was_sealed_before_the_crash_is_kept(backend, make_request, wait, run_folder):
    request = make_request(num_train_epochs=1)
    job = wait(backend.submit(request))
    before = (run_folder(job) / "model" / "adapter_model.safetensors").stat()
    (run_folder(job) / "result.json").unlink()
    wait(job, lambda job: job.state is JobState.INTERRUPTED)
    again = wait(backend.submit(request))
    assert again.result == job.result
    assert (run_folder(job) / "model" / "adapter_model.safetensors").stat() == before


@pytest.mark.usefixtures("warm")
def test_another_attempt_is_another_job(backend, make_request, wait):
    request = make_request(num_train_epochs=1)
    first = wait(backend.submit(request))
    second = wait(backend.submit(dataclasses.replace(request, attempt=2)))
    found = backend.find_jobs([request.fingerprint, "ft1:" + "0" * 64])
    assert found == {request.fingerprint: (first, second)}
    assert json.dumps(first.result.facts["weights_digest"]) == json.dumps(
        second.result.facts["weights_digest"]
    )


def test_a_completion_ends_with_its_caller(backend, base_folder, tmp_path):
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    code = (
        "import signal, sys, pathlib\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells may switch it off
        "from backends.contract.backend import BaseModel, Prompt, Sampling\n"
        "from backends.local_gpu.backend import create\n"
        "base = BaseModel(reference=sys.argv[2], revision=None, identity=sys.argv[3])\n"
        "prompt = Prompt(messages=[{'role': 'user', 'content': 'x'}])\n"
        "next(create(pathlib.Path(sys.argv[1])).complete(base, [None], [prompt], Sampling()))\n"
    )
    state = tmp_path / "state"
    held = acquire(["cpu"], lambda: None)
    try:
        for number in (signal.SIGINT, signal.SIGKILL):
            arguments = [sys.executable, "-c", code, str(state), base.reference, base.identity]
            with child(arguments, stderr=subprocess.DEVNULL) as caller:
                wait_until(lambda: any(state.glob("engines/*/log.txt")))
                caller.send_signal(number)
                caller.wait(timeout=20)
            wait_until(lambda: not any((state / "engines").iterdir()))
    finally:
        os.close(held.handle)


def wait_until(true, patience_s=20.0):
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
