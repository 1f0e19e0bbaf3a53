"""Go templates of Modelfiles, rendered as Go does it, beside the chat templates they came from."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local_gpu.export.modelfile import NO_TEMPLATE, Form, form_of, modelfile

_ACTION = re.compile(r'\{\{(-?) ((?:"(?:[^"\\]|\\.)*"|[^"])*?) \}\}')
"""An action; a quoted text in it may hold braces."""
ROLES = ("system", "user", "assistant")


def rendered(template, messages):
    """Render the part of Go's language that a Modelfile of ours has."""
    tokens, place = [], 0
    for found in _ACTION.finditer(template):
        text = template[place : found.start()]
        tokens += [("text", text.rstrip() if found[1] else text), ("action", found[2])]
        place = found.end()
    tokens.append(("text", template[place:]))
    begin = next((n for n, token in enumerate(tokens) if token[1] == "range .Messages"), None)
    end = max(n for n, token in enumerate(tokens) if token[1] == "end")
    written = [_written(tokens[:begin], None)]
    written += [_written(_branch(tokens[begin + 1 : end], one["role"]), one) for one in messages]
    return "".join([*written, _written(tokens[end + 1 :], None)])


def _branch(tokens, role):
    """Return the tokens of the branch that a role takes."""
    taken, found = False, []
    for kind, text in tokens:
        if kind == "action" and (asked := re.fullmatch(r'(?:else )?if eq \.Role "(\w+)"', text)):
            taken = asked[1] == role
        elif (kind, text) == ("action", "end"):
            taken = False
        elif taken:
            found.append((kind, text))
    return found


def _written(tokens, message):
    parts = []
    for kind, text in tokens:
        if kind == "text":
            parts.append(text)
        elif text == ".Content":
            parts.append(message["content"])
        else:
            # Go reads these quoted texts as JSON does: its escapes have the same meaning.
            parts.append(json.loads(text))
    return "".join(parts)


def template_of(start, around, asks, default=""):
    """Return a chat template that puts the same text around each message of a role."""

    def render(messages):
        if default and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": default}, *messages]
        turns = (
            around[one["role"]][0] + one["content"] + around[one["role"]][1] for one in messages
        )
        return start + "".join(turns) + asks

    return render


BEFORE = st.text('<|>[]/ \n"\\{}카한😀ab', min_size=1, max_size=12)
END = st.sampled_from(["<|im_end|>", "</s>", "<끝>", '"end"', "\\e"])
CONTENT = st.text('{}"\\\n 카페-abc', max_size=20)


@st.composite
def conversations(draw):
    """Draw a conversation that asks: perhaps a system message, then turns that end with a user's."""
    roles = [*draw(st.sampled_from([(), ("system",)])), "user"]
    roles += ["assistant", "user"] * draw(st.integers(0, 2))
    return [{"role": role, "content": draw(CONTENT)} for role in roles]


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(BEFORE, min_size=3, max_size=3, unique=True),
    end=END,
    line=st.sampled_from(["", "\n", "\n\n"]),
    asks=BEFORE,
    messages=conversations(),
)
def test_what_could_be_translated_is_rendered_the_same_in_go(before, end, line, asks, messages):
    around = {role: (text, end + line) for role, text in zip(ROLES, before, strict=True)}
    render = template_of("", around, asks)
    form = form_of(render, "", [end])
    if form is None:
        # Texts that occur in each other cannot always be told apart. They are not translated.
        return
    assert form.text(messages) == render(messages)
    assert rendered(form.go_template(), messages) == render(messages)


@pytest.mark.parametrize("start", ["", "<s>", "[INST]\n", "  ", '"\\'])
@pytest.mark.parametrize("end", ["<|im_end|>\n", "<|eot|>", "</s>\n\n"])
def test_usual_templates_are_translated_with_blanks_and_quotes(start, end):
    around = {role: (f"<|{role}|>\n", end) for role in ROLES}
    render = template_of(start, around, "<|assistant|>\n")
    form = form_of(render, "", [end.strip()])
    assert form is not None
    messages = [
        {"role": "system", "content": '짧게 "답"하세요.\n{{ .System }}'},
        {"role": "user", "content": "  몇 시?  "},
        {"role": "assistant", "content": "아홉 시.\n"},
        {"role": "user", "content": "\\n"},
    ]
    assert rendered(form.go_template(), messages) == render(messages)
    # The token that llama.cpp itself puts first is not written twice.
    if start:
        assert rendered(form_of(render, start, [end.strip()]).go_template(), messages) == (
            render(messages).removeprefix(start)
        )


