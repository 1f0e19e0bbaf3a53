"""What templates may look at: the quick way to common attributes opens no other."""

import jinja2
import pytest

from backends.local_gpu.templates.rendering import compile_template

pytestmark = pytest.mark.torch
MESSAGES = [{"role": "user", "content": " one {0.__class__} ", "items": "own"}]


def rendered(source: str) -> str:
    told = {"add_generation_prompt": False}
    return compile_template(source, source, {}).text(MESSAGES, None, told)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}{{ m.content.strip() }}{% endfor %}", "one {0.__class__}"),
        ("{% for m in messages %}{{ loop.index0 }}{{ loop.first }}{% endfor %}", "0True"),
        ("{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}", "2"),
        ("{% set ns = namespace(a=1) %}{{ ns.b is defined }}", "False"),
        ("{{ messages[0].missing is none }}{{ messages[0].missing is defined }}", "FalseFalse"),
        ("{{ messages[0].items is string }}", "False"),
        ("{{ ''.absent is defined }}{{ 'a'.upper() }}", "FalseA"),
    ],
)
def test_attributes_are_what_jinja_says(source: str, text: str):
    assert rendered(source) == text


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{% set ns = namespace(a=1) %}{{ ns.__class__.__mro__ }}",
        "{% for m in messages %}{{ loop.__init__.__globals__ }}{% endfor %}",
        "{% for m in messages %}{{ loop._iterable.first }}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({}) }}",
    ],
)
def test_what_the_sandbox_refuses_stays_refused(source: str):
    with pytest.raises(jinja2.TemplateError):
        rendered(source)


def test_formatting_looks_at_nothing_within():
    assert rendered("{{ messages[0].content.format(messages) }}") == " one  "
