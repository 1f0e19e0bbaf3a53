"""A tiny base model, requests to train it, and a device lock of this session's own."""

import dataclasses
import importlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from backends.contract.jobs import BaseModel, Job, TrainRequest
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.run_dir import create
from tests.tiny_base import LINES, make_base


@pytest.fixture(scope="session")
def devices_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module", autouse=True)
def own_devices(devices_folder):
    """The device locks lie in the temporary folder; other sessions have theirs."""
    folder = devices_folder
    before = {key: os.environ.get(key) for key in ("TMPDIR", "CUDA_VISIBLE_DEVICES")}
    os.environ |= {"TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": "-1"}
    tempfile.tempdir = None
    yield
    for key, value in before.items():
        os.environ.pop(key)
        if value is not None:
            os.environ[key] = value
    tempfile.tempdir = None


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture
def backend(tmp_path):
    return LocalGpuBackend(tmp_path / "state")


def example(question, answer):
    turns = {"user": question, "assistant": answer}
    return {"messages": [{"role": role, "content": text} for role, text in turns.items()]}


def examples(count):
    """Questions and answers of many lengths, in two languages."""
    made = []
    for number in range(count):
        line = LINES[number % len(LINES)]
        question, _, answer = line.partition("? ")
        made.append(example(f"{number}: {question}?", answer[: 8 + number % 40]))
    return made


@pytest.fixture
def make_request(tmp_path, backend, base_folder):
    """Return a function that writes a dataset and makes the request to train on it."""

    def make(
        fingerprint="a" * 64,
        attempt=1,
        rows=None,
        held_out=None,
        base=None,
        method="supervised",
        **hyperparameters,
    ):
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        rows = examples(24) if rows is None else rows
        held_out = examples(30)[24:] if held_out is None else held_out
        write(data / "train.jsonl", rows)
        write(data / "held_out.jsonl", held_out)
        origins = "".join(f"data/rows.jsonl:{n + 1}\n" for n in range(len(rows)))
        (data / "train.origins").write_text(origins)
        settings = {"learning_rate": 1e-3} | hyperparameters
        base_model = backend.resolve_base_model(str(base or base_folder), None, tmp_path)
        assert isinstance(base_model, BaseModel)
        complete = backend.parse_hyperparameters(method, settings)
        return TrainRequest(
            name="cafe",
            fingerprint=f"ft1:{fingerprint}",
            attempt=attempt,
            base_model=base_model,
            method=method,
            hyperparameters=backend.recipes(base_model, method, complete)[0].hyperparameters,
            seed=42,
            train=data / "train.jsonl",
            held_out=data / "held_out.jsonl",
            train_origins=data / "train.origins",
        )

    return make


def write(path: Path, rows) -> None:
    # A new file each time: a run may hold the old one under another name.
    path.unlink(missing_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def wait(backend, job_id, until, patience_s=60.0) -> Job:
    """Look at a job until it is as expected."""
    end = time.monotonic() + patience_s
    while True:
        job = backend.observe([job_id])[job_id]
        if until(job):
            return job
        assert time.monotonic() < end, f"still {job}"
        time.sleep(0.05)


def finished(job: Job) -> bool:
    return not job.state.is_open


@pytest.fixture
def train_here(make_request, tmp_path):
    """Return a function that trains in this process, by a recipe, and returns the run."""
    # Tests without the training packages import this file too.
    trainer = importlib.import_module("backends.local_gpu.training.train")

    def run(recipe=1, max_gpu_hours=None, **settings):
        request = make_request(**settings)
        request = dataclasses.replace(
            request,
            hyperparameters={**request.hyperparameters, "recipe": recipe},
            max_gpu_hours=max_gpu_hours,
        )
        made = create(tmp_path / "state", request)
        assert trainer.train(made, trainer.Stop(cancel=made.cancel))
        return made

    return run


@pytest.fixture(name="example")
def example_():
    return example


@pytest.fixture(name="examples")
def examples_():
    return examples


@pytest.fixture
def changed_base(base_folder, tmp_path):
    """Return a function that copies the base model and replaces some of its files."""

    def change(**files):
        folder = tmp_path / f"base-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(base_folder, folder)
        for name, text in files.items():
            path = folder / name.replace("__", ".")
            if text is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(text if isinstance(text, str) else json.dumps(text))
        return folder

    return change


@pytest.fixture(name="wait")
def wait_(backend):
    """Return a function that looks at a job until it is as expected."""
    return lambda job, until=finished, patience_s=60.0: wait(backend, job.id, until, patience_s)


@pytest.fixture
def run_folder(tmp_path):
    """Return a function from a job to its folder."""
    return lambda job: tmp_path / "state" / "runs" / job.id.removeprefix("run-")


@pytest.fixture
def one_thread():
    """Compute with one thread: threads that wait for each other cost more, on so small a model."""
    torch = importlib.import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
