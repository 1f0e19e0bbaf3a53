"""Messages, tools and required keys of rows, for several shapes. Pure.

Each function raises a `DataError` for a malformed value.
"""

import json
from collections.abc import Mapping

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.examples.example import OPTIONS, Message
from controller.data.examples.tool_calls import as_json_text
from controller.data.examples.unused_keys import Reading
from controller.data.recipes import FIRST
from controller.data.suggestions import choice

BESIDE = frozenset({"tools", "functions", "system", "system_prompt", *OPTIONS})
"""Keys next to a conversation that every conversation shape reads."""

_MAY_BE_ARRAY = frozenset("[ \t\r\n")
"""First characters of a text that may be a JSON array."""
_PLAIN = {"role", "content"}
_SYSTEM = ("system", "system_prompt")
_LEARNING_KEYS = frozenset({"loss", "train", "trainable", "training"})


def require_keys(row: Mapping[str, Json], *keys: str) -> None:
    """Check that a row has the keys of its shape."""
    for key in keys:
        if key not in row:
            raise DataError(
                f"there is no {key!r}",
                choice(key, row),
                field="shape",
            )


def tools_of(row: Mapping[str, Json], reading: Reading) -> list[Json] | None:
    """Return the `tools` of a row in OpenAI's form; None if it has no tools.

    Also accepts a JSON text, functions without an enclosing `type`, and the former `functions`.
    """
    tools, key = row.get("tools"), "tools"
    if not tools and reading.recipe > FIRST:
        tools, key = row.get("functions"), "functions"
    elif row.get("functions") and reading.recipe > FIRST:
        raise DataError("there are both `tools` and `functions`", "Keep `tools` alone.")
    if not tools:
        return None
    if isinstance(tools, str):
        tools = parsed_text(tools, f"`{key}`")
    if not isinstance(tools, list):
        raise DataError(f"`{key}` is not an array", 'Write [{"type": "function", "function": ...}]')
    return [_tool(tool, reading) for tool in tools] or None


def options_of(row: Mapping[str, Json], reading: Reading) -> dict[str, Json] | None:
    """Return the protocol's other options of a row; None if there are none.

    Raises:
        DataError: `parallel_tool_calls` is neither true nor false.
    """
    if reading.recipe == FIRST:
        return None
    given: dict[str, Json] = {key: row[key] for key in OPTIONS if row.get(key) is not None}
    for key, value in given.items():
        if value in ("true", "false", "True", "False"):
            # As tables write it.
            given[key] = value in ("true", "True")
        elif not isinstance(value, bool):
            raise DataError(f"`{key}` is neither true nor false", "Write true or false.")
    return given or None


def with_system_of(
    row: Mapping[str, Json], messages: list[Message], reading: Reading
) -> list[Message]:
    """Return messages with the system prompt from the row."""
    if reading.recipe == FIRST:
        return messages
    prompts = {key: row[key] for key in _SYSTEM if row.get(key) not in (None, "")}
    for key, prompt in prompts.items():
        if not isinstance(prompt, str):
            raise DataError(f"`{key}` is not text", f'Write {{"{key}": "..."}}')
    if not prompts:
        return messages
    texts = set(prompts.values())
    inside = [
        message.get("content")
        for message in messages
        if message.get("role") in ("system", "developer")
    ]
    if len(texts) > 1 or (inside and inside[0] not in list(texts)):
        raise DataError(
            f"there are two system prompts: {', '.join(map(repr, prompts))}"
            f"{' and one among the messages' if inside else ''}",
            "Keep one of them.",
        )
    return messages if inside else [{"role": "system", "content": texts.pop()}, *messages]


def message_of(written: Json) -> Message:
    """Return a message as written, without its null keys."""
    if not isinstance(written, dict):
        raise DataError("a message is not an object", 'Write {"role": "user", "content": "..."}')
    if written.keys() == _PLAIN and type(written["content"]) is str:
        return written
    message = {key: value for key, value in written.items() if value is not None}
    if "content" not in message:
        message["content"] = None
    if not message.get("tool_calls", True):
        del message["tool_calls"]
    if not _LEARNING_KEYS.isdisjoint(message):
        refuse_learning_keys(message)
    return message


def refuse_learning_keys(message: Mapping[str, Json]) -> None:
    """Refuse a message with an unsupported key (`_LEARNING_KEYS`) that says whether it is learned."""
    for key in sorted(_LEARNING_KEYS & message.keys()):
        value = message[key]
        word = value.strip().lower() if isinstance(value, str) else value
        if word in (0, 1, "true", "false", "0", "1"):
            raise DataError(
                f"a message has `{key}` to tell whether the model learns it, which is not read",
                'Write "weight": 0 into messages that the model must not learn, and remove the key.',
            )


def messages_from(row: Mapping[str, Json], key: str, role: str, reading: Reading) -> list[Message]:
    """Return the messages under a key; a plain text becomes one message with the given role.

    Messages may be a JSON text. An answer may be any JSON value; the model learns its text.
    """
    value = row.get(key)
    if isinstance(value, str) and reading.recipe > FIRST:
        value = messages_in(value)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list) and (role == "user" or not value or any(map(_is_message, value))):
        return [message_of(message) for message in value]
    if role == "assistant" and value is not None:
        return [{"role": role, "content": as_json_text(value)}]
    raise DataError(f"`{key}` is neither text nor messages", f'Write {{"{key}": "..."}}')


def messages_in(text: str) -> Json:
    """Return the messages in a JSON text, as in cells of tables; otherwise the text."""
    if text[:1] not in _MAY_BE_ARRAY or not text.lstrip().startswith("["):
        return text
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, list) and value and all(map(_is_message, value)) else text


def parsed_list(value: Json, key: str) -> Json:
    """Return a value, or the array in its JSON text: a table holds a text instead of an array."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        return parsed_text(value, f"`{key}`")
    return value


def parsed_text(text: str, what: str) -> Json:
    """Return the JSON value that a text within a row holds."""
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what} is not valid JSON: {error}", "Fix the text.") from None
    return value


def _is_message(value: Json) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str)


def _tool(tool: Json, reading: Reading) -> Json:
    if isinstance(tool, dict) and isinstance(tool.get("type"), str):
        is_flat = tool["type"] == "function" and isinstance(tool.get("name"), str)
        if is_flat and "function" not in tool and reading.recipe > FIRST:
            # As newer interfaces write it, without the object around the function.
            return {
                "type": "function",
                "function": {key: value for key, value in tool.items() if key != "type"},
            }
        return tool
    if isinstance(tool, dict) and isinstance(tool.get("name"), str):
        return {"type": "function", "function": tool}
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict):
        return {"type": "function", **tool}
    raise DataError(
        "a tool has no name", 'Write {"type": "function", "function": {"name": "search", ...}}'
    )
