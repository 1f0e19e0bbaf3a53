"""What a hub says of a model: files to train it, and refusals in words that help."""

import pytest

from backends.contract.errors import BaseModelMissing, BaseModelUnknown
from backends.local_gpu.hub.base_model import look_up
from backends.local_gpu.hub.contents import require_contents
from backends.local_gpu.hub.listing import list_files
from tests.servers.models_hub import FIRST, SECOND, ModelsHub, serving

NAMES = ("config.json", "tokenizer.json", "model.safetensors")
WHOLE = {name: name.encode() for name in NAMES}
AGAIN = "Type the command again: what was downloaded stays, and the rest follows."


@pytest.fixture
def hub(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serving(ModelsHub(files={"acme/tiny": dict(WHOLE)})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


def names_of(files):
    return [file.name for file in files]


def test_settings_come_before_weights_and_by_name(hub):
    more = ("LICENSE-한국어.txt", "NOTICE", "README.md", "generation_config.json", "vocab.txt",
            "chat_template.jinja", "tokenizer.model", "added_tokens.json", "train.py")  # fmt: skip
    hub.files["acme/tiny"] |= dict.fromkeys(more, b"-")
    found = list_files("acme/tiny", None)
    assert names_of(found.settings) == [
        *(
            "LICENSE-한국어.txt",
            "NOTICE",
            "added_tokens.json",
            "chat_template.jinja",
            "config.json",
        ),
        *("generation_config.json", "tokenizer.json", "tokenizer.model"),
    ]
    assert names_of(found.weights) == ["model.safetensors"]
    assert found.files == (*found.settings, *found.weights)
    assert (found.id, found.commit) == ("acme/tiny", FIRST)
    assert [file.size for file in found.weights] == [len("model.safetensors")]


@pytest.mark.parametrize(
    ("names", "weights", "index"),
    [
        (
            ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            True,
        ),
        # The whole model in one file is opened, whatever lies beside it.
        (["model.safetensors", "model-00001-of-00001.safetensors"], ["model.safetensors"], False),
        (["model.safetensors", "adapter-1-of-1.safetensors"], ["model.safetensors"], False),
        (
            [
                "weights-1-of-2.safetensors",
                "weights-2-of-2.safetensors",
                "consolidated-1-of-1.safetensors",
            ],
            ["weights-1-of-2.safetensors", "weights-2-of-2.safetensors"],
            True,
        ),
    ],
)
def test_which_weights_are_opened(hub, names, weights, index):
    kept = {name: content for name, content in WHOLE.items() if name != "model.safetensors"}
    listed = ["model.safetensors.index.json", "onnx/model-1-of-1.safetensors", *names]
    hub.files["acme/tiny"] = kept | dict.fromkeys(listed, b"-")
    found = list_files("acme/tiny", None)
    assert names_of(found.weights) == weights
    assert ("model.safetensors.index.json" in names_of(found.settings)) == index


def test_a_commit_is_asked_about_by_itself(hub):
    assert list_files("acme/tiny", SECOND).commit == SECOND
    assert hub.asked == [f"/api/models/acme/tiny/revision/{SECOND}"]


def test_a_file_that_is_too_large_is_told_by_a_plan(hub):
    hub.sizes = {"model.safetensors": 60 * 10**9}
    with pytest.raises(BaseModelMissing, match=r"has 60\.0 GB, and ftctl downloads files"):
        look_up("acme/tiny", None)
    assert hub.downloads() == [], "a plan tells it, before anything is downloaded"


@pytest.mark.parametrize(
    ("status", "error", "message", "remedy"),
    [
        (
            403,
            BaseModelMissing,
            "the hub refuses acme/tiny to this login (403): ",
            "Set HF_TOKEN to a valid token that may read the model, or unset it for a public one.",
        ),
        (500, BaseModelUnknown, "the hub fails for acme/tiny (500): ", f"Wait a little. {AGAIN}"),
        (418, BaseModelUnknown, "the hub fails for acme/tiny (418): ", f"Wait a little. {AGAIN}"),
        (
            429,
            BaseModelUnknown,
            "the hub has had too many requests from here (429), and acme/tiny was among them",
            f"Wait a few minutes. {AGAIN} With HF_TOKEN set, the hub allows more.",
        ),
    ],
)
def test_each_refusal_has_its_own_words(hub, status, error, message, remedy):
    hub.busy = [(status, {"Retry-After": "0"})] * 4
    with pytest.raises(error) as caught:
        list_files("acme/tiny", None)
    assert type(caught.value) is error
    assert caught.value.message.startswith(message)
    assert len(caught.value.message) < len(message) + 201
    assert caught.value.remedy == remedy


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_four_times(hub, status):
    hub.busy = [(status, {"Retry-After": "0"})] * 3
    assert list_files("acme/tiny", None).commit == FIRST
    assert len(hub.asked) == 4
    hub.asked.clear()
    hub.busy = [(status, {"Retry-After": "0"})] * 4
    with pytest.raises(BaseModelUnknown):
        list_files("acme/tiny", None)
    assert len(hub.asked) == 4


@pytest.mark.parametrize(
    ("status", "headers"),
    [(400, {}), (403, {}), (503, {"Retry-After": "21"}), (429, {"Retry-After": "86400"})],
)
def test_where_waiting_is_of_no_use_the_hub_is_asked_once(hub, status, headers):
    hub.busy = [(status, headers)]
    with pytest.raises(BaseModelMissing if status == 403 else BaseModelUnknown):
        list_files("acme/tiny", None)
    assert len(hub.asked) == 1


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://127.0.0.1:hub", "Invalid port"),
        ("huggingface.co", "missing an 'http://' or 'https://' protocol"),
        ("ftp://huggingface.co", "unsupported protocol 'ftp://'"),
        ("  ", "missing an 'http://'"),
    ],
)
def test_an_endpoint_that_is_no_address_is_named(hub, monkeypatch, endpoint, why):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(BaseModelUnknown) as caught:
        list_files("acme/tiny", None)
    assert caught.value.message.startswith("HF_ENDPOINT is not the address of a hub: ")
    assert why in caught.value.message
    assert caught.value.remedy == (
        "Set HF_ENDPOINT to an address such as https://huggingface.co, or unset it."
    )
    # What is known already needs no hub.
    assert look_up("acme/tiny", FIRST) is None
    assert hub.asked == []


