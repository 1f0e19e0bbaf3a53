"""Turn a row into an example. One function per shape; recognised by its keys. Pure.

Conversations: OpenAI chat, prompt and completion, Alpaca, declared columns; ShareGPT is in
`sharegpt`, pairs are in `preference`. What a person wrote passes through: keys of a message that
are not known here stay, null ones go. Prompts for `method: reinforcement` are messages with
whatever the grader reads beside them; texts for `method: continued-pretraining` have a `text`.

Another shape is another function here, named in `_SHAPES`.
"""

import json
from collections.abc import Callable, Mapping
from typing import TypeAlias

from backends.base import Json
from controller.data.example import Example, Message
from controller.data.messages import message_of, needs, tools_of, turns_of
from controller.data.nearest import did_you_mean, listing
from controller.data.preference import from_preference
from controller.data.recipes import Recipe
from controller.data.sharegpt import from_sharegpt
from controller.data.unusable import Unusable
from controller.spec.data import Columns, Shape

Row: TypeAlias = Mapping[str, Json]
Convert: TypeAlias = Callable[[Row], Example]


def converter(
    columns: Columns | None,
    shape: Shape | None,
    method: str = "supervised",
    recipe: Recipe | None = None,
) -> Convert:
    """Return the function that makes an example of a row of this source.

    It raises `Unusable` for a row that does not have the shape.

    Raises:
        Unusable: Shape or columns are not for this method.
    """
    del recipe
    if columns is not None:
        return _by_columns(columns, method)
    if shape is not None:
        if shape not in _OF_METHOD[method]:
            raise Unusable(
                f"`{shape}` is not for `method: {method}`",
                f"Write one of: {', '.join(_OF_METHOD[method])}",
                field="shape",
            )
        return _SHAPES[shape]
    return _recognised if method == "supervised" else _SHAPES[_OF_METHOD[method][0]]


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
    if row.keys() <= _OF_TEXTS:
        raise Unusable(
            "a text without question and answer, which supervised training cannot use",
            "Set `method: continued-pretraining`.",
            field="path",
        )
    raise Unusable(
        f"what to learn is not recognised; the columns are: {listing(row)}",
        "Say which hold question and answer: columns: {user: ..., assistant: ...}",
        field="columns",
    )


def _by_columns(columns: Columns, method: str) -> Convert:
    system, user = columns.system, columns.user
    answers = [
        (part, name)
        for part in ("assistant", "chosen", "rejected", "text")
        if (name := getattr(columns, part)) is not None
    ]
    if (fitting := _COLUMNS_OF_METHOD.get(method)) != [part for part, _ in answers]:
        raise Unusable(
            f"{' and '.join(part for part, _ in answers)} are not the columns of {method}",
            f"Name: {', '.join(['user', *fitting])}" if fitting else "Remove `columns`.",
            field="columns",
        )
    if method == "continued-pretraining":
        part, name = answers[0]
        return lambda row: Example([], text=_cell(row, name, part))

    def from_columns(row: Row) -> Example:
        messages: list[Message] = [{"role": "user", "content": _cell(row, str(user), "user")}]
        # An empty cell of the system column is an example without a system prompt.
        if system is not None and (prompt := _cell(row, system, "system")):
            messages.insert(0, {"role": "system", "content": prompt})
        said: list[Message] = [
            {"role": "assistant", "content": _cell(row, name, part)} for part, name in answers
        ]
        return Example([*messages, said[0]], rejected=said[1] if said[1:] else None)

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
    tools = tools_of(row) if "tools" in row else None
    return Example([message_of(message) for message in messages], tools)


def _from_graded(row: Row) -> Example:
    example = _from_chat(row)
    rest = {key: value for key, value in row.items() if key not in {"messages", "tools"}}
    return Example(example.messages, example.tools, graded=rest)


def _from_prompt(row: Row) -> Example:
    needs(row, "prompt", "completion")
    messages = [*turns_of(row, "prompt", "user"), *turns_of(row, "completion", "assistant")]
    return Example(messages, tools_of(row))


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


def _from_text(row: Row) -> Example:
    needs(row, "text")
    text = row["text"]
    if not isinstance(text, str):
        raise Unusable("`text` is not text", 'Write {"text": "..."}')
    return Example([], text=text)


_OF_TEXTS = frozenset({"text", "title", "url", "id", "source", "meta"})
"""Keys of a row that can be nothing but a text."""
_OF_METHOD: dict[str, tuple[Shape, ...]] = {
    "supervised": ("chat", "prompt-completion", "alpaca", "sharegpt"),
    "dpo": ("preference",),
    "reinforcement": ("graded",),
    "continued-pretraining": ("text",),
}
_COLUMNS_OF_METHOD = {
    "supervised": ["assistant"],
    "dpo": ["chosen", "rejected"],
    "continued-pretraining": ["text"],
}
_SHAPES: dict[Shape, Convert] = {
    "chat": _from_chat,
    "prompt-completion": _from_prompt,
    "alpaca": _from_alpaca,
    "sharegpt": from_sharegpt,
    "preference": from_preference,
    "graded": _from_graded,
    "text": _from_text,
}
