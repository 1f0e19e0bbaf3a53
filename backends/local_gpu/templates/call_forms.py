"""Forms in which model families write tool calls, and functions that read them back. Pure.

A form has two marks and a function that reads the text between them. To find the form of a model,
`turns` renders a call with the model's template: the form that reads it back is the right one.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Called: TypeAlias = tuple[str, dict[str, Any]]
"""Name and arguments of a call."""
Types: TypeAlias = Mapping[str, Mapping[str, frozenset[str]]]
"""JSON types that a definition allows, by tool and argument."""

_STRING: Final = '<|"|>'
_BAR: Final = "\uff5c"
"""A wide `|`, used in DeepSeek's marks."""
_PYTHON: Final = {"True": True, "False": False, "None": None}
_JSON: Final = {"true": True, "false": False, "null": None}

CHANNEL_MARKS: Final = ("<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")
"""Marks around and between the messages of an answer; each of the last three ends a message."""


class Malformed(ValueError):
    """The text between the two marks is not a call."""


class Unfinished(Malformed):
    """A call that may be complete once more text follows: a mark was inside a string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """A form of writing calls."""

    name: str
    opens: str
    """Mark before a call; empty where the whole answer is the call."""
    closes: str
    """Mark after a call; empty where the call reaches to the end of the answer."""
    read: Callable[[str, Types], list[Called]]
    """Reads the text between the marks; raises `Malformed`."""
    within: tuple[str, ...] = ()
    """Further marks inside a call."""
    offered: bool = False
    """True if the form is recognised only where tools are offered, as it looks like other JSON."""
    ends_itself: bool = True
    """True if a call shows that it is complete; otherwise only its closing mark does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Form in which a model writes its answers."""

    thinking: tuple[str, str] | None = None
    """Marks around thinking."""
    call: CallForm | None = None
    wraps: Sequence[str] = ()
    """Marks around an answer's text, which are dropped."""
    channels: bool = False
    """True if an answer has several messages, each with a header that names its channel."""
    blank: str = ""
    """Blanks that the template puts before every answer."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Every mark that has a meaning in an answer."""
        if self.channels:
            return (*CHANNEL_MARKS, "<|channel|>", "<|constrain|>")
        form = self.call
        call = (form.opens, form.closes, *form.within) if form is not None else ()
        return tuple(mark for mark in (*(self.thinking or ()), *call, *self.wraps) if mark)


def types_of(tools: Sequence[Mapping[str, Any]] | None) -> Types:
    """Return the JSON types of the arguments in the tools' definitions."""
    found = {}
    for tool in tools or ():
        function = tool.get("function", tool)
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        found[str(function.get("name"))] = {
            key: _types(schema)
            for key, schema in (properties if isinstance(properties, Mapping) else {}).items()
        }
    return found


def _types(schema: object) -> frozenset[str]:
    if not isinstance(schema, Mapping):
        return frozenset()
    named = schema.get("type")
    if named is not None:
        return frozenset(map(str, named if isinstance(named, list) else [named]))
    choices = schema.get("enum")
    if isinstance(choices, list) and all(isinstance(choice, str) for choice in choices):
        return frozenset({"string"})
    several = schema.get("anyOf") or schema.get("oneOf")
    options = several if isinstance(several, list) else []
    return frozenset[str]().union(*map(_types, options))


