"""Reports of a training as people and programs see them: log lines, curves, progress."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.jobs.curves import curve_of
from backends.local_gpu.jobs.devices import too_few
from backends.local_gpu.jobs.job_events import event_of
from backends.local_gpu.jobs.jobs import read_job
from backends.local_gpu.jobs.run_dir import create
from backends.local_gpu.jobs.workers.workers import WorkerState


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"step": 3, "total_steps": 9, "loss": 1.23456}, "step 3/9 · loss 1.235"),
        (
            {"step": 9, "total_steps": 9, "held_out_loss": 0.5, "loss": None},
            "step 9/9 · held-out loss 0.5",
        ),
        (
            {"step": 1, "total_steps": 2, "loss": 2, "tokens_per_s": 12345.6},
            "step 1/2 · loss 2 · tokens/s 1.235e+04",
        ),
        (
            {
                "step": 1,
                "total_steps": 2,
                "loss": 0.69,
                "reward_accuracy": 0.5,
                "reward_margin": -0.25,
            },
            "step 1/2 · loss 0.69 · reward accuracy 0.5 · margin -0.25",
        ),
        (
            {
                "step": 2,
                "total_steps": 2,
                "held_out_reward_margin": 1e-9,
                "held_out_loss": 0.7,
                "held_out_reward_accuracy": 1,
            },
            "step 2/2 · held-out loss 0.7 · reward accuracy 1 · margin 1e-09",
        ),
        ({"step": 1, "total_steps": 2}, "step 1/2"),
        ({"message": "낮은 손실 · saved", "step": 4}, "낮은 손실 · saved"),
    ],
)
def test_a_report_is_one_line_of_the_log(line, message):
    found = event_of({"time_s": 17.5, **line})
    assert (found.time_s, found.message) == (17.5, message)
    # Programs get every number, under its own name.
    assert found.data == {key: value for key, value in line.items() if key != "message"}
    assert event_of(line).time_s == 0.0


def points(*reports):
    return [
        (one.step, one.train_loss, one.held_out_loss, one.epoch, one.learning_rate)
        for one in curve_of(reports)
    ]


def test_a_curve_has_a_point_for_each_step_with_a_loss():
    found = points(
        {"message": "loaded"},
        {"step": 2, "loss": 1.5, "epoch": 0.5, "learning_rate": 1e-3, "eta_s": 7},
        {"step": 4, "tokens_per_s": 100.0},
        {"step": 4, "loss": 1, "epoch": 1.0},
        {"step": 4, "held_out_loss": 1.25, "epoch": 1.0},
        {"step": 6, "loss": None, "held_out_loss": 1.0},
        {"step": 8, "loss": "nan"},
    )
    assert found == [
        (2, 1.5, None, 0.5, 1e-3),
        (4, 1.0, 1.25, 1.0, None),
        (6, None, 1.0, None, None),
        (8, None, None, None, None),
    ]


def test_steps_that_a_continued_job_reports_again_count_once():
    first = [{"step": step, "loss": 9.0, "epoch": 0.1} for step in (1, 2, 3)]
    again = [{"step": step, "loss": float(step)} for step in (3, 2, 4)]
    assert points(*first, *again) == [
        (1, 9.0, None, 0.1, None),
        (2, 2.0, None, 0.1, None),
        (3, 3.0, None, 0.1, None),
        (4, 4.0, None, None, None),
    ]


REPORTS = st.lists(
    st.fixed_dictionaries(
        {"step": st.integers(0, 9)},
        optional={
            "loss": st.floats(0, 9),
            "held_out_loss": st.floats(0, 9),
            "epoch": st.floats(0, 3),
        },
    ),
    max_size=12,
)


@settings(deadline=None)
@given(reports=REPORTS)
def test_the_last_report_of_a_step_counts(reports):
    found = {one.step: one for one in curve_of(reports)}
    assert list(found) == sorted(found)
    for key, name in (("loss", "train_loss"), ("held_out_loss", "held_out_loss")):
        last = {one["step"]: one[key] for one in reports if key in one}
        assert {step: getattr(one, name) for step, one in found.items()} == {
            step: last.get(step) for step in found
        }
        assert last.keys() <= found.keys()


@pytest.fixture
def progress_of(tmp_path):
    """Return a function from reports to the progress of a job that has made them."""
    for name in ("train", "held_out", "origins"):
        (tmp_path / name).write_text("")
    request = TrainRequest(
        name="카페",
        fingerprint="ft1:" + "c" * 64,
        attempt=1,
        base_model=BaseModel(reference="/base", revision=None, identity="sha256:1"),
        method="supervised",
        hyperparameters=parse("supervised", {}),
        seed=1,
        train=tmp_path / "train",
        held_out=tmp_path / "held_out",
        train_origins=tmp_path / "origins",
    )
    run = create(tmp_path / "state", request)
    workers = SimpleNamespace(state=lambda _: WorkerState.WORKING, words=lambda _: None)

    def read(*reports):
        run.progress.write_text("".join(f"{json.dumps(report)}\n" for report in reports))
        return read_job(run, workers).progress

    return read


def step(number, **more):
    return {"step": number, "total_steps": 9, "epoch": number / 3, **more}


def test_progress_is_the_newest_of_everything(progress_of):
    assert progress_of() is None
    assert progress_of({"message": "loading"}) is None
    found = progress_of(
        step(3, loss=2.0, learning_rate=1e-3, tokens_per_s=50.0, eta_s=60.0),
        step(3, held_out_loss=2.5),
        step(6, loss=1.0, learning_rate=5e-4, tokens_per_s=70.0, eta_s=30.0, reward_margin=0.5),
        {"message": "saved a checkpoint"},
    )
    assert (found.step, found.total_steps, found.epoch) == (6, 9, 2.0)
    assert (found.loss, found.held_out_loss, found.learning_rate) == (1.0, 2.5, 5e-4)
    assert (found.tokens_per_s, found.eta_s, found.reward_margin) == (70.0, 30.0, 0.5)
    assert found.reward_accuracy is None


def test_a_measured_step_keeps_the_loss_of_the_step_before(progress_of):
    found = progress_of(
        step(3, loss=2.0, reward_accuracy=0.75, eta_s=9.0), step(4, held_out_loss=1.5)
    )
    assert (found.step, found.loss, found.held_out_loss) == (4, 2.0, 1.5)
    assert (found.reward_accuracy, found.eta_s) == (0.75, 9.0)
    only = progress_of(step(4, held_out_loss=1.5))
    assert (only.loss, only.held_out_loss) == (None, 1.5)


@pytest.mark.parametrize(
    ("gpus", "devices", "message", "fewer"),
    [
        (4, ["0", "1"], "hardware.gpus is 4, and this machine has 2, which are 0, 1", 2),
        (2, ["GPU-7f"], "hardware.gpus is 2, and this machine has 1, which is GPU-7f", 1),
        (2, ["cpu"], "hardware.gpus is 2, and this machine has no GPU that can be used", 1),
        (
            3,
            ["cpu:0", "cpu:1"],
            "hardware.gpus is 3, and this machine has 2, which are cpu:0, cpu:1",
            2,
        ),
    ],
)
def test_too_few_devices_are_told_with_the_number_that_is_there(gpus, devices, message, fewer):
    found, remedy = too_few(gpus, devices)
    assert found == message
    assert remedy.startswith(
        f"Write `hardware: {{gpus: {fewer}}}`, which trains the same build, or "
    )
    assert "CUDA_VISIBLE_DEVICES" in remedy
    assert too_few(len(devices), devices) is None
