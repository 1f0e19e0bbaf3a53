"""What templates may look at: the quick way to common attributes opens no other."""

import jinja2
import pytest

from backends.local_gpu.templates.rendering import compile_template, jinja_tags, literals

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


ASK, SAY = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
LOOP = "{% for m in messages %}{{ m.content }};{% endfor %}"


def turns(source, messages=(ASK, SAY), tools=None, **told):
    return compile_template(source, source, {}).turns(list(messages), tools, told)


@pytest.mark.parametrize(
    ("source", "before", "texts", "behind"),
    [
        (LOOP, "", {0: "a;", 1: "b;"}, ""),
        ("<s>" + LOOP + "<e>", "<s>", {0: "a;", 1: "b;"}, "<e>"),
        ("{% set rest = messages[1:] %}" + LOOP.replace("messages", "rest"), "", {1: "b;"}, ""),
        # Of several loops, the loop that writes the most text counts.
        ("{% for m in messages %}{% endfor %}" + LOOP, "", {0: "a;", 1: "b;"}, ""),
        (
            "{% for m in messages | reverse %}{{ m.content }};{% endfor %}",
            "",
            {1: "b;", 0: "a;"},
            "",
        ),
        ("{% if true %}" + LOOP + "{% endif %}", "", {0: "a;", 1: "b;"}, ""),
        ("no loop {{ messages[0].content }}", "no loop a", {}, ""),
        # A loop within a message reads other messages, and writes no message.
        (
            "{% for m in messages %}{{ m.content }}{% for n in messages %}.{% endfor %}{% endfor %}",
            "",
            {0: "a..", 1: "b.."},
            "",
        ),
    ],
)
def test_the_text_of_each_message_is_known(source, before, texts, behind):
    found = turns(source)
    assert (found.before, found.texts, found.behind) == (before, texts, behind)


def test_a_message_that_comes_twice_is_known_by_its_place():
    assert turns(LOOP, [ASK, ASK]).texts == {0: "a;", 1: "a;"}


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        ("", set()),
        ("{% if a %}{%- for b in c -%}{% endfor %}{% endif %}", {"if", "for", "endfor", "endif"}),
        ("{% generation %}{% endgeneration %}", {"generation", "endgeneration"}),
        ("{{ 'generation' }} {# {% if %} #}", set()),
    ],
)
def test_the_tags_of_a_template(source, tags):
    assert jinja_tags(source) == tags


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("{% if '</think>' in content %}{% endif %}", {"</think>"}),
        ("{{ content.split('</think>')[0] }}", {"</think>"}),
        ("{{ content | replace('<|end|>', '') }}", {"<|end|>"}),
        ("{{ '<think>' + content }}", set()),
        ("{% if 'words' in content %}{% endif %}", set()),  # no markup
        ("{{ content.split('\\n') }}{{ content | join(', ') }}", set()),  # too short to tell
    ],
)
def test_texts_that_a_template_looks_for(source, found):
    assert literals(source) == found


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ strftime_now('%Y-%m-%d') }}", "2026-01-01"),
        ("{{ {'b': '<카>', 'a': 1} | tojson }}", '{"b": "<카>", "a": 1}'),
        ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, indent=1) }}", '{\n "a": 2,\n "b": 1\n}'),
        ("{{ bos_token }}{{ eos_token is defined }}", "<s>False"),
        ("{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ tools is none }}", "True"),
        ("a  {%- if true %}\n  b\n{% endif %}c", "a  b\nc"),
    ],
)
def test_templates_have_what_transformers_gives_them(source, text):
    jinja = compile_template(source, source, {"bos_token": "<s>"})
    assert jinja.text([ASK], [], {}) == text


def test_tools_choose_the_template_for_tools():
    jinja = compile_template("without", "with", {})
    assert jinja.text([ASK], None, {}) == "without"
    assert jinja.text([ASK], [{"name": "f"}], {}) == "with"


def test_a_source_that_is_not_a_template_is_refused():
    with pytest.raises(jinja2.TemplateError):
        compile_template("{% if %}", "", {})
