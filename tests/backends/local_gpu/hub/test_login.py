"""HF_TOKEN as people and CIs set it: used, ignored or refused, and never shown."""

import pytest

from backends.contract.errors import BaseModelMissing
from backends.local_gpu.hub.base_model import fetch, look_up
from backends.local_gpu.hub.download import unreported
from backends.local_gpu.hub.login import token
from backends.local_gpu.models.base_models import local_folder
from tests.servers.models_hub import FIRST, TOKEN, ModelsHub, serving

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b'{"added_tokens": []}',
    "model.safetensors": bytes(range(256)),
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    files = {"acme/open": FILES, "acme/closed": FILES}
    with serving(ModelsHub(files=files, private={"acme/closed"})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("  \n", None),
        (TOKEN, TOKEN),
        (f"{TOKEN}\n", TOKEN),
        (f" {TOKEN}\r\n", TOKEN),
        ("hf_-_.~!", "hf_-_.~!"),
    ],
)
def test_blanks_around_a_token_are_not_a_part_of_it(monkeypatch, text, expected):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if text is not None:
        monkeypatch.setenv("HF_TOKEN", text)
    assert token() == expected


@pytest.mark.parametrize("text", ["", " ", "\n", None])
@pytest.mark.usefixtures("hub")
def test_an_empty_token_is_none(monkeypatch, text):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    if text is not None:
        monkeypatch.setenv("HF_TOKEN", text)
    base = look_up("acme/open", None)
    fetch(base, unreported)
    assert local_folder(base) is not None
    with pytest.raises(BaseModelMissing, match="or shows it only after a login"):
        look_up("acme/closed", None)


@pytest.mark.usefixtures("hub")
def test_a_secret_that_ends_with_a_line_break_logs_in(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\n")
    base = look_up("acme/closed", None)
    assert base.revision == FIRST
    fetch(base, unreported)
    assert (local_folder(base) / "model.safetensors").read_bytes() == bytes(range(256))


@pytest.mark.parametrize("text", ["hf_one hf_two", "hf_one\nhf_two", "hf_한글", "hf_\x07", "토큰"])
def test_what_is_not_a_token_is_refused_and_not_shown(hub, monkeypatch, text):
    monkeypatch.setenv("HF_TOKEN", text)
    with pytest.raises(BaseModelMissing, match="HF_TOKEN is not a token") as caught:
        look_up("acme/open", None)
    assert "unset it" in caught.value.remedy
    assert not any(part in str(caught.value) for part in ("hf_", "토큰", "한글"))
    assert hub.asked == []


def test_a_gated_model_asks_the_account_that_logged_in(hub, monkeypatch):
    hub.gated = {"acme/open"}
    for text, whose in (("hf_wrong", " to the account of HF_TOKEN"), ("\n", "")):
        monkeypatch.setenv("HF_TOKEN", text)
        with pytest.raises(BaseModelMissing) as caught:
            look_up("acme/open", None)
        assert caught.value.message == (
            f"acme/open is gated: access{whose} has to be granted first"
        )
