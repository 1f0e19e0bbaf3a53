"""Families of models: trained, asked, scored and shown on one text, or refused with a remedy.

The templates are written for these tests; each has what is hard about one family's.
"""

import json
import runpy
from pathlib import Path

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.models.model_files import special_of, text_recipe
from backends.local_gpu.templates.chat_templates import differs, load_template
from backends.local_gpu.templates.learnable import check
from backends.local_gpu.tokens.chat_tokens import load_chat
from backends.local_gpu.tokens.inspector import LocalInspector

pytestmark = pytest.mark.torch

FAMILIES = runpy.run_path(str(Path(__file__).parents[3] / "families.py"))
KINDS, outcome = FAMILIES["KINDS"], FAMILIES["outcome"]

HERMES = (
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}"
)
XML = (
    "{% for c in m.tool_calls or [] %}\n<tool_call>\n<function={{ c.function.name }}>\n"
    "{% for k, v in c.function.arguments | items %}<parameter={{ k }}>\n"
    "{{ v if v is string else v | tojson }}\n</parameter>\n{% endfor %}"
    "</function>\n</tool_call>{% endfor %}"
)
TOOLS = "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
LAST = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
)
BLOCK = "<think>\n\n</think>\n\n"


def thinking(calls: str, opens: str) -> str:
    """Return a template that shows thinking in the last turn only, as Qwen3's does."""
    return (
        TOOLS
        + LAST
        + "{% for m in messages %}{% if m.role == 'assistant' %}"
        + "{% set content = m.content %}{% set thought = m.reasoning_content or '' %}"
        + "{% if '</think>' in content %}{% set thought = content.split('</think>')[0] %}"
        + "{% set content = content.split('</think>')[-1] %}{% endif %}"
        + "<|im_start|>assistant\n{% if loop.index0 > ns.last %}<think>\n{{ thought }}\n</think>\n\n"
        + "{% endif %}{{ content }}"
        + calls
        + "<|im_end|>\n{% elif m.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ m.content }}"
        + "\n</tool_response><|im_end|>\n"
        + "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}<|im_start|>assistant\n"
        + "{% if enable_thinking is defined and enable_thinking is false %}"
        + BLOCK.replace("\n", "\n")
        + "{% else %}"
        + opens
        + "{% endif %}{% endif %}"
    )


CHANNELS = (
    "{% if tools %}<|start|>developer<|message|>{{ tools | tojson }}<|end|>{% endif %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.thinking and loop.last %}<|start|>assistant<|channel|>analysis<|message|>"
    "{{ m.thinking }}<|end|>{% endif %}"
    "{% if m.tool_calls %}<|start|>assistant to=functions.{{ m.tool_calls[0].function.name }}"
    "<|channel|>commentary json<|message|>{{ m.tool_calls[0].function.arguments | tojson }}<|call|>"
    "{% else %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
    "{{ '<|return|>' if loop.last else '<|end|>' }}{% endif %}"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
NEXT_TURN_ENDS = (
    "<sop>{{ '<|system|>' + tools | tojson if tools else '' }}{% for m in messages %}"
    "{% if m.role == 'assistant' %}<|assistant|>\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}\n<tool_call>{{ c.function.name }}"
    "{% for k, v in c.function.arguments.items() %}\n<arg_key>{{ k }}</arg_key>\n"
    "<arg_value>{{ v if v is string else v | tojson }}</arg_value>{% endfor %}\n</tool_call>"
    "{% endfor %}"
    "{% else %}{{ '<|observation|>' if m.role == 'tool' else '<|' + m.role + '|>' }}\n"
    "{{ m.content }}{% endif %}{% endfor %}{{ '<|assistant|>\n' if add_generation_prompt }}"
)
SYSTEM_LAST = (
    "{% set first = messages[0] %}{% set rest = messages[1:] if first.role == 'system' else messages %}"
    "{% for m in rest %}{% if m.role == 'user' %}[INST] "
    "{{ first.content + '\n\n' if loop.last and first.role == 'system' }}{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content | trim }}</s>"
    "{% else %}{{ raise_exception('no such role') }}{% endif %}{% endfor %}"
)
ENDS_TWICE = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt else '<|endoftext|>' }}"
)
OPENS_A_BLOCK = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|Assistant|>"
    "{{ m.content.split('</think>')[-1] }}<|end|>{% else %}<|User|>{{ m.content }}{% endif %}"
    "{% endfor %}{{ '<|Assistant|><think>\n' if add_generation_prompt }}"
)
STRICT = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<start_of_turn>{{ m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{{ '<start_of_turn>assistant\n' if add_generation_prompt }}"
)
BARE = (
    "{{ tools | tojson if tools }}{% for m in messages %}<|h|>{{ m.role }}\n"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}"
    '{% endif %}{"name": "{{ m.tool_calls[0].function.name }}", "parameters": '
    "{{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}"
    "<|e|>{% endfor %}{{ '<|h|>assistant\n' if add_generation_prompt }}"
)
CHATML = (
    TOOLS
    + "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    + HERMES
    + "<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
)

