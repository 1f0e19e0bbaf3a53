import json

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import Encoded, load_chat

pytestmark = pytest.mark.torch

TURNS = {
    "messages": [
        {"role": "system", "content": "Be brief. 짧게."},
        {"role": "user", "content": "How long are you open?"},
        {"role": "assistant", "content": "영업 시간은 nine to six"},
        {"role": "user", "content": " 카페 창업?  "},
        {"role": "assistant", "content": "Two streets down."},
    ]
}
TOOLS = {
    "messages": [
        {"role": "user", "content": "open?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {"name": "hours", "arguments": '{"day": "월"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "9-18"},
        {"role": "assistant", "content": "nine to six"},
    ],
    "tools": [{"type": "function", "function": {"name": "hours"}}],
}
# As Qwen's: what an earlier answer looked like depends on what follows it.
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDLESS = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
MARKED_WITHOUT_END = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}"
)
MARKED_EVERYWHERE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% generation %}{{ m.content }}"
    "{% endgeneration %}<|im_end|>\n{% endfor %}"
)


def encode(chat, conversation) -> Encoded:
    (found,) = chat.encode([conversation])
    if isinstance(found, BackendError):
        raise found
    return found


def learned(chat, conversation):
    """Return what is learned, one text per answer."""
    found = encode(chat, conversation)
    texts, inside = [], False
    for token, marked in zip(found.ids, found.learned, strict=True):
        if marked:
            texts = [*texts[:-1], [*texts[-1], token]] if inside else [*texts, [token]]
        inside = marked
    return [chat.tokenizer.decode(ids, skip_special_tokens=False) for ids in texts]


@pytest.mark.parametrize("shipped", [None, "chatml"])
def test_every_answer_is_learned_with_its_end_and_nothing_else(base_folder, shipped):
    chat = load_chat(base_folder, shipped)
    assert learned(chat, TURNS) == [
        "영업 시간은 nine to six<|im_end|>",
        "Two streets down.<|im_end|>",
    ]


def test_an_answer_of_weight_0_is_read_but_not_learned(base_folder):
    chat = load_chat(base_folder, None)
    messages = [dict(message) for message in TURNS["messages"]]
    messages[2]["weight"] = 0
    assert learned(chat, {"messages": messages}) == ["Two streets down.<|im_end|>"]
    assert encode(chat, {"messages": messages}).ids == encode(chat, TURNS).ids


def test_tool_calls_are_learned_and_tool_answers_are_not(base_folder):
    chat = load_chat(base_folder, "chatml")
    call, answer = learned(chat, TOOLS)
    assert call == (
        '<tool_call>\n{"name": "hours", "arguments": {"day": "월"}}\n</tool_call><|im_end|>'
    )
    assert answer == "nine to six<|im_end|>"
    assert "9-18" in chat.tokenizer.decode(encode(chat, TOOLS).ids)


def test_counting_and_prompting_fit_what_is_trained_on(base_folder, backend, tmp_path):
    chat = load_chat(base_folder, None)
    base = backend.resolve_base_model(str(base_folder), None, tmp_path)
    for shipped in (None, "chatml"):
        inspector = backend.inspector(base, "supervised", {"chat_template": shipped})
        (count,) = inspector.count([TURNS])
        assert count == len(encode(load_chat(base_folder, shipped), TURNS).ids)
    whole = encode(chat, TURNS)
    before_last = chat.prompt({"messages": TURNS["messages"][:-1]})
    assert whole.ids[: len(before_last)] == before_last
    assert list(whole.learned[len(before_last) :]) == [True] * (
        whole.learned.count(True)
        - len(chat.tokenizer.encode("영업 시간은 nine to six<|im_end|>").ids)
    ) + [False]


@pytest.mark.parametrize("conversation", [TURNS, TOOLS])
def test_the_same_as_transformers(base_folder, changed_base, conversation):
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import

    chat = load_chat(base_folder, "chatml")
    folder = changed_base(chat_template__jinja=chat.template.source)
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        [
            {**m, "content": m["content"] or "", "tool_calls": _objects(m.get("tool_calls"))}
            for m in conversation["messages"]
        ],
        tools=conversation.get("tools"),
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    ours = encode(chat, conversation)
    assert list(ours.ids) == theirs["input_ids"]
    assert [int(mark) for mark in ours.learned] == theirs["assistant_masks"]


def _objects(calls):
    return [
        {**c, "function": c["function"] | {"arguments": json.loads(c["function"]["arguments"])}}
        for c in calls or []
    ]


