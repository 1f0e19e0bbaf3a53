"""Calls of every form: written as a model family writes them, and read back; or refused."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.local_gpu.templates.call_forms import CALL_FORMS, Form, Malformed, types_of

FORMS = {form.name: form for form in CALL_FORMS}
BAR = "\uff5c"


def spelled(value):
    return json.dumps(value, ensure_ascii=False)


def as_python(value):
    """Write a JSON value as Python writes it."""
    match value:
        case dict():
            inner = ", ".join(f"{key!r}: {as_python(one)}" for key, one in value.items())
            return f"{{{inner}}}"
        case list():
            return f"[{', '.join(map(as_python, value))}]"
        case bool() | None:
            return spelled(value)
        case _:
            return repr(value)


def as_gemma(value):
    """Write a value with bare keys and marked texts."""
    match value:
        case dict():
            return f"{{{','.join(f'{key}:{as_gemma(one)}' for key, one in value.items())}}}"
        case list():
            return f"[{','.join(map(as_gemma, value))}]"
        case str():
            return f'<|"|>{value}<|"|>'
        case _:
            return spelled(value)


def unquoted(value):
    return value if isinstance(value, str) else spelled(value)


WRITERS = {
    "json": lambda name, given: spelled({"name": name, "arguments": given}),
    "xml": lambda name, given: (
        f"\n<function={name}>\n"
        + "".join(
            f"<parameter={key}>\n{unquoted(value)}\n</parameter>\n" for key, value in given.items()
        )
        + "</function>\n"
    ),
    "glm": lambda name, given: (
        name
        + "".join(
            f"\n<arg_key>{key}</arg_key>\n<arg_value>{unquoted(value)}</arg_value>"
            for key, value in given.items()
        )
    ),
    "mistral": lambda name, given: f"{name}[ARGS]{spelled(given)}",
    "deepseek": lambda name, given: (
        f"<{BAR}tool▁call▁begin{BAR}>{name}<{BAR}tool▁sep{BAR}>{spelled(given)}"
        f"<{BAR}tool▁call▁end{BAR}>"
    ),
    "kimi": lambda name, given: (
        f"<|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>{spelled(given)}"
        "<|tool_call_end|>"
    ),
    "gemma": lambda name, given: f"call:{name}{as_gemma(given)}",
    "cohere": lambda name, given: spelled([{"tool_name": name, "parameters": given}]),
    "python": lambda name, given: (
        f"[{name}({', '.join(f'{key}={as_python(value)}' for key, value in given.items())})]"
    ),
    "phi": lambda name, given: spelled([{"name": name, "arguments": given}]),
    "granite": lambda name, given: spelled([{"name": name, "arguments": given}]),
    "functools": lambda name, given: spelled([{"name": name, "arguments": given}]),
    "python_tag": lambda name, given: spelled({"name": name, "parameters": given}),
    "bare": lambda name, given: spelled({"name": name, "parameters": given}),
}
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in {"if", "in", "is", "or", "as", "not", "and", "for", "def", "del"}
)
TEXTS = st.text(st.sampled_from("ab 카\"'\\{}:,1."), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def typed(name, arguments):
    """Return a tool's definition that names the type of each argument."""
    kinds = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}
    kinds[type(None)] = "null"
    properties = {key: {"type": kinds[type(value)]} for key, value in arguments.items()}
    return [{"function": {"name": name, "parameters": {"properties": properties}}}]


def test_every_form_has_a_writer_here():
    assert WRITERS.keys() == FORMS.keys()


@pytest.mark.parametrize("form", FORMS)
@given(name=NAMES, arguments=st.dictionaries(NAMES, VALUES, max_size=3))
@example(name="f", arguments={"text": "5", "number": 5, "null": "null", "none": None})
@example(name="f", arguments={"text": "true", "flag": True, "list": ["1", 1]})
def test_a_call_is_read_back_as_it_was_written(form, name, arguments):
    arguments = {key: value for key, value in arguments.items() if key.isidentifier()}
    body = WRITERS[form](name, arguments)
    assert FORMS[form].read(body, types_of(typed(name, arguments))) == [(name, arguments)]


