import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from backends.contract.errors import BackendError, BaseModelMissing, ModelMissing
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.inference.trained_models import (
    TrainedModel,
    as_base_model,
    behind,
    continued_adapter,
    is_start,
    run_of_model,
    start_merge,
    trained_model,
)
from backends.local_gpu.jobs.run_dir import create
from backends.local_gpu.models.base_models import resolve_base_model

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


@pytest.fixture
def adapter(tmp_path, make):
    """Return a function that makes a trained adapter, and returns its ID."""

    def made(letter="a", **settings):
        model_id = make(letter, **settings)
        folder = run_of_model(tmp_path / "state", model_id).model
        (folder / "adapter_config.json").write_text('{"r": 8}')
        (folder / "adapter_model.safetensors").write_bytes(letter.encode())
        return model_id

    return made


FORM = {
    "r": (16, 8, "is 16, and the adapter to continue has 8", "Write `r: 8`"),
    "use_rslora": (True, False, "is true, and", "Write `use_rslora: false`"),
    "target_modules": (["q_proj"], "all-linear", 'is ["q_proj"], and', 'modules: "all-linear"`'),
    "exclude_modules": (
        ["게이트"],
        None,
        'is ["게이트"], and the adapter to continue has none',
        "Remove `exclude_modules`, or",
    ),
    "modules_to_save": (None, ["출력"], "is not set, and", 'Write `modules_to_save: ["출력"]`'),
    "lora_alpha": (32, 16, "is 32.0, and the adapter to continue has 16", "`lora_alpha: 16.0`"),
    "layers_to_transform": (None, [0, 1], "is not set, and", "transform: [0, 1]`"),
}


@pytest.mark.parametrize("key", FORM)
def test_a_setting_that_an_adapter_to_continue_has_otherwise_can_be_written_so(
    tmp_path, adapter, key
):
    now, earlier, message, remedy = FORM[key]
    model_id = adapter(**({} if earlier is None else {key: earlier}))
    base = replace(BASE, adapter=model_id)
    settings = parse("supervised", {} if now is None else {key: now})
    folder, (problem,) = continued_adapter(tmp_path / "state", base, settings)
    assert folder == run_of_model(tmp_path / "state", model_id).model
    assert problem.field == key
    assert message in problem.message
    assert remedy in problem.remedy
    # A spec is YAML, in which `None` is a word.
    assert "None" not in problem.message + problem.remedy
    assert problem.remedy.endswith("or write `adapter: merge` under `base_model`.")


def test_an_adapter_of_the_same_form_is_continued_with_other_settings(tmp_path, adapter):
    base = replace(BASE, adapter=adapter(learning_rate=1e-4))
    settings = parse("supervised", {"learning_rate": 2e-4, "num_train_epochs": 9})
    assert continued_adapter(tmp_path / "state", base, settings)[1] == []
    assert continued_adapter(tmp_path / "state", BASE, settings) == (None, [])


def test_a_whole_model_has_no_adapter_to_continue(tmp_path, make):
    base = replace(BASE, adapter=make(finetuning_type="full"))
    with pytest.raises(BackendError, match="has no adapter to continue") as caught:
        continued_adapter(tmp_path / "state", base, parse("supervised", {}))
    assert caught.value.remedy == "Remove `adapter: continue`."


@pytest.fixture
def trained_base(tmp_path, adapter):
    """A trained model that was trained from a folder, as a base model."""
    model_id = adapter()
    run = run_of_model(tmp_path / "state", model_id)
    folder = tmp_path / "models" / "small"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    request = json.loads(run.request.read_text())
    request["base_model"] |= {"reference": str(folder)}
    run.request.write_text(json.dumps(request))
    with pytest.raises(BaseModelMissing, match="has changed") as caught:
        as_base_model(tmp_path / "state", model_id)
    assert caught.value.remedy.startswith("Bring the base model back")
    now = backend_identity(folder, tmp_path)
    request["base_model"] |= {"identity": now}
    run.request.write_text(json.dumps(request))
    return model_id, as_base_model(tmp_path / "state", model_id)


def backend_identity(folder, tmp_path):
    return resolve_base_model(str(folder), None, tmp_path, tmp_path / "state").identity


def test_a_trained_model_is_a_base_model_of_its_own_contents(tmp_path, trained_base):
    model_id, base = trained_base
    run = run_of_model(tmp_path / "state", model_id)
    assert base.reference == str(run.model)
    assert base.identity.startswith("trained:")
    assert as_base_model(tmp_path / "state", model_id) == base
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        before = (run.model / name).read_bytes()
        (run.model / name).write_bytes(before + b" ")
        assert as_base_model(tmp_path / "state", model_id).identity != base.identity
        (run.model / name).write_bytes(before)
    assert as_base_model(tmp_path / "state", model_id) == base


def test_an_adapter_is_merged_before_it_is_trained_on_and_noted_once(tmp_path, trained_base):
    model_id, base = trained_base
    state = tmp_path / "state"
    assert not is_start(state, base)
    started = start_merge(state, base)
    digits = base.identity.removeprefix("trained:")[:12]
    merged = Path(started.reference)
    assert merged == state.absolute() / "merged" / f"small-{digits}"
    assert started == replace(base, reference=str(merged))
    note = merged.with_name(f"{merged.name}.json")
    assert json.loads(note.read_text()) == {"run": model_id.rpartition(":")[2]}
    before = note.stat().st_mtime_ns
    assert start_merge(state, base) == started
    assert note.stat().st_mtime_ns == before
    assert is_start(state, base)
    # A base model that nobody trained is opened as it is.
    assert start_merge(state, BASE) == BASE
    assert not is_start(state, BASE)


def test_a_whole_model_is_trained_on_as_it_is(tmp_path, trained_base):
    _, base = trained_base
    (Path(base.reference) / "adapter_config.json").unlink()
    assert start_merge(tmp_path / "state", base) == base
    assert is_start(tmp_path / "state", base)
    assert not (tmp_path / "state" / "merged").exists()


def test_behind_a_trained_model_is_its_base_and_its_id(tmp_path, trained_base):
    model_id, base = trained_base
    own, found = behind(tmp_path / "state", base)
    assert found == model_id
    assert own.reference == str(tmp_path / "models" / "small")
    # The same folder of another machine's state is a folder like any other.
    assert behind(tmp_path / "elsewhere", base) == (base, None)
    assert behind(tmp_path / "state", BASE) == (BASE, None)
