import json

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.models.model_files import (
    copy_tokenizer,
    instead_of_none,
    special_of,
    special_text,
    template_sources,
    text_recipe,
    weights_digest,
)


def write(folder, **files):
    for name, value in files.items():
        file = folder / name.replace("__", ".")
        file.write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"eos_token": "<e>"}, "<e>"),
        ({"eos_token": {"content": "<e>", "lstrip": False}}, "<e>"),
        ({"eos_token": None}, None),
        ({"eos_token": ""}, None),
        ({}, None),
    ],
)
def test_a_special_token_is_a_text_or_an_object(settings, text):
    assert special_text(settings, "eos_token") == text


@pytest.mark.parametrize(
    ("tokenizer", "found"),
    [
        (
            {
                "added_tokens": [
                    {"id": 1, "content": "<e>", "special": True},
                    {"id": 2, "content": "<think>", "special": False},
                    {"id": 3, "content": "", "special": True},
                    {"id": 4, "content": "<s>", "special": True},
                ]
            },
            {1: "<e>", 4: "<s>"},
        ),
        ({"added_tokens": []}, {}),
        ({"added_tokens": "broken"}, {}),
        ({}, {}),
        ("{", {}),
        (None, {}),
    ],
)
def test_control_tokens_are_read_from_the_tokenizer_s_file(tmp_path, tokenizer, found):
    if tokenizer is not None:
        write(tmp_path, tokenizer__json=tokenizer)
    assert special_of(tmp_path) == found


@pytest.mark.parametrize(
    ("files", "sources"),
    [
        ({"chat_template__jinja": "own"}, {"default": "own"}),
        ({"tokenizer_config__json": {"chat_template": "inside"}}, {"default": "inside"}),
        (
            {
                "chat_template__jinja": "own",
                "tokenizer_config__json": {"chat_template": "inside"},
            },
            {"default": "own"},
        ),
        (
            {
                "tokenizer_config__json": {
                    "chat_template": [
                        {"name": "default", "template": "a"},
                        {"name": "tool_use", "template": "b"},
                    ]
                }
            },
            {"default": "a", "tool_use": "b"},
        ),
    ],
)
def test_a_model_s_own_templates(tmp_path, files, sources):
    write(tmp_path, **files)
    assert template_sources(tmp_path, None) == sources


def test_a_shipped_template_replaces_the_model_s_own(tmp_path):
    write(tmp_path, chat_template__jinja="own")
    assert "<|im_start|>" in template_sources(tmp_path, "chatml")["default"]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"tokenizer_config__json": {}},
        {"tokenizer_config__json": "{"},
        {"tokenizer_config__json": {"chat_template": [{"name": "rag", "template": "a"}]}},
    ],
)
@pytest.mark.parametrize("chatml", [True, False])
def test_a_model_without_a_template_is_refused_with_what_to_do(tmp_path, files, chatml):
    write(tmp_path, **files)
    with pytest.raises(BackendError, match="has no chat template") as caught:
        template_sources(tmp_path, None, chatml=chatml)
    assert caught.value.remedy == instead_of_none(chatml=chatml)
    assert ("chatml" in caught.value.remedy) == chatml


@pytest.mark.parametrize(
    ("source", "thinking", "recipe"),
    [
        ("{{ messages }}", False, 1),
        ("{{ messages }}", True, 2),
        ("{{ '<think>' }}", False, 2),
        ("{% if enable_thinking %}{% endif %}", False, 2),
        ("<|channel|>final", False, 2),
        (None, False, None),
        (None, True, 2),
    ],
)
def test_the_recipe_of_a_template(tmp_path, source, thinking, recipe):
    if source is not None:
        write(tmp_path, chat_template__jinja=source)
    assert text_recipe(tmp_path, None, thinking=thinking) == recipe
    assert text_recipe(tmp_path, "chatml", thinking=False) == 1


def test_a_trained_model_gets_all_files_that_read_its_texts_and_no_others(tmp_path):
    source, target = tmp_path / "base", tmp_path / "model"
    source.mkdir()
    target.mkdir()
    copied = {
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "added_tokens.json"),
        *("special_tokens_map.json", "preprocessor_config.json", "processor_config.json"),
        *("video_preprocessor_config.json", "LICENSE", "NOTICE"),
    }
    others = {"README.md", "model.safetensors", "config.json", "chat_template.jinja", "vocab.txt"}
    for name in copied | others:
        (source / name).write_text(f"카페 {name}", encoding="utf-8")
    copy_tokenizer(source, target)
    found = {path.name: path.read_text(encoding="utf-8") for path in target.iterdir()}
    assert found == {name: f"카페 {name}" for name in copied}
    for name in copied - {"tokenizer.json"}:
        (source / name).unlink()
    (tmp_path / "less").mkdir()
    copy_tokenizer(source, tmp_path / "less")
    assert [path.name for path in (tmp_path / "less").iterdir()] == ["tokenizer.json"]


def test_the_digest_of_weights_is_that_of_earlier_versions(tmp_path):
    # Lockfiles hold it.
    (tmp_path / "b.safetensors").write_bytes(b"two")
    (tmp_path / "a.safetensors").write_bytes(b"one")
    (tmp_path / "c.bin").write_bytes(b"three")
    assert (
        weights_digest(tmp_path)
        == "sha256:3d0a6058abeed24a36d11d98c40c789c22885736f645cbc557b5a4ec224f5f09"
    )
