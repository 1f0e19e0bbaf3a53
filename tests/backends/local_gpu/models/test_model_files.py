import json

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.models.model_files import (
    instead_of_none,
    special_of,
    special_text,
    template_sources,
    text_recipe,
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