@pytest.mark.parametrize(
    ("template", "conversation", "message", "remedy"),
    [
        (ENDLESS, TURNS, "end of turn is not in the loss", "chatml"),
        (MARKED_WITHOUT_END, TURNS, "end of turn is not in the loss", "chatml"),
        (None, {"messages": TURNS["messages"][:2]}, "nothing is learned", "Remove it"),
        (None, {"messages": [{**TURNS["messages"][2], "weight": 0}]}, "nothing is learned", ""),
        (
            "{{ raise_exception('roles must alternate') }}",
            TURNS,
            "refuses this conversation: roles must alternate",
            "chatml",
        ),
    ],
)
def test_what_would_be_learned_wrongly_is_refused(
    changed_base, base_folder, template, conversation, message, remedy
):
    folder = base_folder if template is None else changed_base(chat_template__jinja=template)
    with pytest.raises(BackendError, match=message) as caught:
        encode(load_chat(folder, None), conversation)
    assert remedy in caught.value.remedy


def test_control_tokens_in_the_data_are_refused(base_folder, example):
    conversation = example("what is <|im_end|>?", "a token")
    with pytest.raises(BackendError, match="the user's text contains the control token"):
        encode(load_chat(base_folder, None), conversation)


@pytest.mark.parametrize("template", [FORGETFUL, MARKED_EVERYWHERE])
def test_answers_are_told_apart_where_a_template_forgets_or_marks_too_much(changed_base, template):
    chat = load_chat(changed_base(chat_template__jinja=template), None)
    assert learned(chat, TURNS) == [
        "영업 시간은 nine to six<|im_end|>",
        "Two streets down.<|im_end|>",
    ]
    whole = encode(chat, TURNS)
    asked = chat.prompt({"messages": TURNS["messages"][:-1]})
    end = len(whole.ids) - 1 - list(reversed(whole.learned)).index(True)
    answer = chat.tokenizer.encode("Two streets down.<|im_end|>").ids
    assert list(whole.ids[: end + 1]) == [*asked, *answer]


def test_a_block_before_every_answer_is_prompt(changed_base, example):
    chat = load_chat(changed_base(chat_template__jinja=FORGETFUL), None)
    assert learned(chat, example("a", "b")) == ["b<|im_end|>"]
    asked = chat.tokenizer.decode(
        chat.prompt({"messages": example("a", "b")["messages"][:1]}), skip_special_tokens=False
    )
    assert asked.endswith("<|im_start|>assistant\n<think></think>")


def test_recipe_1_renders_as_it_did(changed_base, base_folder, example):
    chat = load_chat(changed_base(chat_template__jinja=FORGETFUL), None, recipe=1)
    assert learned(chat, example("a", "b")) == ["<think></think>b<|im_end|>"]
    with pytest.raises(BackendError, match="writes an answer differently once more"):
        encode(chat, TURNS)
    # Where nothing changed there is one way.
    assert load_chat(base_folder, None, recipe=1).template.recipe == 2


@pytest.mark.parametrize(
    ("files", "shipped", "message"),
    [
        ({"chat_template__jinja": None}, None, "has no chat template"),
        ({"chat_template__jinja": "{% if %}"}, None, "cannot be read"),
        ({"tokenizer__json": "{"}, None, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used_are_named(changed_base, files, shipped, message):
    with pytest.raises(BackendError, match=message):
        load_chat(changed_base(**files), shipped)


def test_a_tokenizer_without_chatml_tokens_is_refused(changed_base, base_folder):
    text = (base_folder / "tokenizer.json").read_text()
    folder = changed_base(tokenizer__json=text.replace("<|im_", "<|turn_"))
    with pytest.raises(BackendError, match="lacks the control tokens"):
        load_chat(folder, "chatml")


def test_templates_are_found_where_models_keep_them(changed_base):
    named = [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}]
    settings = {"eos_token": {"content": "<|im_end|>"}}
    template = TEMPLATE_WITH_END
    for given in (template, [{"name": "default", "template": template}, named[1]]):
        files = {"chat_template__jinja": None}
        files["tokenizer_config__json"] = {**settings, "chat_template": given}
        chat = load_chat(changed_base(**files), None)
        assert chat.template.source == template
        assert chat.tokenizer.token_to_id("<|im_end|>") in chat.stops


TEMPLATE_WITH_END = "{% for m in messages %}{{ m.content }}{{ eos_token }}\n{% endfor %}"


def test_the_date_is_pinned(changed_base, example):
    text = "{{ strftime_now('%Y') }}" + TEMPLATE_WITH_END
    chat = load_chat(changed_base(chat_template__jinja=text), None)
    assert chat.template.render(example("a", "b")).text.startswith("2026a")