@pytest.mark.parametrize("default", ["You are Qwen.", "당신은 카페 직원입니다.\n짧게.", "{{x}}"])
def test_a_default_system_message_is_written_where_there_is_none(default):
    around = {role: (f"<|{role}|>\n", "<|end|>\n") for role in ROLES}
    render = template_of("", around, "<|assistant|>\n", default)
    form = form_of(render, "", ["<|end|>"])
    assert (form.default, form.start) == (default, "")
    asked = [{"role": "user", "content": "몇 시?"}]
    told = [{"role": "system", "content": default}, *asked]
    assert rendered(form.go_template(), told) == render(asked) == render(told)
    assert f'SYSTEM """{default}"""\n' in modelfile("cafe.gguf", form, [], {})


def flags(messages):
    """Mark the last message of a conversation in its own way."""
    turns = [f"<{one['role']}>{one['content']}</s>" for one in messages]
    return "".join(turns[:-1]) + "<last>" + turns[-1] + "<assistant>"


def numbered(messages):
    return "".join(f"<{n} {m['role']}>{m['content']}</s>" for n, m in enumerate(messages)) + "<a>"


def trimming(messages):
    return "".join(f"<{m['role']}>{m['content'].split()[0]}</s>" for m in messages) + "<a>"


def forgetting(messages):
    return "".join(f"<u>{m['content']}</s>" for m in messages if m["role"] == "user") + "<a>"


def dated(messages):
    """Write a text before the first question that no message of the system replaces."""
    system = "".join(f"<s>{m['content']}</s>" for m in messages if m["role"] == "system")
    rest = "".join(f"<{m['role']}>{m['content']}</s>" for m in messages if m["role"] != "system")
    return f"{system}<date>2026</date>{rest}<a>"


@pytest.mark.parametrize("render", [flags, numbered, trimming, forgetting, dated])
def test_a_template_with_habits_of_its_own_is_left_to_ollama(render):
    form = form_of(render, "", ["</s>"])
    assert form is None
    assert f"# {NO_TEMPLATE}\n" in modelfile("cafe.gguf", form, ["</s>"], {})


FORM = Form(start="", around={role: (f"<{role}>", "</s>") for role in ROLES}, asks="<assistant>")


def test_a_modelfile_names_weights_template_stops_and_settings_in_this_order():
    generation = {
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
        "min_p": 0,
        "repetition_penalty": 1.05,
        "do_sample": True,
        "eos_token_id": [1, 2],
        "max_new_tokens": 2048,
    }
    lines = modelfile("cafe.gguf", FORM, ["</s>", "<끝>"], generation).splitlines()
    assert lines[0] == "FROM ./cafe.gguf"
    assert lines[1].startswith("# Ollama creates no models with ADAPTER any more")
    assert lines[2] == f'TEMPLATE """{FORM.go_template()}"""'
    assert lines[3:] == [
        'PARAMETER stop "</s>"',
        'PARAMETER stop "<끝>"',
        "PARAMETER temperature 0.7",
        "PARAMETER top_k 20",
        "PARAMETER top_p 0.8",
        "PARAMETER min_p 0",
        "PARAMETER repeat_penalty 1.05",
    ]


@pytest.mark.parametrize("value", [None, "0.7", True, False, [0.7], {}])
def test_a_setting_that_is_not_a_number_is_left_out(value):
    text = modelfile("cafe.gguf", FORM, [], {"temperature": value, "top_k": 5})
    assert [line for line in text.splitlines() if line.startswith("PARAMETER")] == [
        "PARAMETER top_k 5"
    ]
