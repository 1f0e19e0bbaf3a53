"""Preference pairs: a conversation, the answer that is preferred and one that is not. Pure.

Four forms are told apart by their keys: OpenAI's (`input`, `preferred_output`,
`non_preferred_output`); `prompt`, `chosen` and `rejected`, each a text or messages; whole
conversations in `chosen` and `rejected` that begin alike; LLaMA-Factory's ShareGPT
`conversations` with the turns `chosen` and `rejected`.
"""

from collections.abc import Mapping

from backends.base import Json
from controller.data.example import Example, Message
from controller.data.messages import needs, tools_of, turns_of
from controller.data.sharegpt import messages_of
from controller.data.unusable import Unusable

Row = Mapping[str, Json]


def from_preference(row: Row) -> Example:
    """Return the example of a preference pair.

    Raises:
        Unusable: The row is not one.
    """
    if "input" in row and "preferred_output" in row:
        return _from_openai(row)
    if "conversations" in row:
        return _from_sharegpt(row)
    if "prompt" not in row and isinstance(row.get("chosen"), list):
        return _from_whole(row)
    needs(row, "prompt", "chosen", "rejected")
    return _pair(
        turns_of(row, "prompt", "user"),
        _only(turns_of(row, "chosen", "assistant"), "chosen"),
        _only(turns_of(row, "rejected", "assistant"), "rejected"),
        tools_of(row),
    )


def _from_openai(row: Row) -> Example:
    needs(row, "input", "preferred_output", "non_preferred_output")
    asked = row["input"]
    if not isinstance(asked, dict):
        raise Unusable("`input` is not an object", 'Write {"input": {"messages": [...]}}')
    return _pair(
        turns_of(asked, "messages", "user"),
        _only(turns_of(row, "preferred_output", "assistant"), "preferred_output"),
        _only(turns_of(row, "non_preferred_output", "assistant"), "non_preferred_output"),
        tools_of(asked),
    )


def _from_sharegpt(row: Row) -> Example:
    needs(row, "conversations", "chosen", "rejected")
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise Unusable("`conversations` is not an array", 'Write [{"from": "human", ...}]')
    return _pair(
        messages_of(turns, row.get("system")),
        _only(messages_of([row["chosen"]]), "chosen"),
        _only(messages_of([row["rejected"]]), "rejected"),
        tools_of(row),
    )


def _from_whole(row: Row) -> Example:
    needs(row, "chosen", "rejected")
    chosen = turns_of(row, "chosen", "assistant")
    rejected = turns_of(row, "rejected", "assistant")
    if not chosen or chosen[:-1] != rejected[:-1]:
        raise Unusable(
            "`chosen` and `rejected` differ in more than the last turn",
            'Put what they share in "prompt": [...]',
        )
    return _pair(
        chosen[:-1],
        _only(chosen[-1:], "chosen"),
        _only(rejected[-1:], "rejected"),
        tools_of(row),
    )


def _pair(
    before: list[Message], preferred: Message, rejected: Message, tools: list[Json] | None
) -> Example:
    return Example([*before, preferred], tools, rejected=rejected)


def _only(turns: list[Message], key: str) -> Message:
    if len(turns) != 1 or turns[0].get("role") != "assistant":
        raise Unusable(f"`{key}` is not one assistant turn", "Write one answer.")
    return turns[0]
