"""What several shapes share: messages, tools and the keys a row must have. Pure."""

import json
from collections.abc import Mapping

from backends.base import Json
from controller.data.example import Message
from controller.data.nearest import did_you_mean, listing
from controller.data.unusable import Unusable

_PLAIN = {"role", "content"}


def needs(row: Mapping[str, Json], *keys: str) -> None:
    """Check that a row has the keys of its shape.

    Raises:
        Unusable: One is not there.
    """
    for key in keys:
        if key not in row:
            raise Unusable(
                f"there is no {key!r}",
                f"{did_you_mean(key, row)}There are: {listing(row)}",
                field="shape",
            )


def tools_of(row: Mapping[str, Json]) -> list[Json] | None:
    """Return the `tools` of a row in OpenAI's form; None when it has none.

    They may be a JSON text, and functions without the `type` around them.

    Raises:
        Unusable: They are no such thing.
    """
    tools = row.get("tools")
    if not tools:
        return None
    if isinstance(tools, str):
        tools = parsed_text(tools, "`tools`")
    if not isinstance(tools, list):
        raise Unusable("`tools` is not an array", 'Write [{"type": "function", "function": ...}]')
    return [_tool(tool) for tool in tools] or None


def message_of(written: Json) -> Message:
    """Return a message as written, without its null keys.

    Raises:
        Unusable: It is no message.
    """
    if not isinstance(written, dict):
        raise Unusable("a message is not an object", 'Write {"role": "user", "content": "..."}')
    if written.keys() == _PLAIN and type(written["content"]) is str:
        return written
    message = {key: value for key, value in written.items() if value is not None}
    message.setdefault("content", None)
    if not message.get("tool_calls", True):
        del message["tool_calls"]
    return message


def turns_of(row: Mapping[str, Json], key: str, role: str) -> list[Message]:
    """Return the messages under a key; a plain text is one message of a role.

    Raises:
        Unusable: They are neither.
    """
    value = row.get(key)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return [message_of(message) for message in value]
    raise Unusable(f"`{key}` is neither text nor messages", f'Write {{"{key}": "..."}}')


def parsed_text(text: str, what: str) -> Json:
    """Return the JSON value that a text within a row holds.

    Raises:
        Unusable: It is not JSON; the message calls it `what`.
    """
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{what} is not valid JSON: {error}", "Mend the text.") from None
    return value


def _tool(tool: Json) -> Json:
    if isinstance(tool, dict) and isinstance(tool.get("type"), str):
        return tool
    if isinstance(tool, dict) and isinstance(tool.get("name"), str):
        return {"type": "function", "function": tool}
    raise Unusable(
        "a tool has no name", 'Write {"type": "function", "function": {"name": "search", ...}}'
    )
