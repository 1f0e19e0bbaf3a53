"""Check that the calls of an example are well-formed and match its tool definitions. Pure."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from backends.contract.inspector import Json
from backends.did_you_mean import nearest
from controller.data.errors import DataError
from controller.data.examples.example import ROLE_AND_CONTENT, Example, Message
from controller.data.suggestions import quote

Definitions: TypeAlias = Mapping[str, Json]
"""Parameters of each function, by its name."""

_FORM = 'Write [{"id": "call_1", "type": "function", "function": {"name": "search", ...}}]'
_FUNCTION_KEYS = ("name", "arguments", "parameters")
"""Keys of a call that belong inside its function."""
_ARGUMENTS = 'Write an object as JSON text: "arguments": "{\\"day\\": \\"Monday\\"}".'


def check_form(calls: Json) -> None:
    """Check the calls of one answer: each names a function and has arguments by name."""
    if not isinstance(calls, list):
        raise DataError("`tool_calls` is not a list of function calls", _FORM)
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(name := function.get("name"), str):
            raise DataError("`tool_calls` is not a list of function calls", _FORM)
        if not name:
            raise DataError("a tool call names no function", _FORM)
        beside = [key for key in _FUNCTION_KEYS if call.get(key) is not None]
        where = "function"
        if not beside and function.get("parameters") is not None and "arguments" in function:
            beside, where = ["parameters"], "arguments"
        if beside:
            raise DataError(
                f"a call of {quote(name)} has {quote(beside[0])} beside its {where}, which "
                "nothing would read",
                _FORM,
            )
        _arguments(function)


class Remarks(NamedTuple):
    """Remarks on the calls of an example, for the report."""

    undefined: tuple[str, ...] = ()
    """Called functions that are not among its tools, with the closest tool name."""
    incomplete: str = ""
    """The calls that lack an argument that their function requires."""


def remarks_on_calls(example: Example) -> Remarks:
    """Compare the calls that are learned with the tools that the example defines.

    Answers that are not learned, and the rejected answer, may call undefined functions: they show
    what not to do. An example without tools may define them in its system prompt.
    """
    if not example.tools:
        return _NO_REMARKS
    defined = dict(_defined(example.tools))
    undefined: list[str] = []
    missing: list[str] = []
    for message in example.messages:
        if message.get("role") != "assistant" or message.get("weight") == 0:
            continue
        for name, arguments in _written(message.get("tool_calls")):
            if name not in defined:
                near = nearest(name, defined)
                meant = f" (did you mean {quote(near)}?)" if near is not None else ""
                undefined.append(f"{quote(name)}{meant}")
                continue
            if required := _required(defined[name]):
                written = _parsed(arguments)
                missing += [
                    f"{name} is called without {quote(key)}, which it requires"
                    for key in required
                    if key not in written
                ]
    if not undefined and not missing:
        return _NO_REMARKS
    return Remarks(tuple(dict.fromkeys(undefined)), "; ".join(dict.fromkeys(missing)))


def _arguments(function: Mapping[str, Json]) -> None:
    arguments, what = function.get("arguments", {}), f"the arguments of {quote(function['name'])}"
    if isinstance(arguments, str):
        try:
            arguments = _STRICT.decode(arguments)
        except _Repeated as error:
            raise DataError(f"{what} have {quote(error.args[0])} twice", "Write it once.") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{what} are not JSON: {error}", _ARGUMENTS) from None
    if isinstance(arguments, str):
        raise DataError(
            f"{what} are JSON text of JSON text: they were encoded twice",
            "Encode them once: json.dumps(arguments), and not of its result again.",
        )
    if not isinstance(arguments, dict):
        raise DataError(f"{what} are not an object: {quote(arguments)}", _ARGUMENTS)


class _Repeated(Exception):
    """A key that occurs twice in an object."""


def _not_json(constant: str) -> Json:
    raise ValueError(f"{constant} is not a number of JSON")


def _without_repeats(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    whole = dict(pairs)
    if len(whole) < len(pairs):
        raise _Repeated(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return whole


def _defined(tools: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(name := function.get("name"), str):
            yield name, function.get("parameters")


_STRICT = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_not_json)


def _written(calls: Json) -> Iterator[tuple[str, Json]]:
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield str(function["name"]), function.get("arguments")


def _parsed(arguments: Json) -> Mapping[str, Json]:
    given = json.loads(arguments) if isinstance(arguments, str) and arguments else arguments
    return given if isinstance(given, dict) else {}


def _required(parameters: Json) -> list[str]:
    required = parameters.get("required") if isinstance(parameters, dict) else None
    return [key for key in required if isinstance(key, str)] if isinstance(required, list) else []


def answers_are_equal(example: Example) -> bool:
    """Return True if the answers of a preference pair are equal, so that there is no preference."""
    rejected = example.rejected
    if rejected is None:
        return False
    preferred = example.messages[-1]
    if len(preferred) == len(rejected) == ROLE_AND_CONTENT:
        return preferred == rejected
    return _learned(preferred) == _learned(rejected)


def _learned(answer: Message) -> list[Json]:
    called: list[Json] = [
        [name, dict(_parsed(arguments))] for name, arguments in _written(answer.get("tool_calls"))
    ]
    rest = {
        key: value for key, value in answer.items() if key not in {"tool_calls", "weight", "name"}
    }
    content = rest.pop("content", None)
    return [content or "", dict(sorted(rest.items())), called]


_NO_REMARKS = Remarks()
