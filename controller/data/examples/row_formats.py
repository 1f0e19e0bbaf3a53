"""Turn a row into an example. One function per shape; recognised by its keys. Pure.

Conversations: OpenAI chat, prompt and completion, Alpaca, declared columns; ShareGPT is in
`sharegpt`, pairs are in `preference`. Unknown keys of a message stay, unless they are null. Prompts
for `method: reinforcement` are messages, with the keys for the grader next to them. Single answers
for `method: kto` are conversations with a mark, whose names are in `marked`. Texts for `method:
continued-pretraining` have a `text`.

A new shape is a new function here, named in `_SHAPES`. Each function returns the keys of the row
that it did not read; `beside` refuses keys that change the meaning.
"""

import json
from collections.abc import Callable
from typing import TypeAlias

from backends.contract.inspector import Json
from backends.contract.methods import METHODS, SUPERVISED
from controller.data.errors import DataError
from controller.data.examples.column_proposal import proposed_columns
from controller.data.examples.example import Example, Message
from controller.data.examples.marked import is_good, mark_key
from controller.data.examples.openai_messages import (
    BESIDE,
    message_of,
    messages_from,
    options_of,
    parsed_list,
    require_keys,
    tools_of,
    with_system_of,
)
from controller.data.examples.preference import from_preference
from controller.data.examples.sharegpt import from_sharegpt
from controller.data.examples.tool_calls import as_json_text, in_openai_form
from controller.data.examples.unused_keys import Reading, keys_beside, named, names_beside
from controller.data.lookup import Row, find_value, join_values
from controller.data.recipes import FIRST, NEWEST
from controller.data.suggestions import choice, join_names, quote
from controller.spec.data import Columns, Shape, joined_columns

Convert: TypeAlias = Callable[[Row], Example]
FromRow: TypeAlias = Callable[[Row, Reading], Example]


def row_converter(
    columns: Columns | None,
    shape: Shape | None,
    method: str = SUPERVISED.name,
    recipe: int = NEWEST,
    ignored: frozenset[str] = frozenset(),
) -> Convert:
    """Return the function that makes an example from a row of this source.

    It raises `DataError` for a row that does not have the shape.

    Args:
        columns: Columns by their role, if the spec names them.
        shape: Layout of a row; None to recognise it from the keys.
        method: Training method of the spec.
        recipe: Version of what a row becomes.
        ignored: Keys to allow next to the shape's own, whatever their meaning.

    Raises:
        DataError: The shape or the columns do not fit this method.
    """
    reading = Reading(recipe, ignored)
    if columns is not None:
        return _by_columns(columns, method, reading)
    formats = METHODS[method].row_formats
    if shape is not None and shape not in formats:
        raise DataError(
            f"`{shape}` is not for `method: {method}`",
            f"Use one of: {', '.join(formats)}",
            field="shape",
        )
    recognises = shape is None and METHODS[method].recognises_rows
    from_row: FromRow = _recognised if recognises else _SHAPES[shape or formats[0]]
    return lambda row: from_row(row, reading)


def _recognised(row: Row, reading: Reading) -> Example:
    # In order of how certainly the keys identify the shape.
    if "messages" in row:
        return _from_chat(row, reading)
    if "chosen" in row and "rejected" in row:
        raise DataError(
            "a preference pair (chosen, rejected), which supervised training cannot use",
            "Set `method: dpo`, or write the chosen answer as the last assistant turn.",
            field="path",
        )
    if "conversations" in row:
        return from_sharegpt(row, reading)
    if "prompt" in row and "completion" in row:
        return _from_prompt(row, reading)
    if "instruction" in row and "output" in row:
        return _from_alpaca(row, reading)
    if row.keys() <= _TEXT_KEYS:
        raise DataError(
            "a text without question and answer, which supervised training cannot use",
            "Set `method: continued-pretraining`.",
            field="path",
        )
    raise DataError(
        f"question and answer are not recognised; the columns are: {join_names(row)}",
        f"Name the columns with question and answer: columns: {proposed_columns(row)}",
        field="columns",
    )


