"""Turn a row into an example. One function per shape; recognised by its keys. Pure.

OpenAI chat, prompt and completion, Alpaca, declared columns; ShareGPT is in `sharegpt`. What a
person wrote passes through: keys of a message that are not known here stay, null ones go.

Preference pairs (`method: dpo`) come in OpenAI's form or as prompt, chosen and rejected; prompts for
`method: reinforcement` as messages with whatever the grader reads beside them.

Another shape (plain text) is another function here, named in `_SHAPES`.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias

from backends.base import Json
from controller.data.example import Example, Message
from controller.data.nearest import did_you_mean, listing
from controller.data.sharegpt import from_sharegpt, needs, tools_of
from controller.data.unusable import Unusable
from controller.spec.data import Columns

Row: TypeAlias = Mapping[str, Json]
Convert: TypeAlias = Callable[[Row], Example]


def converter(columns: Columns | None, shape: str | None, method: str = "supervised") -> Convert:
    """Return the function that makes an example of a row of this source.

    It raises `Unusable` for a row that does not have the shape.
    """
    if method in _METHODS:
        return _METHODS[method]
    if columns is not None:
        return _by_columns(columns)
    if shape is not None:
        return _SHAPES[shape]
    return _recognised


def _recognised(row: Row) -> Example:
    # In order of how surely the keys name the shape.
    if "messages" in row:
        return _from_chat(row)
    if "chosen" in row and "rejected" in row:
        raise Unusable(
            "a preference pair (chosen, rejected), which supervised training cannot use",
            "Set `method: dpo`, or write the chosen answer as the last assistant turn.",
            field="path",
        )
    if "conversations" in row:
        return from_sharegpt(row)
    if "prompt" in row and "completion" in row:
        return _from_prompt(row)
    if "instruction" in row and "output" in row:
        return _from_alpaca(row)
    raise Unusable(
        f"what to learn is not recognised; the columns are: {listing(row)}",
        "Say which hold question and answer: columns: {user: ..., assistant: ...}",
        field="columns",
    )


def _by_columns(columns: Columns) -> Convert:
    system, user, assistant = columns.system, columns.user, columns.assistant

    def from_columns(row: Row) -> Example:
        messages: list[Message] = [
            {"role": "user", "content": _cell(row, user, "user")},
            {"role": "assistant", "content": _cell(row, assistant, "assistant")},
        ]
        # An empty cell of the system column is an example without a system prompt.
        if system is not None and (prompt := _cell(row, system, "system")):
            messages.insert(0, {"role": "system", "content": prompt})
        return Example(messages)

    return from_columns


def _cell(row: Row, name: str, part: str) -> str:
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        if name in row:
            return ""
        raise Unusable(
            f"there is no column {name!r}",
            f"{did_you_mean(name, row)}The columns are: {listing(row)}",
            field=f"columns.{part}",
        )
    if isinstance(value, int | float):
        # As a table would spell it, so that a label 1 is the same example from CSV and from JSON.
        return json.dumps(value)
    raise Unusable(f"{name!r} holds no text", "Name a key whose value is text or a number.")


def _from_chat(row: Row) -> Example:
    needs(row, "messages")
    messages = row["messages"]
    if not isinstance(messages, list):
        raise Unusable("`messages` is not an array", 'Write {"messages": [{"role": ...}, ...]}')
    return Example([_message(message) for message in messages], tools_of(row))


def _message(written: Json) -> Message:
    if not isinstance(written, dict):
        raise Unusable("a message is not an object", 'Write {"role": "user", "content": "..."}')
    if len(written) == 2 and type(written.get("content")) is str and "role" in written:  # noqa: PLR2004
        return written
    message = {key: value for key, value in written.items() if value is not None}
    message.setdefault("content", None)
    if not message.get("tool_calls", True):
        del message["tool_calls"]
    return message


def _from_preference(row: Row) -> Example:
    if "input" in row:
        needs(row, "input", "preferred_output", "non_preferred_output")
        asked = row["input"]
        if not isinstance(asked, dict):
            raise Unusable("`input` is not an object", 'Write {"input": {"messages": [...]}}')
        before, tools = _turns(asked, "messages", "user"), tools_of(asked)
        names = ("preferred_output", "non_preferred_output")
    else:
        needs(row, "prompt", "chosen", "rejected")
        before, tools = _turns(row, "prompt", "user"), tools_of(row)
        names = ("chosen", "rejected")
    preferred, rejected = (_only_turn(row, name) for name in names)
    return Example([*before, preferred], tools, rejected=rejected)


def _only_turn(row: Row, key: str) -> Message:
    turns = _turns(row, key, "assistant")
    if len(turns) != 1 or turns[0].get("role") != "assistant":
        raise Unusable(f"`{key}` is not one assistant turn", "Write one answer.")
    return turns[0]


def _from_graded(row: Row) -> Example:
    example = _from_chat(row)
    rest = {key: value for key, value in row.items() if key not in {"messages", "tools"}}
    return Example(example.messages, example.tools, graded=rest)


def _from_prompt(row: Row) -> Example:
    needs(row, "prompt", "completion")
    messages = [*_turns(row, "prompt", "user"), *_turns(row, "completion", "assistant")]
    return Example(messages, tools_of(row))


def _turns(row: Row, key: str, role: str) -> list[Message]:
    value = row.get(key)
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return [_message(message) for message in value]
    raise Unusable(f"`{key}` is neither text nor messages", f'Write {{"{key}": "..."}}')


def _from_alpaca(row: Row) -> Example:
    needs(row, "instruction", "output")
    messages: list[Message] = []
    if system := _text(row, "system"):
        messages.append({"role": "system", "content": system})
    history = row.get("history") or []
    if not isinstance(history, list):
        raise Unusable("`history` is not an array", 'Write [["question", "answer"], ...]')
    for pair in history:
        match pair:
            case [str(question), str(answer)]:
                messages.append({"role": "user", "content": question})
                messages.append({"role": "assistant", "content": answer})
            case _:
                raise Unusable(
                    "`history` holds something else than pairs",
                    'Write [["question", "answer"], ...]',
                )
    question = "\n".join(part for key in ("instruction", "input") if (part := _text(row, key)))
    messages.append({"role": "user", "content": question})
    messages.append({"role": "assistant", "content": _text(row, "output")})
    return Example(messages)


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise Unusable(f"`{key}` is not text", f'Write {{"{key}": "..."}}')


_METHODS: dict[str, Convert] = {
    "dpo": _from_preference,
    "reinforcement": _from_graded,
}
_SHAPES: dict[str, Convert] = {
    "chat": _from_chat,
    "prompt-completion": _from_prompt,
    "alpaca": _from_alpaca,
    "sharegpt": from_sharegpt,
}