def test_a_hub_that_is_away_is_told_with_what_to_check(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BaseModelUnknown) as caught:
        list_files("acme/tiny", None)
    assert caught.value.message.startswith("the hub does not answer about acme/tiny: ")
    assert caught.value.remedy == f"Check the network. {AGAIN}"


@pytest.mark.parametrize("hub_id", ["acme//tiny", "acme/tiny/more", "-acme/tiny"])
def test_what_is_no_id_is_not_asked_about(hub, hub_id):
    with pytest.raises(BaseModelMissing) as caught:
        list_files(hub_id, None)
    assert caught.value.remedy == "Write ORGANISATION/NAME."
    assert hub.asked == []


def test_a_revision_that_is_missing_is_named_as_it_was_written(hub):
    with pytest.raises(BaseModelMissing) as caught:
        list_files("acme/tiny", "v1.0-한국어")
    assert caught.value.message == "acme/tiny has no revision 'v1.0-한국어' at the hub"
    assert hub.downloads() == []


@pytest.mark.parametrize(
    ("names", "original", "message", "remedy"),
    [
        (
            {"adapter_config.json", "adapter_model.safetensors"},
            "acme/base",
            "acme/odd is an adapter, not a whole model",
            "Write `base_model: acme/base`.",
        ),
        (
            {"adapter_config.json"},
            None,
            "acme/odd is an adapter, not a whole model",
            "Name the model it was made from.",
        ),
        (
            {"a.gguf", "config.json", "pytorch_model.bin"},
            "acme/base",
            "acme/odd has only GGUF files, which are for asking a model, not for training",
            "Write `base_model: acme/base`.",
        ),
        *(
            (
                {f"model{end}", "config.json", "tokenizer.json"},
                "acme/base",
                (
                    "acme/odd has its weights only as pickles, which can run code and are never "
                    "loaded"
                ),
                (
                    "Name a revision with safetensors, or convert the weights to safetensors first: "
                    "https://huggingface.co/spaces/safetensors/convert"
                ),
            )
            for end in (".bin", ".pt", ".pth", ".ckpt", ".pkl")
        ),
        (
            {"model.fp16.safetensors", "config.json"},
            None,
            "acme/odd has no model.safetensors that transformers opens",
            "Name the model it was made from.",
        ),
        ({"README.md"}, "acme/base", "acme/odd has no weights", "Check the name."),
        (set(), None, "acme/odd has no weights", "Check the name."),
    ],
)
def test_what_a_repository_holds_instead_is_told(names, original, message, remedy):
    with pytest.raises(BaseModelMissing) as caught:
        require_contents("acme/odd", names, [], original)
    assert (caught.value.message, caught.value.remedy) == (message, remedy)


@pytest.mark.parametrize(
    ("lacking", "message", "remedy"),
    [
        (
            "config.json",
            "acme/odd has no config.json, so it is not a model of transformers",
            "Write `base_model: acme/base`.",
        ),
        ("tokenizer.json", "acme/odd has no tokenizer.json", "Download it and save its tokenizer"),
    ],
)
def test_what_a_model_lacks_is_told(lacking, message, remedy):
    names = {*NAMES, "adapter_config.json"}
    require_contents("acme/odd", names, ["model.safetensors"], "acme/base")
    with pytest.raises(BaseModelMissing) as caught:
        require_contents(
            "acme/odd",
            names - {lacking, "adapter_config.json"},
            ["model.safetensors"],
            "acme/base",
        )
    assert caught.value.message == message
    assert caught.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("card", "remedy"),
    [
        ({"base_model": "acme/base"}, "Write `base_model: acme/base`."),
        ({"base_model": ["acme/base"]}, "Write `base_model: acme/base`."),
        ({"base_model": ["acme/one", "acme/two"]}, "Name the model it was made from."),
        ({"base_model": []}, "Name the model it was made from."),
        ({"base_model": 7}, "Name the model it was made from."),
        ({}, "Name the model it was made from."),
    ],
)
def test_a_card_names_the_original_only_if_there_is_one(hub, card, remedy):
    hub.files["acme/odd"] = {"model-q4.gguf": b"-"}
    hub.cards["acme/odd"] = card
    with pytest.raises(BaseModelMissing) as caught:
        look_up("acme/odd", None)
    assert caught.value.remedy == remedy
