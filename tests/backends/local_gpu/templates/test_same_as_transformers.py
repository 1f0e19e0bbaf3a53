"""Templates rendered here and by transformers: the same text, or refused by both."""

import re
from importlib import import_module

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local_gpu.templates.rendering import compile_template
from backends.local_gpu.templates.turns import by_marks

pytestmark = pytest.mark.torch
CALL = {"id": "1", "type": "function", "function": {"name": "hours", "arguments": {"날": "<월>"}}}
MESSAGES = [
    {"role": "system", "content": "짧게 & <b>굵게</b> 'a' \"b\"", "keys": "own", "_x": 1},
    {"role": "user", "content": " 몇 시?\n😀 ", "items": ["own"], "name": None},
    {"role": "assistant", "content": "", "tool_calls": [CALL], "get": "own"},
    # Thoughts under the three names that transformers gives them, in its order.
    {
        "thinking": "왜",
        "role": "assistant",
        "content": "아홉 시.",
        "reasoning_content": "왜",
        "reasoning": "왜",
    },
]
TOOLS = [{"type": "function", "function": {"name": "hours", "parameters": {"b": 1, "a": [None]}}}]
_ADDRESS = re.compile(r"0x[0-9a-f]+")


@pytest.fixture(scope="module")
def library():
    return import_module("transformers.utils.chat_template_utils").render_jinja_template


def ours(source, tools=TOOLS, **told):
    jinja = compile_template(source, source, {})
    return outcome(lambda: jinja.text(MESSAGES, tools, {"add_generation_prompt": False, **told}))


def theirs(library, source, tools=TOOLS, **told):
    def render():
        found = library(conversations=[MESSAGES], tools=tools, chat_template=source, **told)
        # One text for each conversation, and beside them the places of marked answers.
        texts = found[0] if isinstance(found, tuple) else found
        return texts[0]

    return outcome(render)


def outcome(render):
    try:
        return _ADDRESS.sub("0x", render())
    except jinja2.TemplateError as error:
        return type(error).__name__
    except (TypeError, KeyError, AttributeError):
        return "refused"


BASES = ["m", "m.content", "loop", "ns", "messages"]
NAMES = [
    *("content", "role", "items", "keys", "get", "values", "name", "missing", "_x", "__class__"),
    *("strip()", "split()", "upper()", "startswith('a')", "index0", "first", "last", "length"),
    *("previtem", "nextitem", "a", "_a", "__init__", "format", "append(1)", "pop()", "copy()"),
]
AROUND = "{{% set ns = namespace(a=1) %}}{{% for m in messages %}}[{}]{{% endfor %}}"


@pytest.mark.parametrize("base", BASES)
def test_every_attribute_is_what_transformers_finds(library, base):
    for name in NAMES:
        source = AROUND.format(f"{{{{ {base}.{name} is defined }}}}{{{{ {base}.{name} }}}}")
        assert ours(source) == theirs(library, source), (base, name)


PIECES = [
    "{% for m in messages %}",
    "{%- for m in messages %}",
    "  {%- for m in messages -%}  ",
    "{% endfor %}",
    "{%- endfor -%}",
    "  {% if m.role == 'user' %}\n",
    "{%- if not m.tool_calls %}",
    "{% if loop.last %}",
    "{% else %}",
    "{% endif %}",
    "\n{%- endif -%}\n",
    "{{ m.content }}",
    "{{ m.content | trim }}",
    "{{- m.content | length -}}",
    "{{ m['role'] | upper }}",
    "{{ tools | tojson }}",
    "{{ tools | tojson(indent=2) }}",
    "{{ m | tojson(ensure_ascii=true, sort_keys=true) }}",
    "{{ (m.tool_calls or []) | map(attribute='function') | list | tojson }}",
    "{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}",
    "{% set x = m.content.split(' ') %}{{ x[-1] }}",
    "{% set ns = namespace(n=0) %}{% for t in tools or [] %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}",
    "{% generation %}{{ m.content }}{% endgeneration %}",
    "{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{{ enable_thinking is defined }}",
    "{{ raise_exception('nein') }}",
    "{% break %}",
    "{% continue %}",
    "{# a remark #}",
    "   \n  ",
    "<|im_end|>\n",
    "\t글",
]


@settings(max_examples=80, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=7),
    whole=st.booleans(),
    tools=st.sampled_from([TOOLS, [], None]),
    asks=st.booleans(),
    thinking=st.sampled_from([{}, {"enable_thinking": True}]),
)
def test_any_template_gives_the_same_text(library, pieces, whole, tools, asks, thinking):
    source = "".join(pieces)
    if whole:
        source = "{% for m in messages %}" + source + "{% endfor %}"
    told = {"add_generation_prompt": asks, **thinking}
    try:
        compile_template(source, source, {})
    except jinja2.TemplateError:
        with pytest.raises((jinja2.TemplateError, SyntaxError)):
            library(conversations=[MESSAGES], chat_template=source)
        return
    mine = ours(source, tools, **told)
    marks = by_marks(mine).text if isinstance(mine, str) else mine
    # transformers gives a template no tools as none; an empty list means the same here.
    assert marks == theirs(library, source, tools or None, **told)


@pytest.mark.parametrize("trimmed", [False, True])
def test_marked_answers_are_where_transformers_finds_them(library, trimmed):
    said = "{{ m.content | trim }}" if trimmed else "{{ m.content }}<|im_end|>"
    source = (
        "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}"
        f"{{% generation %}}{said}{{% endgeneration %}}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
        "\n{% endfor %}"
    )
    texts, places = library(
        conversations=[MESSAGES],
        chat_template=source,
        return_assistant_tokens_mask=True,
        tools=None,
    )
    jinja = compile_template(source, source, {})
    assert jinja.marked
    found = by_marks(jinja.text(MESSAGES, None, {"add_generation_prompt": False}))
    assert found.text == texts[0]
    assert [(span.start, span.end) for span in found.answers] == list(places[0])
