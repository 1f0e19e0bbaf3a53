"""Recipe 1 renders as it always did: models that were trained by it depend on that."""

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.templates.first_recipe import render_first
from backends.local_gpu.templates.rendering import compile_template

pytestmark = pytest.mark.torch

TURNS = [
    {"role": "user", "content": "ask"},
    {"role": "assistant", "content": "say "},
    {"role": "user", "content": "more"},
    {"role": "assistant", "content": "last"},
]
PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{{ '<assistant>' if add_generation_prompt }}"
)
BLOCK = PLAIN.replace("'<assistant>'", "'<assistant><think></think>'")
MARKED = (
    "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<e>{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
)


def learned(source, messages=TURNS, **more):
    rendered = render_first(compile_template(source, source, {}), {"messages": messages, **more})
    return [rendered.text[span.start : span.end] for span in rendered.answers]


def test_an_answer_is_all_text_after_the_template_s_own_prompt():
    assert learned(PLAIN) == ["say", "last"]
    assert learned(MARKED) == ["say <e>", "last<e>"]


def test_texts_that_templates_did_not_show_were_not_missed():
    assert learned("{% for m in messages %}{% endfor %}x") == ["", ""]


@pytest.mark.parametrize(
    "source",
    [
        BLOCK,  # a prompt that no answer begins with
        PLAIN.replace("{{ m.content }}", "{{ m.content if loop.last else '…' }}"),
    ],
)
def test_answers_that_it_could_not_find_stay_refused(source):
    with pytest.raises(BackendError, match="writes an answer differently"):
        learned(source)


def test_empty_keys_reach_the_template():
    source = "{% for m in messages %}{{ 'calls' if m.tool_calls is defined }}{% endfor %}"
    jinja = compile_template(source, source, {})
    messages = [{"role": "user", "content": "a", "tool_calls": []}]
    assert render_first(jinja, {"messages": messages}).text == "calls"
