"""Rules of the service for examples, which it applies hours later, naming no line. Pure.

The rules come from the published schemas of training files and from the guides. Cases that these
leave open pass: unlisted keys of messages, names of any characters, the role `developer`. Every
example that is built is checked. The common kind, short texts of user and assistant, passes in a
few comparisons. The controller checks for every backend that roles are known, that a question
precedes an answer and that no answer is empty, so these checks are not repeated here.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.openai.examples.images import check_image
from backends.openai.limits import ServiceLimits

Message = Mapping[str, Any]

_ROLE_AND_CONTENT: Final = 2
_PLAIN_ROLES: Final = frozenset({"user", "system"})
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MOST_TOOLS: Final = 128
_SHORT: Final = 60
_CALL_FORM: Final = (
    'write {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{}"}}'
)
_FUNCTION_FORM: Final = (
    'write {"name": "search", "parameters": {"type": "object", "properties": {}}}'
)
_TOOL_FORM: Final = (
    'write {"type": "function", "function": {"name": "search", "description": "...", '
    '"parameters": {"type": "object", "properties": {}}}}'
)


def check_supervised(example: Mapping[str, Any], limits: ServiceLimits) -> None:
    """Check a conversation to learn from.

    Raises:
        BackendError: The service would refuse it; the message says why.
    """
    messages = example["messages"]
    role = None
    for message in messages:
        role = message["role"]
        if (
            len(message) != _ROLE_AND_CONTENT
            or type(message["content"]) is not str
            or (role != "assistant" and role not in _PLAIN_ROLES)
        ):
            _check_closely(messages, limits)
            role = messages[-1]["role"]
            break
    if role != "assistant":
        raise BackendError(
            f"the last message is the {role}'s; the service learns from a conversation that ends "
            "with an answer",
            'end it with {"role": "assistant", "content": "..."}',
        )
    if len(example) > 1:
        _check_offer(example)


def check_preference(example: Mapping[str, Any], limits: ServiceLimits) -> None:
    """Check a preference pair.

    Raises:
        BackendError: The service would refuse it; the message says why.
    """
    asked = example["input"]
    outputs = [example["preferred_output"], example["non_preferred_output"]]
    names = ("preferred", "non-preferred")
    for name, output in zip(names, outputs, strict=True):
        if len(output) != 1 or output[0]["role"] != "assistant":
            raise BackendError(
                f"the {name} output has to be exactly one message of the assistant",
                "keep the turns before it in `input`",
            )
    if not asked["messages"]:
        raise BackendError("a preference pair has no `input`", "write what the answers answer")
    _check_closely(asked["messages"], limits)
    for output in outputs:
        _check_message(output[0], limits)
    for message in asked["messages"]:
        if _images(message):
            raise BackendError(
                "a preference pair holds an image; the service compares texts only",
                "remove the example, or train with `method: supervised`",
            )
    _check_offer(asked)


def check_graded(example: Mapping[str, Any], limits: ServiceLimits) -> None:
    """Check a prompt whose answers are graded.

    Raises:
        BackendError: The service would refuse it; the message says why.
    """
    messages = example["messages"]
    if not messages or messages[-1]["role"] == "assistant":
        raise BackendError(
            "the conversation does not end with a question: the service samples the answer itself",
            "remove the turns after the last question",
        )
    _check_closely(messages, limits)
    _check_offer(example)


CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any], ServiceLimits], None]]] = {
    "supervised": check_supervised,
    "dpo": check_preference,
    "reinforcement": check_graded,
}


def _check_closely(messages: Sequence[Message], limits: ServiceLimits) -> None:
    """Check every message, and that each tool call gets its answer before anyone else speaks."""
    open_calls: set[str] = set()
    images = 0
    for message in messages:
        role = message["role"]
        if role not in _ROLES:
            raise BackendError(
                f"the service's training files know no role {_short(role)}",
                f"write {', '.join(_ROLES)}",
            )
        if role == "tool":
            _answer_call(message, open_calls)
        elif open_calls:
            raise _unanswered(open_calls)
        _check_message(message, limits)
        images += _images(message)
        open_calls |= {call["id"] for call in message.get("tool_calls") or ()}
    # The last answer may itself be a call, which nobody answers any more.
    if open_calls and messages[-1]["role"] == "tool":
        raise _unanswered(open_calls)
    if limits.images is not None and images > limits.images:
        raise BackendError(
            f"{images} images in one example; the service takes at most {limits.images}",
            "remove images, or make several examples of it",
        )


def _answer_call(message: Message, open_calls: set[str]) -> None:
    answered = message.get("tool_call_id")
    if not isinstance(answered, str) or not answered:
        raise BackendError(
            "a tool message has no `tool_call_id`", "write the `id` of the call that it answers"
        )
    if answered not in open_calls:
        raise BackendError(
            f"a tool message answers the call {_short(answered)}, which nobody made just before",
            "put it behind the assistant's message with that call, once",
        )
    open_calls.remove(answered)


def _unanswered(open_calls: set[str]) -> BackendError:
    return BackendError(
        f"the tool call {_short(min(open_calls))} is not answered",
        'put {"role": "tool", "tool_call_id": "...", "content": "..."} behind it',
    )


def _check_message(message: Message, limits: ServiceLimits) -> None:
    role = message["role"]
    if "weight" in message:
        if role != "assistant":
            raise BackendError(
                f"a {role} message has a `weight`; only an answer has one",
                "remove it: nobody learns from other messages anyway",
            )
        if message["weight"] not in (0, 1) or isinstance(message["weight"], bool):
            raise BackendError(f"a weight is {_short(message['weight'])}", "write 0 or 1")
    for key in ("name", "refusal"):
        if message.get(key) is not None and not isinstance(message[key], str):
            raise BackendError(
                f"the `{key}` of {_a(role)} message is {_short(message[key])}, not a text",
                f'write "{key}": "..." or remove it',
            )
    if role == "function" and not message.get("name"):
        raise BackendError(
            "a function message has no `name`", "write the name of the function that answered"
        )
    _check_content(message, role, limits)
    if "tool_calls" in message:
        _check_calls(message["tool_calls"])
    if message.get("function_call") is not None:
        _check_function_call(message["function_call"])


def _check_content(message: Message, role: str, limits: ServiceLimits) -> None:
    content = message.get("content")
    if isinstance(content, str):
        return
    if content is None:
        if role == "assistant" and any(
            message.get(key) for key in ("tool_calls", "function_call", "refusal")
        ):
            return
        raise BackendError(f"{_a(role)} message has no content", 'write "content": "..."')
    if not isinstance(content, list) or not content:
        raise BackendError(
            f"the content of {_a(role)} message is neither text nor parts",
            'write "content": "..." or "content": [{"type": "text", "text": "..."}]',
        )
    for part in content:
        _check_part(part, role, limits)


def _check_part(part: object, role: str, limits: ServiceLimits) -> None:
    if not isinstance(part, Mapping):
        raise BackendError(
            f"{_a(role)} message holds a part that is {_short(part)}",
            'write {"type": "text", "text": "..."}',
        )
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return
    if kind == "refusal" and role == "assistant" and isinstance(part.get("refusal"), str):
        return
    if kind == "image_url":
        if role != "user":
            raise BackendError(
                f"an image in {_a(role)} message; the service reads images of the user only",
                "move it into the user's message, or remove the example",
            )
        check_image(part.get("image_url"), limits.image_bytes)
        return
    known = {"user": "text and image_url", "assistant": "text and refusal"}.get(role, "text")
    raise BackendError(
        f"{_a(role)} message holds a part of type {_short(kind)}; the service trains on {known} there",
        "remove the part, or the example",
    )


def _check_calls(calls: object) -> None:
    if not isinstance(calls, list) or not calls:
        raise BackendError("`tool_calls` is not a list of calls", f"{_CALL_FORM} in a list")
    seen: set[str] = set()
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or call.get("type") != "function":
            raise BackendError("a tool call is not of the type function", _CALL_FORM)
        number = call.get("id")
        if not isinstance(number, str) or not number or number in seen:
            # An id that is not a text may be unhashable, so look only texts up in the set.
            twice = isinstance(number, str) and number in seen
            what = f"the id {_short(number)} twice" if twice else "no `id`"
            raise BackendError(f"a tool call has {what}", "give every call an id of its own")
        seen.add(number)
        _check_function_call(function)


def _check_function_call(function: object) -> None:
    if not isinstance(function, Mapping):
        raise BackendError("a function call is not an object", _CALL_FORM)
    _check_name(function.get("name"))
    _check_arguments(function)


def _check_arguments(function: Mapping[str, Any]) -> None:
    arguments = function.get("arguments")
    name = function["name"]
    if not isinstance(arguments, str):
        raise BackendError(
            f"the arguments of the call of {name!r} are no text",
            'write the object as JSON in text: "arguments": "{\\"day\\": \\"Monday\\"}"',
        )
    try:
        json.loads(arguments)
    except (ValueError, RecursionError) as error:
        raise BackendError(
            f"the arguments of the call of {name!r} are no JSON: {error}",
            'write the object as JSON in text: "arguments": "{\\"day\\": \\"Monday\\"}"',
        ) from None


def _check_offer(asked: Mapping[str, Any]) -> None:
    """Check a conversation's tools, functions and `parallel_tool_calls`."""
    if "tools" in asked:
        _check_tools(asked["tools"])
    if "functions" in asked:
        _check_functions(asked["functions"])
    parallel = asked.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise BackendError(
            f"`parallel_tool_calls` is {_short(parallel)}", "write true or false, without quotes"
        )


