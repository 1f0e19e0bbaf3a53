"""Files of base models that somebody damaged or wrote by hand: read as far as they tell, or refused."""

import json
from contextlib import suppress

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.tokens.chat_tokens import load_chat
from backends.local_gpu.tokens.inspector import LocalInspector

pytestmark = pytest.mark.torch
EXAMPLE = {
    "messages": [
        {"role": "user", "content": "몇 시?"},
        {"role": "assistant", "content": "아홉 시."},
    ]
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def readers(changed_base):
    """Return a function from replaced files to what reads them: a plan's check, counts, a job."""

    def open_all(**files):
        folder = changed_base(**files)
        base = BaseModel(reference=str(folder), revision=None, identity="sha256:1")
        return (
            lambda: LocalInspector(base_model=base).check(EXAMPLE),
            lambda: LocalInspector(base_model=base).count([EXAMPLE]),
            lambda: load_chat(folder, None).show(EXAMPLE),
        )

    return open_all


def template(value):
    return {"chat_template": value, "eos_token": "<|im_end|>"}


@pytest.mark.parametrize(
    ("value", "has_one"),
    [
        (CHATML, True),
        ([{"name": "default", "template": CHATML}], True),
        ([{"name": "rag", "template": "x"}, {"name": "default", "template": CHATML}], True),
        ([{"name": "default", "template": CHATML}, {"name": "broken"}, 5, None], True),
        ([{"name": "tool_use", "template": CHATML}], False),
        ([{"name": "default"}], False),
        ([{"template": CHATML}], False),
        ([5], False),
        ([], False),
        ({"default": CHATML}, False),
        (5, False),
        (None, False),
    ],
)
def test_a_template_is_found_or_missed_with_a_remedy(readers, value, has_one):
    files = {"chat_template__jinja": None, "tokenizer_config__json": template(value)}
    for read in readers(**files):
        if has_one:
            read()
            continue
        with pytest.raises(BackendError, match="has no chat template") as caught:
            read()
        assert caught.value.remedy == "Set `chat_template: chatml`."


@pytest.mark.parametrize("name", ["generation_config__json", "config__json"])
@pytest.mark.parametrize(
    ("value", "stops"),
    [
        (0, {0}),
        ("0", {0}),
        ([0, 1], {0, 1}),
        (["0", None, 1], {0, 1}),
        ("<|endoftext|>", set()),
        ({"id": 0}, set()),
        ([[0]], set()),
        (0.0, set()),
        ("", set()),
        (None, set()),
    ],
)
def test_tokens_that_end_an_answer_are_numbers(changed_base, base_folder, name, value, stops):
    config = json.loads((base_folder / "config.json").read_text())
    files = {"config__json": {**config, "eos_token_id": None}, "generation_config__json": {}}
    files[name] = {**files[name], "eos_token_id": value}
    chat = load_chat(changed_base(**files), None)
    # Beside them, the template's own end of a turn and `eos_token`.
    assert chat.stops == stops | {chat.tokenizer.token_to_id("<|im_end|>")}


@pytest.mark.parametrize(
    "added",
    [
        [5],
        {"a": 1},
        "text",
        [{"content": "<x>", "special": True}],
        [{"id": "one", "content": "<x>", "special": True}],
        [{"id": None, "content": "<x>", "special": True}],
    ],
)
def test_a_damaged_tokenizer_is_named_where_it_is_opened(base_folder, readers, added):
    tokenizer = json.loads((base_folder / "tokenizer.json").read_text())
    check, *others = readers(tokenizer__json={**tokenizer, "added_tokens": added})
    # A plan reads its control tokens alone, and finds fewer or none.
    with suppress(BackendError):
        check()
    for read in others:
        with pytest.raises(BackendError, match=r"tokenizer\.json cannot be read") as caught:
            read()
        assert caught.value.remedy == "Download the model again."


@pytest.mark.parametrize("value", [5, {"content": 5}, ["<|im_end|>"], {"a": 1}, "", None])
def test_an_end_of_text_that_names_nothing_leaves_the_templates_own(readers, value):
    for read in readers(tokenizer_config__json={"eos_token": value}):
        read()