def _by_columns(columns: Columns, method: str, reading: Reading) -> Convert:
    system, user = columns.system, columns.user
    answers = [
        (part, name)
        for part in ("assistant", "chosen", "rejected", "text", "label")
        if (name := getattr(columns, part)) is not None
    ]
    if (fitting := METHODS[method].columns) != tuple(part for part, _ in answers):
        raise DataError(
            f"{' and '.join(part for part, _ in answers)} are not the columns of {method}",
            f"Name these: {', '.join(['user', *fitting])}." if fitting else "Remove `columns`.",
            field="columns",
        )
    if METHODS[method].is_of_texts:
        part, name = answers[0]
        alone = named(frozenset({name}), reading)
        return lambda row: Example([], text=_cell(row, name, part), unread=names_beside(row, alone))
    every = (system, user, *(name for _, name in answers))
    read = named(frozenset(name for name in every if name is not None), reading)

    (part, first), *others = answers

    def from_columns(row: Row) -> Example:
        messages: list[Message] = [{"role": "user", "content": _cell(row, str(user), "user")}]
        # An empty cell of the system column is an example without a system prompt.
        if system is not None and (prompt := _cell(row, system, "system")):
            messages.insert(0, {"role": "system", "content": prompt})
        messages.append({"role": "assistant", "content": _answer_cell(row, first, part)})
        rejected: Message | None = None
        label: bool | None = None
        for other, name in others:
            if other == "label":
                label = is_good(_mark_cell(row, name), name)
            else:
                rejected = {"role": "assistant", "content": _answer_cell(row, name, other)}
        return Example(messages, rejected=rejected, label=label, unread=names_beside(row, read))

    return from_columns


def _cell(row: Row, name: str, part: str) -> str:
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        found, value = find_value(row, name)
        if not found and joined_columns(name):
            return join_values(name, lambda column: _cell(row, column, part))
        if found:
            return "" if value is None else _text_of(value, name)
        raise DataError(
            f"there is no column {quote(name)}",
            choice(name, row),
            field=f"columns.{part}",
        )
    return _text_of(value, name)