def _check_tools(tools: object) -> None:
    for tool in _listed(tools, "tools", _TOOL_FORM):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or tool.get("type") != "function":
            raise BackendError("a tool is not of the type function", _TOOL_FORM)
        _check_name(function.get("name"))
        _check_definition(function)


def _check_functions(functions: object) -> None:
    for function in _listed(functions, "functions", _FUNCTION_FORM):
        if not isinstance(function, Mapping):
            raise BackendError("a function is not an object", _FUNCTION_FORM)
        _check_name(function.get("name"))
        _check_definition(function)


def _listed(values: object, key: str, form: str) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise BackendError(f"`{key}` is not a list of functions", f"{form} in a list")
    if len(values) > _MOST_TOOLS:
        raise BackendError(
            f"{len(values)} {key} in one example; the service takes at most {_MOST_TOOLS}",
            "keep those that the conversation is about",
        )
    return values


def _check_definition(function: Mapping[str, Any]) -> None:
    name = function["name"]
    for key, kind, what in (("description", str, "text"), ("strict", bool, "true or false")):
        if function.get(key) is not None and not isinstance(function[key], kind):
            raise BackendError(f"the `{key}` of the tool {name!r} is not {what}", _TOOL_FORM)
    parameters = function.get("parameters")
    if not parameters and parameters in (None, {}):
        return
    if not isinstance(parameters, Mapping) or parameters.get("type") != "object":
        raise BackendError(
            f"the parameters of the tool {name!r} are not the schema of an object",
            'write "parameters": {"type": "object", "properties": {...}}',
        )
    if not isinstance(parameters.get("properties", {}), Mapping):
        raise BackendError(
            f"the `properties` of the tool {name!r} are not an object",
            'write "properties": {"day": {"type": "string"}}',
        )


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BackendError(
            f"{_short(name)} is no name of a function that the service takes",
            "write 1 to 64 letters of a-z and A-Z, digits, _ and -",
        )


def _images(message: Message) -> int:
    content = message.get("content")
    if not isinstance(content, list):
        return 0
    return sum(isinstance(part, Mapping) and part.get("type") == "image_url" for part in content)


def _a(role: str) -> str:
    return f"an {role}" if role == "assistant" else f"a {role}"


def _short(value: object) -> str:
    text = repr(value[:_SHORT] if isinstance(value, str) else value)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."
