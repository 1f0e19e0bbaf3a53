"""Function calls and their results, in OpenAI's form. Pure.

Also accepts the form of Hugging Face's templates (arguments that are objects, no IDs, no `type`,
results by the function's name) and OpenAI's former form (`function_call`, the role `function`).
Missing IDs are numbered: `call_1`, `call_2`, ... in order. A result without an ID answers the
oldest open call, of the same name if the result has a name.
"""

import json
from collections.abc import Iterator
from itertools import count

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.examples.example import ROLE_AND_CONTENT, Message
from controller.data.suggestions import quote

_RESULTS = ("tool", "function")
_CALL = (
    'Write {"id": "call_1", "type": "function", '
    '"function": {"name": "search", "arguments": "{\\"query\\": \\"...\\"}"}}.'
)


def in_openai_form(messages: list[Message]) -> list[Message]:
    """Return messages with calls and results in OpenAI's form; the same list if they already are."""
    for message in messages:
        if len(message) > ROLE_AND_CONTENT or message.get("role") in _RESULTS:
            break
    else:
        # Most conversations are in this form.
        return messages
    if all(map(_is_in_form, messages)):
        return messages
    return _Conversation(messages).converted()


def as_json_text(value: Json) -> str:
    """Return a value as JSON, with its keys in the order as written.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _has_calls(message: Message) -> bool:
    return "tool_calls" in message or "function_call" in message or message.get("role") in _RESULTS


def _is_in_form(message: Message) -> bool:
    """Return True if a message certainly needs no change."""
    if "function_call" in message:
        return False
    if message.get("role") in _RESULTS:
        number, content = message.get("tool_call_id"), message["content"]
        return message["role"] == "tool" and type(number) is type(content) is str and number != ""
    if (calls := message.get("tool_calls")) is None:
        return True
    return type(calls) is list and all(map(_is_call_in_form, calls))


def _is_call_in_form(call: Json) -> bool:
    if type(call) is not dict or type(function := call.get("function")) is not dict:
        return False
    texts = (call.get("id"), call.get("type"), function.get("name"), function.get("arguments"))
    return all(type(text) is str and text != "" for text in texts)


class _Conversation:
    """Messages, with the calls that have no result yet."""

    def __init__(self, messages: list[Message]) -> None:
        self._messages = messages
        taken = {_id(call.get("id")) for one in messages for call in _calls_of(one)}
        self._ids = (one for number in count(1) if (one := f"call_{number}") not in taken)
        self._open: list[tuple[str, str]] = []

    def converted(self) -> list[Message]:
        return [self._message(one) if _has_calls(one) else one for one in self._messages]

    def _message(self, message: Message) -> Message:
        if message.get("role") in _RESULTS:
            return self._result(message)
        if isinstance(calls := message.get("tool_calls"), str):
            message = {**message, "tool_calls": _parsed(calls)}
        if "function_call" in message:
            message = _of_former_form(message)
        calls = message.get("tool_calls")
        if not isinstance(calls, list):
            return message
        return {**message, "tool_calls": [self._call(call) for call in calls]}

    def _call(self, call: Json) -> Json:
        if not isinstance(call, dict):
            return call
        function = call.get("function")
        if isinstance(call.get("name"), str) and function is None:
            # The bare function, as templates receive it.
            kept = {key: value for key, value in call.items() if key in {"id", "type"}}
            function = {key: value for key, value in call.items() if key not in kept}
            call = kept
        if not isinstance(function, dict) or not isinstance(name := function.get("name"), str):
            return call
        number = _id(call.get("id")) or next(self._ids)
        self._open.append((number, name))
        whole = {**call, "id": number, "function": _function(function)}
        return {**whole, "type": call.get("type") or "function"}

    def _result(self, message: Message) -> Message:
        content = message["content"]
        if isinstance(content, dict | bool | int | float) or (
            isinstance(content, list) and not all(map(_is_part, content))
        ):
            message = {**message, "content": as_json_text(content)}
        number, name = _id(message.get("tool_call_id")), message.get("name")
        if number:
            self._open = [one for one in self._open if one[0] != number]
            return {**message, "role": "tool", "tool_call_id": number}
        answered = next((one for one in self._open if name in (None, one[1])), None)
        if answered is None:
            if message.get("role") == "function":
                raise DataError(
                    "a message of the role function answers no call",
                    "Put the assistant's call before it, with the same name.",
                )
            return message
        self._open.remove(answered)
        # The name belongs to the call; the service accepts no name here.
        rest = {key: value for key, value in message.items() if key != "name"}
        return {**rest, "role": "tool", "tool_call_id": answered[0]}


def _id(value: Json) -> str:
    """Return the ID of a call as text; empty if it is missing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is None or isinstance(value, str):
        return value or ""
    raise DataError(f"the ID of a tool call is not text: {quote(value)}", 'Write "call_1".')


def _is_part(part: Json) -> bool:
    return isinstance(part, dict) and isinstance(part.get("type"), str)


def _calls_of(message: Message) -> Iterator[dict[str, Json]]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            yield call


def _of_former_form(message: Message) -> Message:
    rest = {key: value for key, value in message.items() if key != "function_call"}
    call = message["function_call"]
    if "tool_calls" in message:
        raise DataError(
            "an answer has both `function_call` and `tool_calls`", "Keep `tool_calls` alone."
        )
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise DataError("a `function_call` has no name", _CALL)
    return {**rest, "tool_calls": [call]}


def _function(function: dict[str, Json]) -> dict[str, Json]:
    """Return a called function with its arguments as JSON text, in the order as written."""
    arguments = function.get("arguments")
    if "arguments" not in function and isinstance(function.get("parameters"), dict):
        # As Llama's templates write it.
        arguments = function["parameters"]
        function = {key: value for key, value in function.items() if key != "parameters"}
    if arguments is None:
        arguments = {}
    if isinstance(arguments, str):
        return function
    return {**function, "arguments": as_json_text(arguments)}


def _parsed(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"`tool_calls` is not valid JSON: {error}", _CALL) from None
    return value
