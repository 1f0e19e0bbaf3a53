"""Chat templates as Ollama writes them, and what a Modelfile says."""

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.export.modelfile import NO_TEMPLATE, form_of, modelfile

SYSTEM = "You are Qwen."


def chatml(messages, default=""):
    if default and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": default}, *messages]
    turns = (f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    return "".join(turns) + "<|im_start|>assistant\n"


def llama3(messages):
    turns = (
        f"<|start_header_id|>{one['role']}<|end_header_id|>\n\n{one['content']}<|eot_id|>"
        for one in messages
    )
    return (
        "<|begin_of_text|>" + "".join(turns) + "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def gemma(messages):
    """Gemma has no system role: its text begins the first question."""
    first = ""
    if messages[0]["role"] == "system":
        first, messages = messages[0]["content"] + "\n\n", messages[1:]
    names = {"user": "user", "assistant": "model"}
    turns = [
        f"<start_of_turn>{names[one['role']]}\n{one['content']}<end_of_turn>\n" for one in messages
    ]
    turns[0] = turns[0].replace("user\n", f"user\n{first}", 1)
    return "<bos>" + "".join(turns) + "<start_of_turn>model\n"


def without_thoughts(messages):
    return chatml(messages) + "<think>\n\n</think>\n\n"


def refusing(messages):
    if messages[0]["role"] == "system":
        raise BackendError("no system message")
    return chatml(messages)


def test_chatml_becomes_a_go_template():
    form = form_of(chatml, "", ["<|im_end|>"])
    assert form.around["user"] == ("<|im_start|>user\n", "<|im_end|>\n")
    assert form.go_template() == (
        '{{- range .Messages }}{{- if eq .Role "system" }}{{ "<|im_start|>system\\n" }}{{ .Content }}'
        '{{ "<|im_end|>\\n" }}{{- else if eq .Role "user" }}{{ "<|im_start|>user\\n" }}{{ .Content }}'
        '{{ "<|im_end|>\\n" }}{{- else if eq .Role "assistant" }}{{ "<|im_start|>assistant\\n" }}'
        '{{ .Content }}{{ "<|im_end|>\\n" }}{{- end }}{{- end }}{{ "<|im_start|>assistant\\n" }}'
    )


def test_a_default_system_message_becomes_system():
    form = form_of(lambda messages: chatml(messages, SYSTEM), "", ["<|im_end|>"])
    assert form.default == SYSTEM
    text = modelfile("cafe.gguf", form, ["<|im_end|>"], {"temperature": 0.6, "eos_token_id": [1]})
    assert f'SYSTEM """{SYSTEM}"""\n' in text
    assert text.endswith('PARAMETER stop "<|im_end|>"\nPARAMETER temperature 0.6\n')


def test_the_first_token_is_left_to_llama_cpp():
    form = form_of(llama3, "<|begin_of_text|>", ["<|eot_id|>"])
    assert form.start == ""
    assert form.around["assistant"][0] == "<|start_header_id|>assistant<|end_header_id|>\n\n"
    assert form_of(llama3, "", ["<|eot_id|>"]).start == "<|begin_of_text|>"


def test_an_empty_thought_is_part_of_the_question():
    form = form_of(without_thoughts, "", ["<|im_end|>"])
    assert form.asks == "<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.mark.parametrize("render", [gemma, refusing])
def test_other_templates_are_left_out_with_words(render):
    form = form_of(render, "<bos>", ["<end_of_turn>"])
    assert form is None
    text = modelfile("cafe.gguf", form, ["<end_of_turn>"], {})
    assert text.startswith("FROM ./cafe.gguf\n# Ollama creates no models with ADAPTER any more")
    assert f"# {NO_TEMPLATE}\n" in text
    assert 'TEMPLATE """' not in text


def test_texts_that_would_end_the_template_are_left_out():
    form = form_of(lambda messages: chatml(messages, 'Say """'), "", ["<|im_end|>"])
    assert form is not None
    assert 'TEMPLATE """' not in modelfile("cafe.gguf", form, [], {})
