import shutil
from dataclasses import asdict

import pytest

from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.inference.trained_models import TrainedModel, run_of_model, trained_model
from backends.local_gpu.jobs.run_dir import create

BASE = BaseModel(reference="/models/small", revision=None, identity="sha256:1")


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a run with a trained model, and returns the model's ID."""
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")

    def run(letter="a", method="supervised", **settings):
        request = TrainRequest(
            name="cafe",
            fingerprint=f"ft1:{letter * 64}",
            attempt=1,
            base_model=BASE,
            method=method,
            hyperparameters=parse(method, settings),
            seed=1,
            train=empty,
            held_out=empty,
            train_origins=empty,
        )
        made = create(tmp_path / "state", request)
        made.model.mkdir()
        (made.model / "provenance.json").write_text("{}")
        made.result.write_text("{}")
        return f"ft:small:cafe:{made.name}"

    return run


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"adapter": True, "dtype": "auto", "thinking": False, "chat_template": None}),
        ({"finetuning_type": "full", "dtype": "float32"}, {"adapter": False, "dtype": "float32"}),
        (
            {"chat_template": "chatml", "thinking": "on"},
            {"chat_template": "chatml", "thinking": True},
        ),
        ({"method": "continued-pretraining", "max_length": 64}, {"max_length": 64}),
    ],
)
def test_a_model_is_described_by_how_it_was_trained(tmp_path, make, settings, expected):
    model_id = make(**settings)
    found = trained_model(tmp_path / "state", model_id, BASE)
    assert found.id == model_id
    assert found.folder.endswith("/model")
    assert {key: getattr(found, key) for key in expected} == expected
    # The engine's process gets it as JSON.
    assert TrainedModel(**asdict(found)) == found


@pytest.mark.parametrize(
    "model_id",
    [
        "gpt-4o",
        "ft:x:y:zzz",
        "ft:x:y:" + "0" * 16 + "-1",
        "ft:x:y:../../etc",
        "xx:small:cafe:" + "a" * 16 + "-1",
        "",
    ],
)
def test_a_model_that_is_not_here(tmp_path, make, model_id):
    make()
    with pytest.raises(ModelMissing, match="this machine has no model"):
        run_of_model(tmp_path / "state", model_id)


def test_a_run_that_has_not_ended_has_no_model(tmp_path, make):
    model_id = make()
    run = run_of_model(tmp_path / "state", model_id)
    run.result.unlink()
    with pytest.raises(ModelMissing, match="this machine has no model"):
        trained_model(tmp_path / "state", model_id, BASE)


def test_a_model_whose_folder_is_gone(tmp_path, make):
    model_id = make()
    shutil.rmtree(run_of_model(tmp_path / "state", model_id).model)
    with pytest.raises(ModelMissing, match=r"the folder of model .* is gone"):
        trained_model(tmp_path / "state", model_id, BASE)


def test_a_model_of_another_base_model(tmp_path, make):
    model_id = make()
    other = BaseModel(reference="/models/small", revision=None, identity="sha256:2")
    with pytest.raises(BackendError, match="was trained from sha256:1, not from sha256:2"):
        trained_model(tmp_path / "state", model_id, other)
