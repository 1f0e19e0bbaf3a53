"""Base models of a hub on loopback: asked about, downloaded, continued, refused."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backends.contract.errors import BackendError, BaseModelMissing, BaseModelUnknown, MachineFailed
from backends.local_gpu.backend import LocalGpuBackend
from backends.local_gpu.hub import download
from backends.local_gpu.hub.base_model import fetch, look_up
from backends.local_gpu.models.base_models import hub_folder, hub_model, local_folder
from tests.children import child, until
from tests.servers.models_hub import FIRST, SECOND, TOKEN, ModelsHub, serving

WEIGHTS = bytes(range(256)) * 4096
SMALL = {
    "config.json": b'{"model_type": "llama", "max_position_embeddings": 64}',
    "tokenizer.json": b'{"added_tokens": []}',
    "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}',
    "LICENSE": b"Apache-2.0",
}
UNWANTED = {
    "pytorch_model.bin": b"pickle",
    "modeling_own.py": b"import os",
    "onnx/model.onnx": b"-",
    "model.fp16.safetensors": b"-",
    "README.md": b"# A model",
}
WHOLE = {**SMALL, **UNWANTED, "model.safetensors": WEIGHTS}
INDEX = {
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
}
SHARDS = {
    **SMALL,
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": WEIGHTS[::-1],
    "consolidated-00001-of-00001.safetensors": b"another form of them",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving(ModelsHub(files={"acme/tiny": WHOLE, "acme/large": SHARDS})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


def silent(done: int, total: int) -> None:
    pass


def test_a_plan_learns_commit_and_size_and_loads_no_weights(hub):
    found = look_up("acme/tiny", None)
    assert found == hub_model("acme/tiny", FIRST, download_bytes=len(WEIGHTS))
    snapshot = hub_folder("acme/tiny") / "snapshots" / FIRST
    assert {file.name: file.read_bytes() for file in snapshot.iterdir()} == SMALL
    hub.main = SECOND
    assert look_up("acme/tiny", None).revision == FIRST, "a branch is resolved once"
    assert look_up("acme/tiny", SECOND).revision == SECOND


def test_a_download_is_what_transformers_opens_and_nothing_else(hub):
    base, told = look_up("acme/large", None), []
    assert base.download_bytes == 2 * len(WEIGHTS)
    fetch(base, lambda done, total: told.append((done, total)))
    folder = local_folder(base)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        name: content for name, content in SHARDS.items() if not name.startswith("consolidated")
    }
    assert told[-1] == (2 * len(WEIGHTS), 2 * len(WEIGHTS))
    hub.asked.clear()
    fetch(base, silent)
    assert hub.asked == []
    fetch(look_up("acme/tiny", None), silent)
    names = {file.name for file in local_folder(hub_model("acme/tiny", FIRST)).iterdir()}
    assert names == {*SMALL, "model.safetensors"}


@pytest.mark.usefixtures("hub")
def test_other_programs_find_the_download_in_the_cache():
    fetch(look_up("acme/tiny", None), silent)
    code = (
        "from huggingface_hub import snapshot_download\n"
        "print(snapshot_download('acme/tiny', allow_patterns='*.safetensors'))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert answer.stdout.strip() == str(hub_folder("acme/tiny") / "snapshots" / FIRST)


PROGRAM = """
from backends.local_gpu.hub.base_model import fetch, look_up
fetch(look_up("acme/big", None), lambda done, total: None)
"""
BIG = WEIGHTS * 24
"""Larger than the pieces of 10 MiB that the library writes."""
PIECE = 10 << 20


@pytest.fixture
def big(hub):
    hub.files["acme/big"] = {**WHOLE, "model.safetensors": BIG}
    return hub


def test_a_killed_download_continues_where_it_stopped(big):
    big.slow_s = 0.2
    with child([sys.executable, "-c", PROGRAM]) as process:
        blobs = hub_folder("acme/big") / "blobs"
        until(lambda: any(one.stat().st_size >= PIECE for one in blobs.glob("*.incomplete")))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    base = hub_model("acme/big", FIRST)
    assert local_folder(base) is None
    big.slow_s = 0.0
    left = look_up("acme/big", None).download_bytes
    assert 0 < left <= len(BIG) - PIECE
    big.asked.clear()
    fetch(base, silent)
    begun = len(BIG) - left
    assert big.downloads() == [f"/acme/big/resolve/{FIRST}/model.safetensors bytes={begun}-"]
    assert (local_folder(base) / "model.safetensors").read_bytes() == BIG


def test_a_download_that_breaks_off_is_continued_at_once(big):
    big.breaks = [PIECE + 100_000]
    fetch(look_up("acme/big", None), silent)
    assert [one for one in big.downloads() if "bytes=" in one] == [
        f"/acme/big/resolve/{FIRST}/model.safetensors bytes={PIECE}-"
    ]


def test_a_damaged_download_is_never_seen(hub):
    hub.damaged = {"model.safetensors"}
    base = look_up("acme/tiny", None)
    with pytest.raises(BaseModelUnknown, match="its checksum is not the hub's"):
        fetch(base, silent)
    assert local_folder(base) is None
    hub.damaged = set()
    fetch(base, silent)
    assert local_folder(base) is not None


@pytest.mark.usefixtures("hub")
def test_a_part_of_something_else_is_not_continued():
    base = look_up("acme/tiny", None)
    name = hashlib.sha256(WEIGHTS).hexdigest()
    (hub_folder("acme/tiny") / "blobs" / f"{name}.ftctl.incomplete").write_bytes(b"another file")
    fetch(base, silent)
    assert (local_folder(base) / "model.safetensors").read_bytes() == WEIGHTS


def test_the_disk_is_checked_first(hub, monkeypatch):
    base = look_up("acme/tiny", None)
    usage = download.shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    hub.asked.clear()
    with pytest.raises(MachineFailed, match=r"acme/tiny needs 1\.0 MB more, .* 1\.0 MB left"):
        fetch(base, silent)
    assert hub.downloads() == []


def test_too_many_requests_are_waited_for(hub):
    hub.busy = [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"})]
    base = look_up("acme/tiny", None)
    hub.busy = [(429, {"Retry-After": "0"})] * 2
    fetch(base, silent)
    assert local_folder(base) is not None
    hub.busy = [(429, {"Retry-After": "600"})]
    with pytest.raises(BaseModelUnknown, match="too many requests") as caught:
        look_up("acme/large", None)
    assert "HF_TOKEN" in caught.value.remedy


def test_gated_private_and_missing_are_told_apart(hub, monkeypatch):
    hub.gated, hub.private = {"acme/tiny"}, {"acme/large"}
    with pytest.raises(BaseModelMissing, match="acme/tiny is gated") as caught:
        look_up("acme/tiny", None)
    assert "https://huggingface.co/acme/tiny" in caught.value.remedy
    with pytest.raises(BaseModelMissing, match="or shows it only after a login"):
        look_up("acme/large", None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert look_up("acme/tiny", None).revision == FIRST
    assert look_up("acme/large", None).revision == FIRST
    with pytest.raises(BaseModelMissing, match="the hub has no model acme/gone\n"):
        look_up("acme/gone", None)
    with pytest.raises(BaseModelMissing, match="has no revision 'v2' at the hub"):
        look_up("acme/tiny", "v2")


@pytest.mark.usefixtures("hub")
def test_a_silent_hub_matters_only_where_the_commit_is_not_known(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BaseModelUnknown, match="the hub does not answer about acme/tiny"):
        look_up("acme/tiny", None)
    assert look_up("acme/tiny", FIRST) is None
    with pytest.raises(BaseModelUnknown, match="the hub does not answer"):
        fetch(hub_model("acme/tiny", FIRST), silent)


@pytest.mark.parametrize(
    ("files", "card", "message", "remedy"),
    [
        ({"tiny-q4.gguf": b"-"}, {"base_model": "acme/tiny"}, "only GGUF files", "`base_model: acme/tiny`"),
        ({"pytorch_model.bin": b"-", **SMALL}, None, "only as pickles", "safetensors/convert"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"-"}, {"base_model": ["acme/tiny"]},
         "is an adapter, not a whole model", "`base_model: acme/tiny`"),
        ({"consolidated.safetensors": b"-", **SMALL}, None, "no model.safetensors", "made from"),
        ({"README.md": b"-"}, None, "has no weights", "Check the name"),
        ({"model.safetensors": b"-", "config.json": b"{}"}, None, "no tokenizer.json", "save_pretrained"),
        ({"model.safetensors": b"-", "tokenizer.json": b"{}"}, None, "no config.json", "made from"),
    ],
)  # fmt: skip
def test_repositories_without_a_model_to_train(hub, files, card, message, remedy):
    hub.files["acme/odd"] = files
    if card is not None:
        hub.cards["acme/odd"] = card
    with pytest.raises(BaseModelMissing, match=message) as caught:
        look_up("acme/odd", None)
    assert remedy in caught.value.remedy
    assert hub.downloads() == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}},
         r"stored quantised \(gptq, 4 bits\)"),
        ({"model_type": "own", "auto_map": {"AutoModel": "modeling_own.py"}}, "`auto_map` in config.json"),
        ({"model_type": "of-tomorrow"}, "of the architecture of-tomorrow, which transformers [0-9.]+ does not"),
        ({"model_type": "vit"}, "which writes no text"),
    ],
)  # fmt: skip
def test_a_plan_refuses_what_cannot_be_trained(hub, tmp_path, config, message):
    hub.files["acme/odd"] = {**WHOLE, "config.json": json.dumps(config).encode()}
    backend = LocalGpuBackend(tmp_path / "state")
    base = backend.look_up_base_model("acme/odd", None, tmp_path)
    settings = backend.parse_hyperparameters("supervised", {})
    with pytest.raises(BackendError, match=message):
        backend.recipes(base, "supervised", settings)


def test_code_of_a_repository_does_not_matter_where_transformers_has_its_own(hub, tmp_path):
    config = {"model_type": "llama", "auto_map": {"AutoModel": "modeling_own.py"}}
    hub.files["acme/odd"] = {**WHOLE, "config.json": json.dumps(config).encode()}
    backend = LocalGpuBackend(tmp_path / "state")
    base = backend.look_up_base_model("acme/odd", None, tmp_path)
    assert backend.recipes(base, "supervised", backend.parse_hyperparameters("supervised", {}))


def test_an_offline_machine_asks_nobody(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    backend = LocalGpuBackend(tmp_path / "state")
    assert backend.look_up_base_model("acme/tiny", None, tmp_path) is None
    with pytest.raises(BaseModelMissing, match="is not on this machine"):
        backend.fetch_base_model(hub_model("acme/tiny", FIRST), silent)
    assert hub.asked == []


@pytest.mark.parametrize("base_model", ["./models/tiny", "../tiny", "/tiny", "ft:tiny:cafe:1-1"])
def test_only_hub_ids_are_asked_about(hub, tmp_path, base_model):
    assert LocalGpuBackend(tmp_path).look_up_base_model(base_model, None, tmp_path) is None
    assert hub.asked == []


def test_names_from_a_hub_lead_nowhere_else(hub):
    hub.files["acme/odd"] = {**WHOLE, "LICENSE/../../../../owned": b"!"}
    assert look_up("acme/odd", None).revision == FIRST
    assert not any("owned" in one for one in hub.asked)
    hub.main = "../" * 13 + "f"
    hub.files["acme/other"] = WHOLE
    with pytest.raises(BaseModelMissing, match="names no commit"):
        look_up("acme/other", None)
