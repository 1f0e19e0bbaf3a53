"""Preference pairs: a conversation, the preferred answer and the rejected answer. Pure.

Recognised by their keys: OpenAI's (`input`, `preferred_output`, `non_preferred_output`); `prompt`,
`chosen` and `rejected`, each a text or messages; whole conversations in `chosen` and `rejected`
with the same beginning, with or without a separate `prompt`; dialogues as one text, with `Human:`
and `Assistant:`; LLaMA-Factory's ShareGPT `conversations` with the turns `chosen` and `rejected`.
"""

import re
from typing import NamedTuple

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.examples.example import Example, Message
from controller.data.examples.openai_messages import (
    BESIDE,
    messages_from,
    messages_in,
    options_of,
    require_keys,
    tools_of,
    with_system_of,
)
from controller.data.examples.sharegpt import conversations_of, messages_of, unread_of
from controller.data.examples.tool_calls import in_openai_form
from controller.data.examples.unused_keys import Reading, keys_beside
from controller.data.lookup import Row
from controller.data.recipes import FIRST

_KEYS = ("prompt", "chosen", "rejected")
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}


class _Prompt(NamedTuple):
    """Source of the tools, the system prompt and the options of a pair."""

    row: Row
    """The row, or its `input`."""
    read: tuple[str, ...]
    """Keys of `row` from which the conversation is read."""
    within: str = ""
    """Prefix of key names in messages."""


def from_preference(row: Row, reading: Reading) -> Example:
    """Return the example of a preference pair."""
    if "input" in row and "preferred_output" in row:
        return _from_openai(row, reading)
    if "conversations" in row:
        return _from_sharegpt(row, reading)
    if (
        "prompt" not in row
        and _is_dialogue(row.get("chosen"))
        and _is_dialogue(row.get("rejected"))
    ):
        row = {**row, "chosen": _dialogue(row["chosen"]), "rejected": _dialogue(row["rejected"])}
    if "prompt" not in row and _is_turns(row.get("chosen"), reading):
        return _from_whole(row, [], reading)
    require_keys(row, "prompt", "chosen", "rejected")
    if reading.recipe > FIRST and _is_open_dialogue(row["prompt"]):
        row = {**row, "prompt": _dialogue(row["prompt"])[:-1]}
    prompt = messages_from(row, "prompt", "user", reading)
    chosen = messages_from(row, "chosen", "assistant", reading)
    if len(chosen) > 1:
        return _from_whole(row, prompt, reading)
    return _pair(
        _Prompt(row, _KEYS),
        prompt,
        _only(chosen, "chosen"),
        _only(messages_from(row, "rejected", "assistant", reading), "rejected"),
        reading,
    )


def _from_openai(row: Row, reading: Reading) -> Example:
    require_keys(row, "input", "preferred_output", "non_preferred_output")
    source = row["input"]
    if not isinstance(source, dict):
        raise DataError("`input` is not an object", 'Write {"input": {"messages": [...]}}')
    example = _pair(
        _Prompt(source, ("messages",), "input."),
        messages_from(source, "messages", "user", reading),
        _only(messages_from(row, "preferred_output", "assistant", reading), "preferred_output"),
        _only(
            messages_from(row, "non_preferred_output", "assistant", reading), "non_preferred_output"
        ),
        reading,
    )
    read = ("input", "preferred_output", "non_preferred_output")
    return example._replace(unread=(*keys_beside(row, frozenset(read), reading), *example.unread))


def _from_sharegpt(row: Row, reading: Reading) -> Example:
    require_keys(row, "conversations", "chosen", "rejected")
    turns, answers = conversations_of(row), [row["chosen"], row["rejected"]]
    system = row.get("system") if reading.recipe == FIRST else None
    example = _pair(
        _Prompt(row, ("conversations", "chosen", "rejected")),
        messages_of(turns, reading, system),
        _only(messages_of([row["chosen"]], reading), "chosen"),
        _only(messages_of([row["rejected"]], reading), "rejected"),
        reading,
    )
    unread = (*unread_of(turns, "conversations"), *unread_of(answers, "chosen, rejected"))
    return example._replace(unread=(*example.unread, *unread))


def _from_whole(row: Row, prompt: list[Message], reading: Reading) -> Example:
    require_keys(row, "chosen", "rejected")
    chosen = messages_from(row, "chosen", "assistant", reading)
    rejected = messages_from(row, "rejected", "assistant", reading)
    if not chosen or chosen[:-1] != rejected[:-1]:
        raise DataError(
            "`chosen` and `rejected` differ in more than the last turn",
            'Put what they share in "prompt": [...]',
        )
    shared = chosen[:-1]
    if prompt and prompt not in (shared[: len(prompt)], shared[-len(prompt) :]):
        raise DataError(
            "`chosen` is a whole conversation, and does not begin with the `prompt`",
            'Put what both share in "prompt": [...], and the answers alone into the other two.',
        )
    return _pair(
        _Prompt(row, _KEYS),
        shared,
        _only(chosen[-1:], "chosen"),
        _only(rejected[-1:], "rejected"),
        reading,
    )


def _pair(
    prompt: _Prompt,
    before: list[Message],
    preferred: Message,
    rejected: Message,
    reading: Reading,
) -> Example:
    """Return an example from the parts of a pair."""
    messages = [*before, preferred]
    if reading.recipe > FIRST:
        messages = with_system_of(prompt.row, messages, reading)
        rejected = in_openai_form([*messages[:-1], rejected])[-1]
        messages = in_openai_form(messages)
    return Example(
        messages,
        tools_of(prompt.row, reading),
        rejected=rejected,
        options=options_of(prompt.row, reading),
        unread=keys_beside(prompt.row, BESIDE.union(prompt.read), reading, prompt.within),
    )


def _only(turns: list[Message], key: str) -> Message:
    if len(turns) != 1 or turns[0].get("role") != "assistant":
        raise DataError(f"`{key}` is not one assistant turn", "Write one answer.")
    return turns[0]


def _is_turns(value: Json, reading: Reading) -> bool:
    if isinstance(value, str) and reading.recipe > FIRST:
        value = messages_in(value)
    return isinstance(value, list)


def _is_dialogue(value: Json) -> bool:
    """Return True if a text is a dialogue that a human begins and the assistant ends."""
    if not isinstance(value, str) or not value.lstrip().startswith("Human:"):
        return False
    return "\n\nAssistant:" in value


def _is_open_dialogue(value: Json) -> bool:
    return _is_dialogue(value) and str(value).rstrip().endswith("\n\nAssistant:")


def _dialogue(value: Json) -> list[Json]:
    """Return the turns of a dialogue that is one text."""
    pieces = _SPEAKER.split(str(value).strip())
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    return [{"role": _SPEAKERS[speaker], "content": text.strip()} for speaker, text in pairs]
