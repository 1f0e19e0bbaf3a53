"""What a worker needs: it goes to the store once, and comes back whole or not at all."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.jobs.run_dir import RunDir, create, read_request
from backends.local_gpu.machines.objects import key_of
from backends.local_gpu.machines.placed_request import fetch_placed, read_placed, write_placed
from backends.local_gpu.machines.shipping import unreported
from backends.local_gpu.models.base_models import merge_note
from backends.stores.folder import FolderStore
from backends.stores.objects import StoreError

FINGERPRINT = "ft1:" + "0123456789abcdef" * 4
NAME = "0123456789abcdef-1"
ROW = '{"messages": [{"role": "user", "content": "주말에도 문 여나요?"}]}\n'


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def store(shared):
    return FolderStore(shared)


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "models" / "small", config__json="{}", model__safetensors="weights")


@pytest.fixture
def make(tmp_path, base):
    """Return a function that makes the run of a request."""
    data = write(tmp_path / "data", train=ROW * 2, held_out=ROW, origins="rows.jsonl:1\n")

    def made(state="state", fingerprint=FINGERPRINT, base_model=None):
        plain = BaseModel(reference=str(base), revision=None, identity="sha256:1")
        request = TrainRequest(
            name="cafe",
            fingerprint=fingerprint,
            attempt=1,
            base_model=base_model or plain,
            method="supervised",
            hyperparameters={"r": 8},
            seed=1,
            train=data / "train",
            held_out=data / "held_out",
            train_origins=data / "origins",
        )
        return create(tmp_path / state, request)

    return made


@pytest.fixture
def fetch(store, tmp_path):
    """Return a function that fetches a run as a worker does, and returns its folder."""

    def fetched(worker="worker"):
        run = RunDir(path=tmp_path / "there" / worker / "runs" / NAME)
        run.path.mkdir(parents=True)
        fetch_placed(store, read_placed(store, NAME), run)
        return run

    return fetched


def test_a_worker_gets_the_examples_and_the_base_model(store, make, fetch, base):
    run = make()
    write_placed(store, run, unreported)
    there = fetch()
    for name in ("train.jsonl", "held_out.jsonl", "train.origins"):
        assert (there.path / name).read_bytes() == (run.path / name).read_bytes()
    here, got = read_request(run), read_request(there)
    folder = Path(got.base_model.reference)
    assert contents(folder) == contents(base)
    # A model is called by the name of its base's folder.
    assert folder.name == base.name
    assert got.base_model.identity == here.base_model.identity
    ours = {"base_model": got.base_model, "train": got.train}
    ours |= {"held_out": got.held_out, "train_origins": got.train_origins}
    assert replace(here, **ours) == got


def test_workers_of_one_machine_share_a_base_model(store, make, fetch):
    write_placed(store, make(), unreported)
    first, second = (read_request(fetch(worker)).base_model for worker in ("one", "two"))
    assert first == second


def test_a_request_is_written_once_whoever_writes_it(store, make, shared):
    write_placed(store, make(), unreported)
    before = contents(shared)
    write_placed(store, make(state="elsewhere"), unreported)
    assert contents(shared) == before


def test_a_model_of_the_hub_is_named_and_not_sent(store, make, fetch):
    hub = BaseModel(reference="Qwen/Qwen3-0.6B", revision="f" * 40, identity="hub:Qwen")
    write_placed(store, make(base_model=hub), unreported)
    assert read_placed(store, NAME).base == {}
    assert read_request(fetch()).base_model == hub


def test_the_adapter_that_is_trained_on_goes_along(store, make, fetch, base, tmp_path):
    adapter = write(tmp_path / "runs" / "model", adapter_config__json='{"r": 8}', a="pair")
    more = {"adapter": str(adapter), "adapter_identity": "trained:1"}
    plain = BaseModel(reference=str(base), revision=None, identity="sha256:1", **more)
    write_placed(store, make(base_model=plain), unreported)
    got = read_request(fetch()).base_model
    assert got.adapter != str(adapter)
    assert contents(Path(got.adapter)) == contents(adapter)
    assert (got.adapter_identity, got.identity) == ("trained:1", "sha256:1")


def test_a_merged_base_model_goes_as_its_two_parts(store, make, fetch, base, tmp_path):
    parent = make(fingerprint="ft1:" + "fedcba9876543210" * 4)
    write(parent.model, adapter_config__json="{}", adapter_model__safetensors="pair")
    merged = tmp_path / "state" / "merged" / "small-012345"
    write(merged.parent, **{merge_note(merged).name: json.dumps({"run": parent.name})})
    base_model = BaseModel(reference=str(merged), revision=None, identity="trained:1")
    write_placed(store, make(base_model=base_model), unreported)
    got = fetch()
    reference = Path(read_request(got).base_model.reference)
    # The worker merges: the folder does not exist yet, and the note beside it says of what.
    assert reference == got.path.parent.parent / "merged" / merged.name
    assert not reference.exists()
    assert json.loads(merge_note(reference).read_text()) == {"run": parent.name}
    there = RunDir(path=got.path.parent / parent.name)
    assert contents(there.model) == contents(parent.model)
    folder = Path(read_request(there).base_model.reference)
    assert contents(folder) == contents(base)
    assert folder != base


def test_a_store_with_another_run_of_that_name_is_refused(store, make):
    write_placed(store, make(), unreported)
    other = make(state="elsewhere", fingerprint=FINGERPRINT[:-1] + "0")
    with pytest.raises(BackendError) as caught:
        write_placed(store, other, unreported)
    assert f"is the request of {FINGERPRINT}, not of {FINGERPRINT[:-1]}0" in caught.value.message
    assert "`ftctl retry NAME`" in caught.value.remedy
    assert read_placed(store, NAME).fingerprint == FINGERPRINT


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"{}", b"[]", b"null", b'{"format": 1}', b'{"format": "1"}']
)
def test_a_damaged_request_is_named_and_can_be_written_anew(store, make, data):
    key = key_of(NAME, "request.json")
    store.write(key, data)
    with pytest.raises(StoreError) as caught:
        write_placed(store, make(), unreported)
    assert caught.value.message == f"{store.url}: {key} is damaged"
    assert caught.value.remedy == "Remove that object; the next run writes it anew."
    store.remove([key])
    write_placed(store, make(), unreported)
    assert read_placed(store, NAME).fingerprint == FINGERPRINT


def test_a_request_of_a_newer_ftctl_is_left_alone(store, make):
    write_placed(store, make(), unreported)
    key = key_of(NAME, "request.json")
    newer = json.loads(store.read(key)) | {"format": 2, "more": True}
    store.write(key, json.dumps(newer).encode())
    with pytest.raises(BackendError, match="was written by a newer ftctl") as caught:
        read_placed(store, NAME)
    assert (caught.value.remedy, type(caught.value)) == ("Upgrade ftctl.", BackendError)


def test_a_run_that_nobody_placed_has_no_request(store):
    assert read_placed(store, NAME) is None


def test_examples_that_are_damaged_on_the_way_train_nothing(store, make, fetch, shared):
    write_placed(store, make(), unreported)
    for path in (shared / "objects").rglob("*"):
        if path.is_file() and path.read_bytes() == (ROW * 2).encode():
            path.write_bytes(ROW.encode())
    with pytest.raises(StoreError):
        fetch()
    assert list(shared.parent.rglob(f"there/worker/runs/{NAME}/request.json")) == []