IM = ["<|im_start|>", "<|im_end|>"]
NO_TOOLS = {"offered", "call", "tools", "tools, several"}
NO_THINKING = {"thinking", "thinking, several"}
# Template, control tokens, those that end an answer, and what it cannot say.
MADE = {
    "plain": (CHATML, IM, ["<|im_end|>"], NO_THINKING),
    "thinks": (thinking(HERMES, ""), IM, ["<|im_end|>"], set()),
    "opens": (thinking(XML, "<think>\n"), IM, ["<|im_end|>"], set()),
    "channels": (
        CHANNELS,
        ["<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>"],
        ["<|return|>", "<|call|>"],
        set(),
    ),
    "next turn ends": (
        NEXT_TURN_ENDS,
        ["<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"],
        ["<|user|>", "<|observation|>"],
        NO_THINKING,
    ),
    "system last": (SYSTEM_LAST, ["[INST]", "[/INST]", "</s>"], ["</s>"], NO_TOOLS | NO_THINKING),
    "ends twice": (
        ENDS_TWICE,
        ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"],
        ["<|end|>", "<|endoftext|>"],
        NO_TOOLS | NO_THINKING,
    ),
    "opens a block": (
        OPENS_A_BLOCK,
        ["<|User|>", "<|Assistant|>", "<|end|>"],
        ["<|end|>"],
        NO_TOOLS | NO_THINKING,
    ),
    "strict": (
        STRICT,
        ["<start_of_turn>", "<end_of_turn>"],
        ["<end_of_turn>"],
        {"system", "system, several"} | NO_TOOLS | NO_THINKING,
    ),
    "bare": (BARE, ["<|h|>", "<|e|>"], ["<|e|>"], NO_THINKING),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders with a tokenizer and a template each, by name."""
    import tokenizers  # noqa: PLC0415 - tests without the training packages import this file too

    folders = {}
    for name, (template, special, ends, _) in MADE.items():
        folder = tmp_path_factory.mktemp("families") / name
        folder.mkdir()
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        tokenizer = tokenizers.Tokenizer(
            tokenizers.models.BPE({letter: place for place, letter in enumerate(alphabet)}, [])
        )
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        tokenizer.add_special_tokens(special)
        if "think" in template:
            tokenizer.add_tokens(["<think>", "</think>"])
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": ends[0]}))
        numbers = [tokenizer.token_to_id(end) for end in ends]
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": numbers}))
        (folder / "chat_template.jinja").write_text(template)
        folders[name] = folder
    return folders


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MADE)
def test_every_kind_is_right_or_refused_with_a_remedy_and_none_fails_in_the_job(made, name, kind):
    thinks, conversation = KINDS[kind]
    found = outcome(made[name], conversation, thinking=thinks)
    assert found.partition(":")[0] == ("refused" if kind in MADE[name][3] else "right"), found


def learned(chat, conversation):
    (found,) = chat.encode([conversation])
    if isinstance(found, BackendError):
        raise found
    ids = [number for number, on in zip(found.ids, found.learned, strict=True) if on]
    return chat.tokenizer.decode(ids, skip_special_tokens=False)


def asked(chat, conversation, **how):
    ids = chat.prompt({**conversation, "messages": conversation["messages"][:1]}, **how)
    return chat.tokenizer.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize(
    ("name", "prompt", "answer"),
    [
        ("thinks", f"<|im_start|>assistant\n{BLOCK}", "change_pin<|im_end|>"),
        ("opens", f"<|im_start|>assistant\n{BLOCK}", "change_pin<|im_end|>"),
        (
            "channels",
            "<|start|>assistant<|channel|>final<|message|>",
            "change_pin<|return|>",
        ),
        ("opens a block", "<|Assistant|>", "change_pin<|end|>"),
        ("next turn ends", "<|assistant|>\n", "change_pin<|user|>"),
    ],
)
def test_what_precedes_an_answer_is_prompt_and_not_learned(made, name, prompt, answer):
    chat = load_chat(made[name], None)
    _, conversation = KINDS["one answer"]
    assert asked(chat, conversation).endswith(prompt)
    assert learned(chat, conversation) == answer


def test_thinking_is_learned_only_where_it_is_on(made):
    _, conversation = KINDS["thinking"]
    content = "<think>\nThey ask about a PIN.\n</think>\n\nchange_pin"
    block = {"messages": [KINDS["thinking"][1]["messages"][0], {"role": "assistant"}]}
    block["messages"][1]["content"] = content
    on, off = (load_chat(made["thinks"], None, thinking=thinks) for thinks in (True, False))
    for given in (conversation, block):
        assert learned(on, given) == f"{content}<|im_end|>"
        with pytest.raises(BackendError, match="thinking is off") as caught:
            check(off.template, given)
        assert "thinking: on" in caught.value.remedy
        with pytest.raises(BackendError, match="thinking is off"):
            learned(off, given)
    # What is asked says who may think, whatever was trained; without a word it is as trained.
    assert asked(on, block) == asked(off, block, thinking=True)
    assert asked(off, block) == asked(on, block, thinking=False)
    assert asked(on, block) != asked(off, block)
    # A block in which nothing is thought says what the prompt says.
    block["messages"][1]["content"] = f"{BLOCK}change_pin"
    assert learned(off, block) == "change_pin<|im_end|>"


def test_thinking_on_is_refused_where_a_template_has_no_place_for_it(made):
    chat = load_chat(made["plain"], None, thinking=True)
    for kind in ("one answer", "thinking"):
        with pytest.raises(BackendError, match="does not show what is thought") as caught:
            check(chat.template, KINDS[kind][1])
        assert "thinking: off" in caught.value.remedy


def test_nobody_asks_a_model_to_think_whose_template_has_no_place_for_it(made):
    chat, (_, conversation) = load_chat(made["plain"], None), KINDS["one answer"]
    assert asked(chat, conversation) == asked(chat, conversation, thinking=False)
    with pytest.raises(BackendError, match="cannot be asked to think"):
        asked(chat, conversation, thinking=True)


def test_an_answer_without_thoughts_is_refused_where_every_answer_begins_with_some(made):
    chat = load_chat(made["opens a block"], None, thinking=True)
    with pytest.raises(BackendError, match="does not show what is thought"):
        check(chat.template, KINDS["one answer"][1])


def test_arguments_that_would_be_understood_otherwise_are_refused(made):
    _, conversation = KINDS["call"]
    call = json.loads(json.dumps(conversation["messages"][1]))
    call["tool_calls"][0]["function"]["arguments"] = json.dumps({"pair": "a", "days": "7"})
    chat = load_chat(made["opens"], None)
    with pytest.raises(BackendError, match="read back as") as caught:
        check(chat.template, {**conversation, "messages": [conversation["messages"][0], call]})
    assert "types of its arguments" in caught.value.remedy


def test_a_call_that_is_plain_json_needs_tools(made):
    chat = load_chat(made["bare"], None)
    messages = KINDS["call"][1]["messages"]
    with pytest.raises(BackendError, match="a tool is called, and none is offered") as caught:
        check(chat.template, {"messages": messages})
    assert caught.value.remedy == "Give the example its `tools`."


def test_several_calls_at_once_are_refused_where_a_template_shows_one(made):
    chat = load_chat(made["bare"], None)
    _, conversation = KINDS["call"]
    (call,) = conversation["messages"][1]["tool_calls"]
    twice = {**conversation["messages"][1], "tool_calls": [call, {**call, "id": "call00002"}]}
    with pytest.raises(BackendError, match="one call") as caught:
        check(chat.template, {**conversation, "messages": [conversation["messages"][0], twice]})
    assert caught.value.remedy == "Let the assistant call one tool at a time."


def test_a_shipped_template_without_its_tokens_is_refused_at_plan_with_the_way_out(made):
    base = BaseModel(reference=str(made["strict"]), revision=None, identity="strict")
    inspector = LocalInspector(base_model=base, chat_template="chatml")
    conversation = KINDS["one answer"][1]
    assert not inspector.all_pass(json.dumps(conversation).encode())
    with pytest.raises(BackendError, match="lacks the control tokens") as caught:
        inspector.check(conversation)
    assert caught.value.remedy.startswith("Remove `chat_template`")
    LocalInspector(base_model=base).check(conversation)


def accepted(template, conversation) -> bool:
    try:
        check(template, conversation)
    except BackendError:
        return False
    return True


ASKED, SAID = KINDS["one answer"][1]["messages"]
BLOCK_IN_TEXT = {"role": "assistant", "content": "<think>Hm.</think> change_pin"}
TOLD = {"role": "assistant", "content": '{"name": "exchange_rate", "arguments": {}}'}


@pytest.mark.parametrize("thinks", [False, True])
@pytest.mark.parametrize("name", MADE)
def test_what_a_plan_accepts_the_job_and_the_evaluation_accept(made, name, thinks):
    """Nothing is refused later, asked otherwise than it was trained, or read as something else."""
    chat = load_chat(made[name], None, thinking=thinks)
    tools = KINDS["call"][1]["tools"]
    for messages in (
        [SAID],
        [{**SAID, "reasoning_content": "Hm."}],
        [ASKED, SAID, SAID],
        [ASKED, BLOCK_IN_TEXT],
        [ASKED, BLOCK_IN_TEXT, ASKED, {**SAID, "reasoning_content": " Hm. "}],
        [ASKED, BLOCK_IN_TEXT, ASKED, SAID],
        [ASKED, TOLD],
    ):
        for offered in ([], tools):
            conversation = {"messages": messages, "tools": offered}
            if not accepted(chat.template, conversation):
                continue
            (found,) = chat.encode([conversation])
            assert not isinstance(found, BackendError), (messages, found)
            before = {**conversation, "messages": messages[:-1]}
            ids = chat.prompt(before)
            # What it is asked is what precedes the last answer in training.
            assert found.ids[: len(ids)] == ids, messages
            assert found.learned[len(ids)], messages
            read = chat.parse(found.ids[len(ids) :], before)
            assert "change_pin" in read.text or read.text == TOLD["content"], messages
            assert not read.calls, messages


@pytest.mark.parametrize("name", MADE)
def test_the_recipe_rises_where_rendering_changed_and_not_for_plain_templates(made, name):
    folder = made[name]
    recipe = text_recipe(folder, None, thinking=False)
    assert recipe == (2 if name in {"thinks", "opens", "channels", "opens a block"} else 1)
    changed = differs(load_template(folder, None, special=special_of(folder)))
    assert changed <= (recipe == 2)
    if name in {"thinks", "channels"}:
        assert changed
        first = load_chat(folder, None, recipe=1)
        assert learned(first, KINDS["one answer"][1]).startswith(
            {"thinks": "<think>", "channels": "<|channel|>final"}[name]
        )
    assert text_recipe(folder, None, thinking=True) == 2
    assert text_recipe(folder.parent, None, thinking=False) is None
