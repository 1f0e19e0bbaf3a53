import dataclasses
import json

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.jobs.run_dir import (
    RunDir,
    create,
    read_request,
    runs_by_name,
    runs_of,
)

STEM = "0123456789abcdef"


@pytest.fixture
def request_(tmp_path):
    for name in ("t", "h", "o"):
        (tmp_path / name).write_text(f"{name}\n")
    return TrainRequest(
        name="cafe",
        fingerprint=f"ft1:{STEM}{'0' * 48}",
        attempt=1,
        base_model=BaseModel(reference="/base", revision=None, identity="sha256:1"),
        method="supervised",
        hyperparameters={"r": 4},
        seed=1,
        train=tmp_path / "t",
        held_out=tmp_path / "h",
        train_origins=tmp_path / "o",
    )


def test_a_request_survives_the_folder_and_a_cleaned_cache(tmp_path, request_):
    run = create(tmp_path / "state", request_)
    for name in ("t", "h", "o"):
        (tmp_path / name).unlink()
    found = read_request(run)
    assert run.name == f"{STEM}-1"
    assert run.job_id == f"run-{STEM}-1"
    same = {"train": run.train, "held_out": run.held_out, "train_origins": run.origins}
    assert found == dataclasses.replace(request_, **same)
    assert found.train.read_text() == "t\n"


def test_the_origin_is_kept_and_may_be_absent(tmp_path, request_):
    origin = {"inputs": {"카페": [1, None, {"x": 0.5}]}}
    run = create(tmp_path / "state", dataclasses.replace(request_, origin=origin))
    assert read_request(run).origin == origin
    # Equal inputs are the same run, whoever asks and from where.
    assert create(tmp_path / "state", request_) == run
    written = json.loads(run.request.read_text())
    del written["origin"]
    run.request.write_text(json.dumps(written))
    assert read_request(run).origin == {}


def test_runs_are_found_by_name(tmp_path, request_):
    state = tmp_path / "state"
    assert runs_by_name(state, ["cafe"]) == {}
    mine = [
        create(state, request_),
        create(state, dataclasses.replace(request_, fingerprint=f"ft1:{'5' * 64}", attempt=2)),
    ]
    other = dataclasses.replace(request_, fingerprint=f"ft1:{'6' * 64}", name="other")
    create(state, other)
    damaged = create(state, dataclasses.replace(request_, attempt=3))
    damaged.request.write_text("{")
    (state / "runs" / "0123456789abcdef-9").mkdir()
    found = runs_by_name(state, iter(["cafe", "nobody"]))
    assert found.keys() == {"cafe"}
    assert sorted(run.name for run in found["cafe"]) == sorted(run.name for run in mine)


def test_creating_twice_changes_nothing(tmp_path, request_):
    run = create(tmp_path / "state", request_)
    before = run.request.read_bytes()
    (tmp_path / "t").unlink()
    assert create(tmp_path / "state", request_) == run
    assert run.request.read_bytes() == before


@pytest.mark.parametrize("made", [[], ["train.jsonl"], ["train.jsonl", "held_out.jsonl"]])
def test_a_half_made_folder_is_no_run_and_is_completed(tmp_path, request_, made):
    folder = tmp_path / "state" / "runs" / f"{STEM}-1"
    folder.mkdir(parents=True)
    for name in made:
        (folder / name).write_text("older\n")
    assert runs_of(tmp_path / "state", [request_.fingerprint]) == {}
    run = create(tmp_path / "state", request_)
    assert read_request(run).train.read_text() == "t\n"
    found = runs_of(tmp_path / "state", [request_.fingerprint])
    assert found == {request_.fingerprint: [run]}


def test_every_attempt_is_found_in_order(tmp_path, request_):
    for attempt in (10, 2, 1):
        create(tmp_path / "state", dataclasses.replace(request_, attempt=attempt))
    (runs,) = runs_of(tmp_path / "state", ["ft1:" + "9" * 64, request_.fingerprint]).values()
    names = [run.name for run in runs]
    assert names == [f"{STEM}-1", f"{STEM}-2", f"{STEM}-10"]


def test_a_folder_of_another_fingerprint_is_refused(tmp_path, request_):
    create(tmp_path / "state", request_)
    other = dataclasses.replace(request_, fingerprint=f"ft1:{STEM}{'1' * 48}")
    with pytest.raises(BackendError, match="belongs to ft1:") as caught:
        create(tmp_path / "state", other)
    assert "ftctl retry" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is damaged"), ("[]", "is damaged"), ('{"format": 9}', "newer ftctl")],
)
def test_a_request_that_cannot_be_read_is_named(tmp_path, request_, text, message):
    run = create(tmp_path / "state", request_)
    run.request.write_text(text)
    with pytest.raises(BackendError, match=message):
        create(tmp_path / "state", request_)


@pytest.mark.parametrize("fingerprint", ["", "ft1:", "ft1:xyz", "../../etc/passwd", "ft1:0123"])
def test_what_is_no_fingerprint_makes_no_folder(tmp_path, request_, fingerprint):
    with pytest.raises(BackendError, match="is not a fingerprint"):
        create(tmp_path, dataclasses.replace(request_, fingerprint=fingerprint))
    assert not (tmp_path / "runs").exists()


def test_a_dataset_that_is_gone_is_told_with_what_to_do(tmp_path, request_):
    request_.held_out.unlink()
    with pytest.raises(BackendError, match="the built dataset is gone"):
        create(tmp_path / "state", request_)


def test_the_lock_is_no_part_of_the_request(tmp_path, request_):
    run = create(tmp_path / "state", request_)
    assert isinstance(run, RunDir)
    raw = json.loads(run.request.read_text())
    assert raw["train"] == "train.jsonl"
    assert str(tmp_path) not in run.request.read_text()