@pytest.mark.parametrize("form", FORMS)
@given(
    body=st.lists(
        st.sampled_from(
            [
                *'{}[]":,=()\n 카',
                *("name", "arguments", "f", "1", "-", "null", "1e999", "[ARGS]", "call:", '<|"|>'),
                *("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
                *("<function=f>", "</function>", "<parameter=k>", "</parameter>"),
                *(f"<{BAR}tool▁sep{BAR}>", f"<{BAR}tool▁call▁begin{BAR}>", "<|tool_call_begin|>"),
            ]
        ),
        max_size=12,
    ).map("".join)
)
@example(body="")
@example(body="[" * 3000)
@example(body="(" * 300)
@example(body="f(" * 300)
@example(body='{"name": "f", "arguments": {"a": 1e999}}')
@example(body="f(a=1e999)")
@example(body="f(a=-1e999)")
def test_any_text_is_a_call_or_is_refused_and_nothing_else_happens(form, body):
    try:
        calls = FORMS[form].read(body, {})
    except Malformed:
        return
    assert calls
    for name, arguments in calls:
        assert isinstance(name, str)
        assert isinstance(arguments, dict)
        json.dumps(arguments, allow_nan=False)


@pytest.mark.parametrize(
    ("form", "body", "calls"),
    [
        ("json", '{"name": "f"}', [("f", {})]),
        ("json", '{"function": {"name": "f", "arguments": "{\\"a\\": 1}"}}', [("f", {"a": 1})]),
        ("json", '[{"name": "f"}, {"name": "g"}]', [("f", {}), ("g", {})]),
        ("mistral", '[{"name": "f", "arguments": {}}]', [("f", {})]),
        ("mistral", "f[ARGS]{}[TOOL_CALLS]g[CALL_ID]12[ARGS]{}", [("f", {}), ("g", {})]),
        (
            "deepseek",
            (
                f"<{BAR}tool▁call▁begin{BAR}>function<{BAR}tool▁sep{BAR}>f\n```json\n{{}}\n```"
                f"<{BAR}tool▁call▁end{BAR}>\n<{BAR}tool▁call▁begin{BAR}>g<{BAR}tool▁sep{BAR}>{{}}"
                f"<{BAR}tool▁call▁end{BAR}>"
            ),
            [("f", {}), ("g", {})],
        ),
        ("python", "f(a=1)", [("f", {"a": 1})]),
        ("python", "[a.b(), c(x=(1, 2))]", [("a.b", {}), ("c", {"x": [1, 2]})]),
        ("python", "[f(a=true, b=null, c=-1.5)]", [("f", {"a": True, "b": None, "c": -1.5})]),
        ("glm", "f", [("f", {})]),
        ("gemma", "call:f{}", [("f", {})]),
    ],
)
def test_other_ways_to_write_calls(form, body, calls):
    assert FORMS[form].read(body, {}) == calls


@pytest.mark.parametrize(
    ("form", "body", "reason"),
    [
        ("json", "[]", "no call"),
        ("json", '{"name": ""}', "a call has a name"),
        ("json", '{"name": "f", "arguments": 5}', "arguments that are an object"),
        ("json", '{"name": "f", "arguments": {"a": Infinity}}', "Infinity is not JSON"),
        ("bare", '{"name": "f", "arguments": {}, "age": 7}', "not a call alone"),
        ("bare", '{"name": "f"}', "a call names its arguments"),
        ("xml", "<function=>\n</function>", "a function has no name"),
        ("xml", "<function=f>text</function>", "text between parameters"),
        ("xml", "<function=f><parameter=a>1</function>", "a parameter does not end"),
        ("glm", "f <arg_key>a</arg_key>", "an argument has no value"),
        ("glm", "two words", "a call begins with a name"),
        ("glm", "f<arg_key>a</arg_key><arg_value>1</arg_value>x", "^$|text between arguments"),
        ("python", "f(1)", "not a call by names"),
        ("python", "f(**a)", "arguments without names"),
        ("python", "f(a=b)", "not a value"),
        ("python", "[]", "no call"),
        ("gemma", "call:{}", "no call"),
        ("kimi", "functions.f:0", "not a call"),
    ],
)
def test_what_is_not_a_call_is_refused(form, body, reason):
    with pytest.raises(Malformed, match=reason):
        FORMS[form].read(body, {})


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        ({"type": "string"}, {"string"}),
        ({"type": ["string", "null"]}, {"string", "null"}),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, {"integer", "null"}),
        ({"oneOf": [{"enum": ["a"]}, {"anyOf": [{"type": "boolean"}]}]}, {"string", "boolean"}),
        ({"enum": ["a", "b"]}, {"string"}),
        ({"enum": ["a", 1]}, set()),
        ({}, set()),
        ("text", set()),
        ({"anyOf": "text"}, set()),
    ],
)
def test_the_types_of_an_argument(schema, types):
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"a": schema}}},
    }
    assert types_of([tool]) == {"f": {"a": frozenset(types)}}


@pytest.mark.parametrize(
    "tools",
    [
        None,
        [],
        [{"name": "f"}],
        [{"function": {"name": "f", "parameters": None}}],
        [{"function": {"name": "f", "parameters": {"properties": []}}}],
    ],
)
def test_tools_without_arguments(tools):
    assert types_of(tools) in ({}, {"f": {}})


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("5", "string", "5"),
        ("5", "integer", 5),
        ("5", None, 5),
        ("True", "boolean", True),
        ("True", "string", "True"),
        ("None", "null", None),
        ("null", "null", None),
        ("five", "integer", "five"),
        ('"quoted"', None, '"quoted"'),
        ('["a"]', "array", ["a"]),
    ],
)
def test_an_argument_without_quotes_is_read_by_its_type(text, type_, value):
    types = {"f": {"a": frozenset(() if type_ is None else {type_})}}
    body = f"<function=f><parameter=a>\n{text}\n</parameter></function>"
    assert FORMS["xml"].read(body, types) == [("f", {"a": value})]


def test_the_marks_of_a_form_are_all_that_have_a_meaning():
    assert Form().marks == ()
    assert Form(thinking=("<t>", "</t>"), wraps=("<w>",)).marks == ("<t>", "</t>", "<w>")
    assert Form(call=FORMS["gemma"]).marks == ("<|tool_call>", "<tool_call|>", '<|"|>')
    assert Form(call=FORMS["bare"]).marks == ()
    assert "<|call|>" in Form(channels=True, call=FORMS["json"]).marks
