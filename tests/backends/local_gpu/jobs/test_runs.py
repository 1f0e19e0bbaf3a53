"""What a run spends: time, hours of its budget, and room on the disk."""

import dataclasses
import importlib
import json
import shutil

import pytest

from backends.contract.errors import (
    BackendError,
)
from backends.local_gpu.json_files import read_lines

torch = pytest.importorskip("torch")
room = importlib.import_module("backends.local_gpu.training.disk_space")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture
def disk(monkeypatch):
    """Return a function that says how many bytes are left on every disk."""

    def left(size):
        usage = shutil.disk_usage("/")._replace(free=size)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    return left


def messages(run):
    return [line["message"] for line in read_lines(run.progress) if "message" in line]


def test_a_job_stops_when_its_hours_are_used_up(train_here, tmp_path):
    with pytest.raises(
        BackendError, match=r"stopped at step 1 of 9: budget\.max_gpu_hours"
    ) as told:
        train_here(max_gpu_hours=1e-9)
    assert "Raise it to about" in told.value.remedy
    assert "ftctl retry" in told.value.remedy
    (run,) = (tmp_path / "state" / "runs").iterdir()
    assert not (run / "checkpoints").exists()
    assert not (run / "model").exists()


def test_a_job_that_keeps_within_its_hours_foretells_the_next(train_here, backend, make_request):
    run = train_here(max_gpu_hours=1.0, num_train_epochs=1)
    facts = json.loads((run.model / "metrics.json").read_text())
    asked = dataclasses.replace(make_request(num_train_epochs=1), max_gpu_hours=1.0)
    least, most = backend.estimate(asked, 24, None).gpu_hours
    assert least < facts["seconds"] / 3600 < most


class Clock:
    """A clock that moves by hand."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now

    def after(self, seconds, done):
        """Return a function that takes so long."""

        def late(*given, **named):
            self.now += seconds
            return done(*given, **named)

        return late


def test_a_step_is_timed_without_the_measuring_before_it(train_here, monkeypatch):
    trainer = importlib.import_module("backends.local_gpu.training.trainer")
    clock, kind = Clock(), trainer.LabelledTrainer
    reporter = importlib.import_module("backends.local_gpu.training.reporter")
    monkeypatch.setattr(trainer, "time", clock)
    monkeypatch.setattr(reporter, "time", clock)
    monkeypatch.setattr(kind, "measure", clock.after(100, kind.measure))
    monkeypatch.setattr(kind, "compute_loss", clock.after(2, kind.compute_loss))
    run = train_here(num_train_epochs=2)
    lines = [line for line in read_lines(run.progress) if "eta_s" in line]
    # Five steps and two measurings are to come after the first step; one measuring came before it.
    assert lines[0]["eta_s"] == 5 * 2 + 2 * 100
    # The last step is reported before what it came to is measured.
    assert lines[-1]["eta_s"] == 100
    facts = json.loads((run.model / "metrics.json").read_text())
    assert facts["seconds"] == 6 * 2 + 3 * 100
    assert facts["tokens_per_s"] == pytest.approx(facts["trained_tokens"] / 12, abs=0.1)


def test_a_training_without_room_for_its_checkpoints_goes_on(train_here, disk, monkeypatch):
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    disk(200_000)
    run = train_here(num_train_epochs=2)
    assert run.model.exists()
    (told,) = [one for one in messages(run) if "no room for a checkpoint" in one]
    assert "0.2 MB are left" in told


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_ends_no_training(
    train_here, monkeypatch
):
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    whole = torch.save

    def save(value, target, *rest, **named):
        if "optimizer" in str(target):
            raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")
        return whole(value, target, *rest, **named)

    monkeypatch.setattr(torch, "save", save)
    run = train_here(num_train_epochs=1)
    assert run.model.exists()
    assert len([one for one in messages(run) if "no room for a checkpoint" in one]) == 1


def test_a_model_that_could_not_be_written_is_refused_before_it_is_trained(train_here, disk):
    disk(1000)
    with pytest.raises(BackendError, match=r"the trained model needs .* has 0\.0 MB left") as told:
        train_here(num_train_epochs=1)
    assert "Make room" in told.value.remedy


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_what_a_checkpoint_takes_is_known_before_it_is_written(
    train_here, monkeypatch, finetuning_type
):
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    trainer = importlib.import_module("backends.local_gpu.training.trainer")
    saving = importlib.import_module("backends.local_gpu.training.parallel.saving")
    written = []
    publish_dir = saving.publish_dir

    def measured(partial, final):
        size = sum(path.stat().st_size for path in partial.rglob("*"))
        others = len(list(final.parent.glob("checkpoint-*")))
        written.append((size, others))
        publish_dir(partial, final)

    monkeypatch.setattr(saving, "publish_dir", measured)
    monkeypatch.setattr(saving, "_SMALL", 0)
    expected = []
    monkeypatch.setattr(saving, "free", lambda _: expected.append(1) or 10**12)
    sizes = []
    known = trainer.checkpoint_size

    def size(model):
        sizes.append(known(model))
        return sizes[-1]

    monkeypatch.setattr(trainer, "checkpoint_size", size)
    train_here(num_train_epochs=1, finetuning_type=finetuning_type)
    assert len(written) == len(expected) > 1
    for found, others in written:
        # Beside the weights: settings, the state of chance, and what a file costs.
        assert sizes[0] <= found < sizes[0] * 1.2 + 60_000
        # A large model's checkpoint is there once, and a second time while the next is written.
        assert others <= 1


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError(122, "Disk quota exceeded"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError("PytorchStreamWriter failed writing file"),
    ],
)
def test_a_full_disk_is_known_however_it_is_told(error):
    assert room.is_about_room(error)
    assert not room.is_about_room(OSError(13, "Permission denied"))
    assert not room.is_about_room(RuntimeError("CUDA error"))
