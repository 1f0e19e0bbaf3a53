"""Hours that are known from trainings of the same kind, and a limit to them."""

import dataclasses
import json

import pytest

from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.run_dir import create, read_request
from backends.local_gpu.jobs.speeds import hours, remember


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture
def request_(tmp_path):
    for name in ("train", "held_out", "origins"):
        (tmp_path / name).write_text("")
    backend = LocalGpuBackend(tmp_path)
    return TrainRequest(
        name="cafe",
        fingerprint="ft1:" + "a" * 64,
        attempt=1,
        base_model=BaseModel(reference="/base", revision=None, identity="sha256:1"),
        method="supervised",
        hyperparameters=backend.parse_hyperparameters("supervised", {"num_train_epochs": 2}),
        seed=1,
        train=tmp_path / "train",
        held_out=tmp_path / "held_out",
        train_origins=tmp_path / "origins",
        max_gpu_hours=1.0,
    )


FACTS = {"seconds": 1800.0, "trained_tokens": 100_000, "epochs": 2, "device": "cpu"}


def test_nothing_is_foretold_where_nothing_was_measured(tmp_path, request_):
    assert hours(tmp_path, request_, "cpu", 100, 1000) is None
    assert LocalGpuBackend(tmp_path).estimate(request_, 100, None).gpu_hours is None


def test_hours_follow_from_earlier_trainings_of_the_same_kind(tmp_path, request_):
    remember(tmp_path, request_, FACTS, examples=500)
    # Half an hour for two epochs of 500 examples and 50,000 tokens.
    assert hours(tmp_path, request_, "cpu", 500, 50_000) == pytest.approx((0.4, 0.625))
    assert hours(tmp_path, request_, "cpu", 500, None) == pytest.approx((0.25, 1.0))
    assert LocalGpuBackend(tmp_path).estimate(request_, 500, 50_000).gpu_hours is not None
    others = (
        {"base_model": dataclasses.replace(request_.base_model, identity="sha256:2")},
        {"method": "continued-pretraining"},
        {"hyperparameters": {**request_.hyperparameters, "finetuning_type": "full"}},
    )
    for change in others:
        other = dataclasses.replace(request_, **change)
        assert hours(tmp_path, other, "cpu", 500, 50_000) is None
    assert hours(tmp_path, request_, "0", 500, 50_000) is None


def test_the_slowest_and_the_fastest_of_the_newest_count(tmp_path, request_):
    for seconds in (9e9, 900.0, 1800.0, 1800.0, 1800.0, 3600.0):
        remember(tmp_path, request_, FACTS | {"seconds": seconds}, examples=500)
    assert hours(tmp_path, request_, "cpu", 500, 50_000) == pytest.approx((0.2, 1.25))


def test_damaged_lines_foretell_nothing(tmp_path, request_):
    remember(tmp_path, request_, FACTS, examples=500)
    (line,) = (tmp_path / "speeds.jsonl").read_text().splitlines()
    for value in ("fast", 0.0, None):
        broken = json.loads(line) | {"tokens_per_hour": value}
        (tmp_path / "speeds.jsonl").write_text(f"{{torn\n{json.dumps(broken)}\n")
        assert hours(tmp_path, request_, "cpu", 500, 50_000) is None


def test_whoever_sets_no_limit_decides_by_no_hours(tmp_path, request_):
    remember(tmp_path, request_, FACTS, examples=500)
    unlimited = dataclasses.replace(request_, max_gpu_hours=None)
    assert LocalGpuBackend(tmp_path).estimate(unlimited, 500, 50_000).gpu_hours is None


def test_the_limit_travels_with_the_job(tmp_path, request_):
    assert read_request(create(tmp_path, request_)).max_gpu_hours == 1.0