def _text_of(value: Json, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        # As in a table, so that a label 1 gives the same example from CSV and from JSON.
        return json.dumps(value)
    raise DataError(f"{name!r} does not hold text", "Name a key whose value is text or a number.")


def _mark_cell(row: Row, name: str) -> Json:
    value = row.get(name)
    return value if isinstance(value, bool) else _cell(row, name, "label")


def _answer_cell(row: Row, name: str, part: str) -> str:
    """Return an answer as text: an object or array becomes JSON, as written."""
    value = row.get(name)
    if type(value) is str:
        return value
    return as_json_text(value) if isinstance(value, dict | list) else _cell(row, name, part)


def _from_chat(row: Row, reading: Reading) -> Example:
    return _conversation(row, _messages(row), _CHAT, reading)


def _conversation(
    row: Row, messages: list[Message], read: frozenset[str], reading: Reading
) -> Example:
    """Return messages with the tools, system prompt and options of their row."""
    if reading.recipe > FIRST:
        messages = in_openai_form(messages)
    if BESIDE.isdisjoint(row):
        # Fast path: most rows have none of these keys.
        return Example(messages, unread=keys_beside(row, read, reading))
    return Example(
        with_system_of(row, messages, reading),
        tools_of(row, reading),
        options=options_of(row, reading),
        unread=keys_beside(row, read, reading),
    )


def _messages(row: Row) -> list[Message]:
    require_keys(row, "messages")
    messages = parsed_list(row["messages"], "messages")
    if not isinstance(messages, list):
        raise DataError("`messages` is not an array", 'Write {"messages": [{"role": ...}, ...]}')
    return [message_of(message) for message in messages]


def _from_graded(row: Row, reading: Reading) -> Example:
    messages = _messages(row)
    if reading.recipe > FIRST:
        messages = in_openai_form(messages)
    rest = {key: value for key, value in row.items() if key not in {"messages", "tools"}}
    # All other keys are for the grader, under any name.
    return Example(messages, tools_of({"tools": row.get("tools")}, reading), graded=rest)


def _from_marked(row: Row, reading: Reading) -> Example:
    if "chosen" in row and "rejected" in row:
        raise DataError(
            "a preference pair (chosen, rejected), and kto reads single answers",
            "Set `method: dpo`, or write a row for each answer.",
            field="path",
        )
    key = mark_key(row)
    label = is_good(row[key], key)
    rest = {name: value for name, value in row.items() if name != key}
    if isinstance(rest.get("input"), dict) and "output" in rest:
        example = _from_input(rest, reading)
    else:
        try:
            example = _recognised(rest, reading)
        except DataError as error:
            if error.field != "columns":
                raise
            remedy = f"{error.remedy.removesuffix('}')}, label: {key}}}"
            raise DataError(error.message, remedy, field="columns") from None
    if not example.messages or example.messages[-1].get("role") != "assistant":
        raise DataError(
            "the conversation does not end with the answer that is marked",
            "End it with that answer, a turn of the assistant.",
        )
    return example._replace(label=label)


def _from_input(row: Row, reading: Reading) -> Example:
    """Return a conversation from the form that datasets are written in."""
    source = row["input"]
    answer = messages_from(row, "output", "assistant", reading)
    if not isinstance(source, dict) or len(answer) != 1:
        raise DataError("`output` is not one assistant turn", "Write one answer.")
    messages = [*messages_from(source, "messages", "user", reading), *answer]
    example = _conversation(source, messages, _CHAT, reading)
    beside = keys_beside(row, frozenset({"input", "output"}), reading)
    return example._replace(unread=(*beside, *example.unread))


def _from_prompt(row: Row, reading: Reading) -> Example:
    require_keys(row, "prompt", "completion")
    messages = [
        *messages_from(row, "prompt", "user", reading),
        *messages_from(row, "completion", "assistant", reading),
    ]
    return _conversation(row, messages, _PROMPT, reading)


def _from_alpaca(row: Row, reading: Reading) -> Example:
    require_keys(row, "instruction", "output")
    messages: list[Message] = []
    if reading.recipe == FIRST and (system := _text(row, "system")):
        messages.append({"role": "system", "content": system})
    history = parsed_list(row.get("history") or [], "history")
    if not isinstance(history, list):
        raise DataError("`history` is not an array", 'Write [["question", "answer"], ...]')
    for pair in history:
        match pair:
            case [str(question), str(answer)]:
                messages.append({"role": "user", "content": question})
                messages.append({"role": "assistant", "content": answer})
            case _:
                raise DataError(
                    "`history` holds values other than pairs",
                    'Write [["question", "answer"], ...]',
                )
    question = "\n".join(part for key in ("instruction", "input") if (part := _text(row, key)))
    messages.append({"role": "user", "content": question})
    output = row["output"]
    # An answer may be any JSON value; the model learns its text.
    is_text = output is None or isinstance(output, str)
    answer = _text(row, "output") if is_text else as_json_text(output)
    messages.append({"role": "assistant", "content": answer})
    example = _conversation(row, messages, _ALPACA, reading)
    return example if reading.recipe > FIRST else example._replace(tools=None)


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise DataError(f"`{key}` is not text", f'Write {{"{key}": "..."}}')


def _from_text(row: Row, reading: Reading) -> Example:
    require_keys(row, "text")
    text = row["text"]
    if not isinstance(text, str):
        raise DataError("`text` is not text", 'Write {"text": "..."}')
    return Example([], text=text, unread=names_beside(row, named(_TEXT, reading)))


_CHAT = BESIDE | {"messages"}
_PROMPT = BESIDE | {"prompt", "completion"}
_ALPACA = BESIDE | {"instruction", "input", "output", "history"}
_TEXT = frozenset({"text"})
_TEXT_KEYS = frozenset({"text", "title", "url", "id", "source", "meta"})
"""Keys of a row that can only be a text."""
_SHAPES: dict[str, FromRow] = {
    "chat": _from_chat,
    "prompt-completion": _from_prompt,
    "alpaca": _from_alpaca,
    "sharegpt": from_sharegpt,
    "preference": from_preference,
    "marked": _from_marked,
    "graded": _from_graded,
    "text": _from_text,
}
