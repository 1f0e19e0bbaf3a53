"""ShareGPT conversations, with their tools, as OpenAI messages. Pure.

A function call becomes `tool_calls` with IDs `call_1`, `call_2`, … in order; an observation
becomes a `tool` message that answers the oldest call without an answer.
"""

import json
from collections.abc import Mapping, Sequence

from backends.base import Json
from controller.data.example import Example, Message
from controller.data.messages import needs, parsed_text, tools_of
from controller.data.unusable import Unusable

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
"""Who speaks in the data sets found in the wild, and what OpenAI calls it; `call` is ours."""


def from_sharegpt(row: Mapping[str, Json]) -> Example:
    """Return the example of a row with `conversations`.

    Raises:
        Unusable: The row is not one.
    """
    needs(row, "conversations")
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise Unusable(
            "`conversations` is not an array",
            'Write {"conversations": [{"from": "human", "value": "..."}, ...]}',
        )
    return Example(messages_of(turns, row.get("system")), tools_of(row))


def messages_of(turns: Sequence[Json], system: Json = None) -> list[Message]:
    """Return turns, and the system prompt beside them, as OpenAI messages.

    Raises:
        Unusable: A turn is not one.
    """
    messages: list[Message] = []
    if system is not None and system != "":
        messages.append({"role": "system", "content": system})
    calls, open_calls = 0, list[str]()
    for turn in turns:
        role, value, weight = _turn(turn)
        message: Message = {"role": role, "content": value}
        if role == "call":
            made = _calls(value, calls)
            calls += len(made)
            open_calls += [f"call_{calls - len(made) + number + 1}" for number in range(len(made))]
            message = {"role": "assistant", "content": None, "tool_calls": made}
        elif role == "tool":
            if not open_calls:
                raise Unusable(
                    "an observation that answers no function call",
                    "Put the function_call before its observation.",
                )
            message["tool_call_id"] = open_calls.pop(0)
        if weight is not None:
            message["weight"] = weight
        messages.append(message)
    return messages


def _turn(turn: Json) -> tuple[str, Json, Json]:
    if isinstance(turn, dict):
        speaker = turn.get("from", turn.get("role"))
        value = turn.get("value", turn.get("content"))
        if isinstance(speaker, str):
            # An unknown speaker goes on: the check of roles names it.
            return ROLES.get(speaker, speaker), value, turn.get("weight")
    raise Unusable("a turn is not recognised", 'Write {"from": "human", "value": "..."}')


def _calls(value: Json, before: int) -> list[Json]:
    parsed = parsed_text(value, "a function call") if isinstance(value, str) else value
    many = parsed if isinstance(parsed, list) else [parsed]
    return [_call(call, before + number) for number, call in enumerate(many, start=1)]


def _call(call: Json, number: int) -> Json:
    if not isinstance(call, dict) or not isinstance(name := call.get("name"), str):
        raise Unusable(
            "a function call has no name",
            'Write {"name": "search", "arguments": {"query": "..."}}',
        )
    arguments = call.get("arguments", call.get("parameters", {}))
    # The order of the arguments is the author's: the model learns to write them so.
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": text},
    }
