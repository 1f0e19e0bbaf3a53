"""ShareGPT conversations, with their tools, as OpenAI messages. Pure.

A function call becomes `tool_calls` with IDs `call_1`, `call_2`, … in order; an observation
becomes a `tool` message that answers the oldest call without an answer.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.examples.example import Example, Message
from controller.data.examples.openai_messages import (
    BESIDE,
    message_of,
    options_of,
    parsed_list,
    parsed_text,
    refuse_learning_keys,
    require_keys,
    tools_of,
    with_system_of,
)
from controller.data.examples.tool_calls import as_json_text, in_openai_form
from controller.data.examples.unused_keys import Reading, keys_beside
from controller.data.recipes import FIRST
from controller.data.suggestions import join_names

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
"""Speakers in public data sets, and OpenAI's roles for them; `call` is ours."""


_PLAIN = {"from", "value"}
_ROW = BESIDE | {"conversations"}


def from_sharegpt(row: Mapping[str, Json], reading: Reading) -> Example:
    """Return the example of a row with `conversations`."""
    require_keys(row, "conversations")
    turns = conversations_of(row)
    unread = keys_beside(row, _ROW, reading)
    unread += unread_of(turns, "conversations")
    if reading.recipe == FIRST:
        messages = messages_of(turns, reading, row.get("system"))
    else:
        messages = messages_of(turns, reading)
    if BESIDE.isdisjoint(row):
        # Fast path: most rows have none of these keys.
        return Example(messages, unread=unread)
    return Example(
        with_system_of(row, messages, reading),
        tools_of(row, reading),
        options=options_of(row, reading),
        unread=unread,
    )


def conversations_of(row: Mapping[str, Json]) -> list[Json]:
    """Return the turns of a row."""
    turns = parsed_list(row["conversations"], "conversations")
    if not isinstance(turns, list):
        raise DataError(
            "`conversations` is not an array",
            'Write {"conversations": [{"from": "human", "value": "..."}, ...]}',
        )
    return turns


def unread_of(turns: Sequence[Json], key: str) -> tuple[str, ...]:
    """Return the unread keys of turns: `conversations[].id`."""
    keys = {
        one
        for turn in turns
        if isinstance(turn, dict) and turn.keys() != _PLAIN
        for one in turn.keys() - _read(turn)
    }
    return tuple(f"{key}[].{one}" for one in sorted(keys))


def messages_of(turns: Sequence[Json], reading: Reading, system: Json = None) -> list[Message]:
    """Return turns, and the system prompt beside them, as OpenAI messages."""
    if reading.recipe == FIRST:
        return list(_messages_by_first_recipe(turns, system))
    messages: list[Message] = []
    for turn in turns:
        messages += _messages(turn)
    messages = in_openai_form(messages)
    for one in messages:
        if one["role"] == "tool" and "tool_call_id" not in one:
            raise _UNCALLED
    return messages


def _messages(turn: Json) -> list[Message]:
    role, value, weight = _turn(turn)
    if role == "call":
        calls: list[Json] = [_call(call, None) for call in _listed(value)]
        message: Message = {"role": "assistant", "content": None, "tool_calls": calls}
    elif _is_openai(turn) and isinstance(turn, dict):
        return [message_of({**turn, "role": role, "content": value})]
    else:
        message = {"role": role, "content": value}
    if isinstance(turn, dict) and turn.keys() != _PLAIN:
        refuse_learning_keys(turn)
    if weight is not None:
        message["weight"] = weight
    return [message]


def _messages_by_first_recipe(turns: Sequence[Json], system: Json) -> Iterator[Message]:
    if system is not None and system != "":
        yield {"role": "system", "content": system}
    calls, open_calls = 0, list[str]()
    for turn in turns:
        role, value, weight = _turn(turn)
        message: Message = {"role": role, "content": value}
        if role == "call":
            made: list[Json] = []
            for call in _listed(value):
                calls += 1
                made.append(_call(call, f"call_{calls}"))
                open_calls.append(f"call_{calls}")
            message = {"role": "assistant", "content": None, "tool_calls": made}
        elif role == "tool":
            if not open_calls:
                raise _UNCALLED
            message["tool_call_id"] = open_calls.pop(0)
        if weight is not None:
            message["weight"] = weight
        yield message


_UNCALLED = DataError(
    "an observation that answers no function call", "Put the function_call before its observation."
)


def _is_openai(turn: Json) -> bool:
    return isinstance(turn, dict) and "from" not in turn and "value" not in turn


def _read(turn: Mapping[str, Json]) -> Collection[str]:
    """Return the keys of a turn that are read: in OpenAI's form, all keys."""
    if _is_openai(turn) and ROLES.get(str(turn.get("role"))) != "call":
        return turn.keys()
    speaker = "from" if "from" in turn else "role"
    return {speaker, "value" if "value" in turn else "content", "weight"}


def _turn(turn: Json) -> tuple[str, Json, Json]:
    if isinstance(turn, dict):
        speaker = turn.get("from", turn.get("role"))
        value = turn.get("value", turn.get("content"))
        if isinstance(speaker, str):
            # An unknown speaker stays: the check of roles names it.
            return ROLES.get(speaker, speaker), value, turn.get("weight")
    raise DataError("a turn is not recognised", 'Write {"from": "human", "value": "..."}')


def _listed(value: Json) -> list[Json]:
    parsed = parsed_text(value, "a function call") if isinstance(value, str) else value
    return parsed if isinstance(parsed, list) else [parsed]


def _call(call: Json, number: str | None) -> Json:
    """Return a call; without a number it keeps its own ID, or is numbered later."""
    if not isinstance(call, dict) or not isinstance(name := call.get("name"), str):
        raise DataError(
            "a function call has no name",
            'Write {"name": "search", "arguments": {"query": "..."}}',
        )
    beside = sorted(call.keys() - {"name", "arguments", "parameters", "id", "type"})
    if beside or ("arguments" in call and "parameters" in call):
        raise DataError(
            f"a function call has {join_names(beside or ['arguments', 'parameters'])} besides its name"
            f"{'' if beside else ', and one of them would not be read'}",
            'Write {"name": "search", "arguments": {"query": "..."}}',
        )
    arguments = call.get("arguments", call.get("parameters", {}))
    # The author's order of the arguments: the model learns to write them so.
    text = arguments if isinstance(arguments, str) else as_json_text(arguments)
    function: dict[str, Json] = {"name": name, "arguments": text}
    return {"id": number or call.get("id"), "type": "function", "function": function}
