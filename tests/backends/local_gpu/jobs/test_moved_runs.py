"""Models of one machine that another machine takes over from their files."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import JobState
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.jobs.run_dir import run_of
from backends.lock_files import try_lock
from tests.tiny_models.foreign_adapter import make_adapter

pytestmark = pytest.mark.torch


@pytest.fixture(scope="session")
def adapter(base_folder, tmp_path_factory):
    return make_adapter(base_folder, tmp_path_factory.mktemp("foreign") / "cafe")


@pytest.fixture
def model(backend, make_request, adapter):
    """A model of the first machine."""
    request = make_request(r=4, lora_alpha=8, use_rslora=False)
    return backend.take_over(request, adapter).result.model_id


@pytest.fixture
def other(tmp_path, base_folder):
    """Another machine, which has the base model elsewhere."""
    shutil.copytree(base_folder, tmp_path / "elsewhere" / "tiny")
    return LocalGpuBackend(tmp_path / "other")


@pytest.fixture
def base(other, tmp_path):
    return other.resolve_base_model(str(tmp_path / "elsewhere" / "tiny"), None, tmp_path)


@pytest.fixture
def incoming(backend, model, tmp_path):
    """The files of the model, as they arrive at the other machine."""
    return copied(backend, model, tmp_path / "other" / "incoming")


@pytest.fixture
def child_of(make_request, backend, adapter):
    """Return a function that makes a model of a trained base model."""

    def make(parent):
        settings = {"r": 4, "lora_alpha": 8, "use_rslora": False}
        request = replace(make_request("c" * 64, **settings), base_model=parent)
        return backend.take_over(request, adapter).result.model_id

    return make


def copied(backend, model: str, folder: Path) -> Path:
    """Copy the files of a model, as a store does."""
    files = backend.model_files(model)
    for name in files.names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(files.folder / name, folder / name)
    return folder


def test_the_files_of_a_model_hold_no_training_data(backend, model):
    files = backend.model_files(model)
    assert {"request.json", "result.json", "model/adapter_model.safetensors"} <= {*files.names}
    assert not any(name.endswith((".jsonl", ".origins")) for name in files.names)
    assert list(files.names) == sorted(files.names)
    with pytest.raises(ModelMissing):
        backend.model_files("ft:tiny:cafe:bbbbbbbbbbbbbbbb-1")


def test_another_machine_has_the_same_job_and_its_own_base_model(
    backend, model, other, base, tmp_path
):
    incoming = copied(backend, model, tmp_path / "other" / "incoming")
    other.place_model(model, base, incoming)
    (job,) = other.find_jobs([f"ft1:{'a' * 64}"])[f"ft1:{'a' * 64}"]
    (before,) = backend.find_jobs([f"ft1:{'a' * 64}"])[f"ft1:{'a' * 64}"]
    assert (job.state, job.id, job.result) == (JobState.SUCCEEDED, before.id, before.result)
    request = json.loads((other.weights_folder(model).parent / "request.json").read_text())
    assert request["base_model"]["reference"] == base.reference
    assert other.resolve_base_model(model, None, tmp_path).identity == (
        backend.resolve_base_model(model, None, tmp_path).identity
    )
    # Again, with whatever: what is here stays.
    other.place_model(model, base, copied(backend, model, tmp_path / "other" / "again"))
    assert other.find_jobs([job.fingerprint])[job.fingerprint] == (job,)


def test_a_child_finds_the_merged_model_of_its_parent(
    backend, model, other, base, child_of, tmp_path
):
    parent = backend.resolve_base_model(model, None, tmp_path)
    child = child_of(parent)
    other.place_model(model, base, copied(backend, model, tmp_path / "other" / "one"))
    here = other.resolve_base_model(model, None, tmp_path)
    other.place_model(child, here, copied(backend, child, tmp_path / "other" / "two"))
    found = json.loads((other.weights_folder(child).parent / "request.json").read_text())
    merged = Path(found["base_model"]["reference"])
    assert merged.parent == tmp_path / "other" / "merged"
    assert merged.with_name(f"{merged.name}.json").exists()
    assert other.resolve_base_model(child, None, tmp_path).identity == (
        backend.resolve_base_model(child, None, tmp_path).identity
    )


def changed(file: str, **changes):
    """Return a function that changes a JSON file in a folder."""

    def change(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (changed("result.json", state="failed"), "hold no trained model"),
        (changed("request.json", format=2), "trained by a newer ftctl"),
        (changed("request.json", fingerprint=f"ft1:{'b' * 64}"), "those of another model"),
        (changed("request.json", attempt=2), "those of another model"),
        (lambda folder: (folder / "request.json").unlink(), "hold no trained model"),
        (lambda folder: shutil.rmtree(folder / "model"), "hold no weights"),
    ],
)
def test_files_that_are_not_those_of_the_model_are_refused(
    model, other, base, incoming, damage, says
):
    damage(incoming)
    with pytest.raises(BackendError, match=says):
        other.place_model(model, base, incoming)
    assert other.find_jobs([f"ft1:{'a' * 64}"]) == {}


def test_a_model_of_another_base_is_refused(model, other, base, incoming):
    with pytest.raises(BackendError, match=r"was trained from .*, not from sha256:0"):
        other.place_model(model, replace(base, identity="sha256:0"), incoming)
    with pytest.raises(BackendError, match="not the ID of a model"):
        other.place_model("ft:../..", base, incoming)


def test_a_run_that_works_here_is_left_alone(model, other, base, incoming, make_request, tmp_path):
    request = make_request(r=4, lora_alpha=8, use_rslora=False)
    run = run_of(tmp_path / "other", request)
    run.path.mkdir(parents=True)
    lock = try_lock(run.lock)
    assert lock is not None
    with pytest.raises(BackendError, match="is being trained on this machine"):
        other.place_model(model, base, incoming)
    assert (incoming / "result.json").exists()
