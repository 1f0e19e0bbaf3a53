"""Chat templates that fail: on every conversation, or on one, and never with a traceback."""

import json

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.templates.chat_templates import load_template
from backends.local_gpu.templates.rendering import compile_template
from backends.local_gpu.templates.turns import Ways, rendered_text

pytestmark = pytest.mark.torch
ASKED = [{"role": "user", "content": "몇 시?"}]
SPECIAL = {1: "<|im_start|>", 2: "<|im_end|>"}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{{ raise_exception('역할이 아닙니다') }}", "역할이 아닙니다"),
        ("{{ messages[0].content.index('###') }}", "substring not found"),
        ("{{ messages[0].content.split('') }}", "empty separator"),
        ("{{ '{0} {1}'.format(1) }}", "out of range"),
        ("{{ '%d' % 'a' }}", "%d format"),
        ("{{ 1 // messages[1:] | length }}", "by zero"),
        ("{{ 10.0 ** 400 }}", "out of range"),
        ("{{ range(10000000) | list | length }}", "Range too big"),
        ("{{ messages[0].missing.role }}", "has no attribute 'missing'"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth"),
    ],
)
def test_a_template_that_fails_on_a_conversation_refuses_it(source, words):
    jinja = compile_template(source, source, {})
    ways = Ways(jinja=jinja, thinking=False, ends=())
    asks = (
        lambda: rendered_text(jinja, ASKED, None, {"add_generation_prompt": False}),
        lambda: ways.text(ASKED, None),
        lambda: ways.turns(ASKED, None),
        lambda: ways.rendered(ASKED, None),
        lambda: ways.prompt(ASKED, None),
    )
    for ask in asks:
        with pytest.raises(BackendError, match=words) as caught:
            ask()
        assert caught.value.message.startswith("the chat template refuses this conversation: ")
        assert caught.value.remedy == "Change the conversation."


@pytest.fixture
def folder_of(tmp_path):
    """Return a function that writes a model's template, in a file of its own or in its settings."""

    def write(source, *, beside=True):
        settings = {} if beside else {"chat_template": source}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        if beside:
            (tmp_path / "chat_template.jinja").write_text(source, encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ m.content", "expected 'end of print statement'"),
        ("{% unknown %}", "Encountered unknown tag 'unknown'"),
        ("{% break %}", "'break' outside loop"),
        ("{% for m in messages %}{% endfor %}{% continue %}", "'continue' not properly in loop"),
        ("{{ messages | nothing }}", "No filter named 'nothing'"),
        ("{% generation %}{{ m }}", "Unexpected end of template"),
    ],
)
def test_a_template_that_is_none_is_named_with_its_folder(folder_of, source, words, beside):
    folder = folder_of(source, beside=beside)
    with pytest.raises(BackendError, match=words) as caught:
        load_template(folder, None, special=SPECIAL)
    assert caught.value.message.startswith(f"the chat template in {folder} cannot be read: ")
    assert "chat_template: chatml" in caught.value.remedy


@pytest.mark.parametrize("special", [SPECIAL, {1: "<s>"}])
def test_chatml_is_proposed_only_where_the_tokenizer_has_its_tokens(folder_of, special):
    with pytest.raises(BackendError) as caught:
        load_template(folder_of("{% break %}"), None, special=special)
    assert ("chatml" in caught.value.remedy) == (special is SPECIAL)
    assert caught.value.remedy.endswith(".")


def test_a_template_that_fails_on_some_conversations_is_loaded(folder_of):
    source = "{% if messages[1:] %}{{ 1 // 0 }}{% endif %}" + CHATML
    template = load_template(folder_of(source), None, special=SPECIAL)
    assert template.prompt({"messages": ASKED}) == (
        "<|im_start|>user\n몇 시?<|im_end|>\n<|im_start|>assistant\n"
    )
    with pytest.raises(BackendError, match="by zero"):
        template.prompt({"messages": [*ASKED, *ASKED]})