def _loads(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        # A mark inside a string looks like the end of the call.
        kind = Unfinished if error.msg.startswith("Unterminated string") else Malformed
        raise kind(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """Read a number; too large a number could not be written as JSON again."""
    if math.isinf(value := float(text)):
        _no_constant(text)
    return value


def _called(read: object) -> Called:
    """Read `{"name": ..., "arguments": ...}` and similar objects."""
    if not isinstance(read, dict):
        raise Malformed("a call is an object")
    call = read["function"] if isinstance(read.get("function"), dict) else read
    name = call.get("name", call.get("tool_name"))
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = _loads(arguments)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        raise Malformed("a call has a name, and arguments that are an object")
    return name, arguments


def _json_calls(body: str, _types: Types) -> list[Called]:
    """Read one call or a list of calls in JSON."""
    read = _loads(body)
    calls = read if isinstance(read, list) else [read]
    if not calls:
        raise Malformed("no call")
    return [_called(call) for call in calls]


def _bare_call(body: str, _types: Types) -> list[Called]:
    """Read an answer that consists of `{"name": ..., "parameters": ...}`."""
    read = _loads(body)
    if not isinstance(read, dict) or not read.keys() <= {"type", "name", "parameters", "arguments"}:
        raise Malformed("not a call alone")
    if "parameters" not in read and "arguments" not in read:
        raise Malformed("a call names its arguments")
    return [_called(read)]


def _xml_call(body: str, types: Types) -> list[Called]:
    """Read `<function=NAME>` with one `<parameter=KEY>` for each argument."""
    text = body.strip()
    if not text.startswith("<function=") or not text.endswith("</function>"):
        raise Malformed("no function")
    name, found, rest = text[len("<function=") : -len("</function>")].partition(">")
    name = name.strip()
    if not found or not name:
        raise Malformed("a function has no name")
    arguments: dict[str, Any] = {}
    rest = rest.strip()
    while rest:
        if not rest.startswith("<parameter="):
            raise Malformed("text between parameters")
        key, found, rest = rest[len("<parameter=") :].partition(">")
        value, closed, rest = rest.partition("</parameter>")
        if not found or not closed:
            raise Malformed("a parameter does not end")
        allowed = types.get(name, {}).get(key, frozenset())
        arguments[key] = _value(value.removeprefix("\n").removesuffix("\n"), allowed)
        rest = rest.lstrip()
    return [(name, arguments)]


def _glm_call(body: str, types: Types) -> list[Called]:
    """Read a name, then `<arg_key>` and `<arg_value>` in turn."""
    name, found, rest = body.partition("<arg_key>")
    name = name.strip()
    if len(name.split()) != 1 or "<" in name or "{" in name:
        raise Malformed("a call begins with a name")
    arguments: dict[str, Any] = {}
    while found:
        key, closed, rest = rest.partition("</arg_key>")
        between, opened, rest = rest.partition("<arg_value>")
        value, ended, rest = rest.partition("</arg_value>")
        if not (closed and opened and ended) or between.strip():
            raise Malformed("an argument has no value")
        allowed = types.get(name, {}).get(key, frozenset())
        arguments[key] = _value(value, allowed)
        between, found, rest = rest.partition("<arg_key>")
        if between.strip():
            raise Malformed("text between arguments")
    return [(name, arguments)]


def _value(text: str, allowed: frozenset[str]) -> object:
    """Read an argument written without quotes, by the types that its definition allows."""
    if text in _PYTHON and (allowed & {"boolean", "null"} or not allowed):
        return _PYTHON[text]
    if "string" in allowed and not (text == "null" and "null" in allowed):
        return text
    try:
        read = _loads(text)
    except Malformed:
        return text
    # Texts are written without quotes: any quotes are part of the text.
    return text if isinstance(read, str) else read


def _mistral_calls(body: str, types: Types) -> list[Called]:
    """Read a JSON list of calls, or the newer `NAME[ARGS]{...}`, once or several times."""
    if "[ARGS]" not in body:
        return _json_calls(body, types)
    calls = []
    for one in body.split("[TOOL_CALLS]"):
        name, _, arguments = one.partition("[ARGS]")
        name = name.partition("[CALL_ID]")[0].strip()
        calls.append(_called({"name": name, "arguments": _loads(arguments)}))
    return calls


def _deepseek_calls(body: str, _types: Types) -> list[Called]:
    """Read calls between DeepSeek's marks, with or without a kind and a fenced block."""
    calls = []
    for one in body.split(f"<{_BAR}tool▁call▁begin{_BAR}>"):
        if not one.strip():
            continue
        call, _, rest = one.partition(f"<{_BAR}tool▁call▁end{_BAR}>")
        first, found, second = call.partition(f"<{_BAR}tool▁sep{_BAR}>")
        if not found or rest.strip():
            raise Malformed("not a call")
        name, fenced, block = second.partition("\n```json\n")
        if fenced:
            calls.append(_called({"name": name, "arguments": _loads(block.removesuffix("\n```"))}))
        else:
            calls.append(_called({"name": first, "arguments": _loads(second)}))
    if not calls:
        raise Malformed("no call")
    return calls


def _kimi_calls(body: str, _types: Types) -> list[Called]:
    """Read calls as `functions.NAME:0`, a mark, and their arguments."""
    calls = []
    for one in body.split("<|tool_call_begin|>"):
        if not one.strip():
            continue
        call, _, rest = one.partition("<|tool_call_end|>")
        name, found, arguments = call.partition("<|tool_call_argument_begin|>")
        if not found or rest.strip():
            raise Malformed("not a call")
        name = name.strip().removeprefix("functions.").rpartition(":")[0]
        calls.append(_called({"name": name, "arguments": _loads(arguments)}))
    if not calls:
        raise Malformed("no call")
    return calls


def _python_calls(body: str, _types: Types) -> list[Called]:
    """Read `[name(key='value', other=2)]`."""
    try:
        read = ast.parse(body.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        kind = Unfinished if "unterminated" in str(error) else Malformed
        raise kind(str(error)) from None
    nodes = read.elts if isinstance(read, ast.List) else [read]
    if not nodes:
        raise Malformed("no call")
    return [_python_call(node) for node in nodes]


def _python_call(node: ast.expr) -> Called:
    if not isinstance(node, ast.Call) or node.args:
        raise Malformed("not a call by names")
    if not all(keyword.arg for keyword in node.keywords):
        raise Malformed("arguments without names")
    arguments = {str(keyword.arg): _literal(keyword.value) for keyword in node.keywords}
    return ast.unparse(node.func), arguments


def _literal(node: ast.expr) -> object:
    match node:
        case ast.Constant(value=float() as value) if math.isinf(value):
            raise Malformed("not a number")
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in _JSON:
            return _JSON[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)) if (
            value != math.inf
        ):
            return -value
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_literal(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            return {
                str(_literal(key)): _literal(value)
                for key, value in zip(keys, values, strict=True)
                if key is not None
            }
        case _:
            raise Malformed("not a value")


def _gemma_call(body: str, _types: Types) -> list[Called]:
    """Read `call:NAME{key:<|"|>text<|"|>,other:2}`."""
    head, found, rest = body.strip().removeprefix("call:").partition("{")
    if not found or not head or not body.strip().startswith("call:"):
        raise Malformed("no call")
    # Only texts can contain arbitrary characters: set them aside and turn the rest into JSON.
    parts = ("{" + rest).split(_STRING)
    if len(parts) % 2 == 0:
        raise Unfinished("a text does not end")
    written = []
    for place, part in enumerate(parts):
        if place % 2:
            written.append(json.dumps(part))
        else:
            written.append(_BARE_KEY.sub(r'\1"\2":', part))
    read = _loads("".join(written))
    if not isinstance(read, dict):
        raise Malformed("arguments are an object")
    return [(head, read)]


_BARE_KEY: Final = re.compile(r"([{,])([^\s{}\[\],:\"]{1,256}):")

CALL_FORMS: Final[tuple[CallForm, ...]] = (
    CallForm(name="json", opens="<tool_call>", closes="</tool_call>", read=_json_calls),
    CallForm(name="xml", opens="<tool_call>", closes="</tool_call>", read=_xml_call),
    CallForm(
        name="glm",
        opens="<tool_call>",
        closes="</tool_call>",
        read=_glm_call,
        # A cut-off name is still a name, and a call without its last argument still a call.
        ends_itself=False,
    ),
    CallForm(
        name="mistral",
        opens="[TOOL_CALLS]",
        closes="",
        read=_mistral_calls,
        within=("[CALL_ID]", "[ARGS]"),
    ),
    CallForm(
        name="deepseek",
        opens=f"<{_BAR}tool▁calls▁begin{_BAR}>",
        closes=f"<{_BAR}tool▁calls▁end{_BAR}>",
        read=_deepseek_calls,
        within=tuple(f"<{_BAR}tool▁{part}{_BAR}>" for part in ("call▁begin", "sep", "call▁end")),
    ),
    CallForm(
        name="kimi",
        opens="<|tool_calls_section_begin|>",
        closes="<|tool_calls_section_end|>",
        read=_kimi_calls,
        within=("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
    ),
    CallForm(
        name="gemma",
        opens="<|tool_call>",
        closes="<tool_call|>",
        read=_gemma_call,
        within=(_STRING,),
    ),
    CallForm(name="cohere", opens="<|START_ACTION|>", closes="<|END_ACTION|>", read=_json_calls),
    CallForm(
        name="python", opens="<|tool_call_start|>", closes="<|tool_call_end|>", read=_python_calls
    ),
    CallForm(name="phi", opens="<|tool_call|>", closes="<|/tool_call|>", read=_json_calls),
    CallForm(name="granite", opens="<|tool_call|>", closes="", read=_json_calls),
    CallForm(name="functools", opens="functools", closes="", read=_json_calls),
    CallForm(name="python_tag", opens="<|python_tag|>", closes="", read=_bare_call),
    CallForm(name="bare", opens="", closes="", read=_bare_call, offered=True),
)
"""All known forms, the most distinctive first."""
