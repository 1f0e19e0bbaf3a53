"""How families of models write a call of a tool, and how such a text is read back. Pure.

A form is two marks and a function that reads what stands between them. Which form a model uses is
found by rendering a call with its own template (`turns`): the form that reads it back is the one.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Called: TypeAlias = tuple[str, dict[str, Any]]
"""Name and arguments of one call."""
Types: TypeAlias = Mapping[str, Mapping[str, frozenset[str]]]
"""For every tool and argument, the JSON types that its definition allows."""

_STRING: Final = '<|"|>'
_BAR: Final = "\uff5c"
"""A wide `|`, of which DeepSeek's marks are made."""
_PYTHON: Final = {"True": True, "False": False, "None": None}
_JSON: Final = {"true": True, "false": False, "null": None}

CHANNEL_MARKS: Final = ("<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")
"""Around a message of an answer that is several, and before it; the last three end one."""


class Malformed(ValueError):
    """What stands between two marks of a call, and is none."""


class Unfinished(Malformed):
    """A call that may become one with the text that follows: a mark stood within a string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """One way of writing calls."""

    name: str
    opens: str
    """The mark before a call; empty where a whole answer is the call."""
    closes: str
    """The mark behind it; empty where it reaches to the end of the answer."""
    read: Callable[[str, Types], list[Called]]
    """Reads what stands between the marks; raises `Malformed`."""
    within: tuple[str, ...] = ()
    """More marks, which stand within a call."""
    offered: bool = False
    """Whether it is a call only where tools are offered, as it looks like any other JSON."""
    ends_itself: bool = True
    """Whether a call shows that it is whole; else only the mark behind it tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one model writes its answers."""

    thinking: tuple[str, str] | None = None
    """Marks around what it thinks."""
    call: CallForm | None = None
    wraps: Sequence[str] = ()
    """Marks around an answer's text, which say nothing."""
    channels: bool = False
    """Whether an answer is several messages, each with a header that names its channel."""
    blank: str = ""
    """Blanks that its template puts before every answer."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Every text that means something in an answer."""
        if self.channels:
            return (*CHANNEL_MARKS, "<|channel|>", "<|constrain|>")
        form = self.call
        call = (form.opens, form.closes, *form.within) if form is not None else ()
        return tuple(mark for mark in (*(self.thinking or ()), *call, *self.wraps) if mark)


def types_of(tools: Sequence[Mapping[str, Any]] | None) -> Types:
    """Return what the definitions of tools say about their arguments' types."""
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
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        # A mark within a string looks like the end of the call.
        kind = Unfinished if error.msg.startswith("Unterminated string") else Malformed
        raise kind(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _called(read: object) -> Called:
    """Read `{"name": ..., "arguments": ...}` and its relatives."""
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
    """Read an answer that is nothing but `{"name": ..., "parameters": ...}`."""
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
    """Read an argument that is written without quotes, by what its definition allows."""
    if text in _PYTHON and (allowed & {"boolean", "null"} or not allowed):
        return _PYTHON[text]
    if "string" in allowed and not (text == "null" and "null" in allowed):
        return text
    try:
        read = _loads(text)
    except Malformed:
        return text
    # Texts stand there as they are: quotes around one are its own.
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
    """Read calls between DeepSeek's marks: with a kind and a fenced block, or without."""
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
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in _JSON:
            return _JSON[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
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
    # Texts are the only values that may hold anything: they are set aside, the rest made JSON.
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
        # Half a name is a name, and a call without its last argument is a call.
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
"""Every form that is known, the surer one first."""
