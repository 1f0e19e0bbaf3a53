r"""Steps for every example before use: normalise, collapse blanks, check. Pure.

Normalisation always runs, so that equal texts have equal bytes: Unicode NFC, `\n` for every line
end, U+FFFD for half of a surrogate pair. Blanks and line ends around a message stay, since a model
learns them too; `collapse_whitespace` removes them.

A new step is a new function from example to example, called in `prepare_rows` with the others.
Raise VERSION with every change to the output of this package, and see `recipes`.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

from msgspec.json import Encoder

from backends.contract.inspector import Json
from controller.data.errors import DataError, EmptyExample
from controller.data.examples.example import ROLE_AND_CONTENT, Example, Message, map_texts
from controller.data.examples.validate_calls import check_form
from controller.data.recipes import NEWEST
from controller.data.suggestions import quote

VERSION = 5
"""Of everything that decides the canonical bytes; part of the cache's key."""

ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

_encode = Encoder().encode
_BLANKS = re.compile(r"[^\S\n]+")
_BLANKS_AT_LINE_END = re.compile(r" ?\n ?")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?")


def normalise(example: Example) -> Example:
    """Return the example with every text of it normalised; the same object when it was."""
    messages = _each(example.messages, _normal_message)
    tools = None if example.tools is None else _normal_json(example.tools)
    new = example
    if example.text is not None and (text := normal_text(example.text)) is not example.text:
        return example._replace(text=text)
    if messages is not example.messages or tools is not example.tools:
        new = new._replace(messages=messages, tools=tools if isinstance(tools, list) else None)
    return new if example.is_plain else _normal_rest(new)


def collapse_whitespace(example: Example, recipe: int = NEWEST) -> Example:
    """Return the example with one blank for each run of blanks, and none at the ends of a line.

    The ends of a message are stripped of line ends too; those within it stay, since they part
    paragraphs and items. Tool calls and definitions are left alone.
    """
    return map_texts(example, collapsed_text, recipe)


def without_end(marks: Sequence[str]) -> Callable[[str], str]:
    """Return a function that removes end marks from a text, including repeated marks."""
    normal = tuple(normal_text(mark) for mark in marks)

    def strip(text: str) -> str:
        while mark := next((mark for mark in normal if mark and text.endswith(mark)), ""):
            text = text[: -len(mark)]
        return text

    return strip


def with_system(example: Example, system: str) -> Example:
    """Return the example with a system prompt, unless it has one or is a plain text."""
    if example.text is not None or any(
        message.get("role") in ("system", "developer") for message in example.messages
    ):
        return example
    return example._replace(messages=[{"role": "system", "content": system}, *example.messages])


def check(example: Example) -> None:
    """Check that a model can learn from an example.

    Raises:
        EmptyExample: Its question, an answer or its text is empty.
        DataError: It cannot for another reason; the message says why.
    """
    if example.text is not None:
        if _is_blank(example.text):
            raise EmptyExample("the text is empty", "Write it, or delete this row.")
        return
    if example.rejected is not None:
        if type(example.rejected["content"]) is not str:
            _check_content(example.rejected["content"], "assistant")
        _check_answer(example.rejected)
    asked, answered, role = _check_turns(example.messages)
    if example.graded is not None:
        _check_prompt(role, asked=asked)
        return
    if not answered:
        raise DataError(
            "there is no assistant turn to learn from",
            "Add the answer as a turn with the role assistant, or delete this row.",
        )
    if role != "assistant":
        raise DataError(
            f"the last turn is the {role}'s, and an answer is missing after it",
            "Add the answer, or delete the turns after the last one.",
        )


def _check_turns(messages: list[Message]) -> tuple[bool, bool, Json]:
    """Check each turn; say whether anything is asked and answered, and whose turn is the last."""
    asked = answered = empty = greeted = False
    role: Json = None
    for message in messages:
        role = message.get("role")
        content = message["content"]
        if type(role) is not str or role not in ROLES:
            raise DataError(
                f"{quote(role)} is not a role" if role is not None else "a message has no role",
                f"Use one of: {', '.join(sorted(ROLES))}.",
            )
        if type(content) is not str:
            _check_content(content, role)
        if role == "assistant":
            if not asked and (empty or greeted or "tool_calls" in message):
                raise _unasked(empty=empty)
            answered = _check_answer(message) or answered
            # An answer that opens the conversation is a greeting; a question has to follow.
            greeted = greeted or not asked
        elif role != "tool":
            empty = _is_blank(content)
            asked = asked or not empty
    if greeted and not asked:
        raise _unasked(empty=empty)
    return asked, answered, role


def _check_prompt(last_role: Json, *, asked: bool) -> None:
    if not asked or last_role not in {"user", "developer", "system"}:
        raise DataError(
            "the conversation does not end with a question",
            "End with a user turn: for reinforcement the model answers itself.",
        )


def normal_text(text: str) -> str:
    r"""Return a text in Unicode NFC with `\n` for every line end; the same object when it was."""
    if "\r" in text:
        text = _LINE_ENDS.sub("\n", text)
    if text.isascii():
        return text
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    # Encoding finds a lone surrogate many times faster than a search does.
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def collapsed_text(text: str) -> str:
    """Return a text with one blank for each run of them, and none at the ends of a line."""
    return _BLANKS_AT_LINE_END.sub("\n", _BLANKS.sub(" ", text)).strip()


def _each(messages: list[Message], change: Callable[[Message], Message]) -> list[Message]:
    changed = messages
    for index, message in enumerate(messages):
        new = change(message)
        if new is not message:
            if changed is messages:
                changed = messages.copy()
            changed[index] = new
    return changed


def _normal_rest(example: Example) -> Example:
    rejected = example.rejected and _normal_message(example.rejected)
    graded = None if example.graded is None else _normal_json(example.graded)
    if rejected is example.rejected and graded is example.graded:
        return example
    return example._replace(rejected=rejected, graded=graded if isinstance(graded, dict) else None)


def _normal_message(message: Message) -> Message:
    content = message["content"]
    if len(message) == ROLE_AND_CONTENT and type(content) is str:
        normal = normal_text(content)
        return message if normal is content else {**message, "content": normal}
    new = _normal_json(message)
    return new if isinstance(new, dict) else message


def _normal_json(value: Json) -> Json:
    """Return a value with all of its texts normalised; the same object if they already are."""
    if _is_normal(value):
        return value
    new = _deep(value)
    return value if new == value else new


def _is_normal(value: Json) -> bool:
    """Return True if no text of a value needs normalisation; checks its JSON at once."""
    try:
        text = _encode(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        # Half of a surrogate pair, among other errors.
        return False
    if b"\\r" in text:
        return False
    # Every part of a text in NFC is in NFC.
    return text.isascii() or unicodedata.is_normalized("NFC", text.decode())


def _deep(value: Json) -> Json:
    if isinstance(value, str):
        return normal_text(value)
    if isinstance(value, dict):
        normal = {normal_text(key): _deep(item) for key, item in value.items()}
        if len(normal) < len(value):
            raise DataError(
                "an object has two keys that are the same once they are spelt in Unicode NFC",
                "Rename one of them.",
            )
        return normal
    if isinstance(value, list):
        return [_deep(item) for item in value]
    return value


def is_opened_by_assistant(messages: list[Message]) -> bool:
    """Return True if the assistant speaks first, so that it learns to greet without a question."""
    return bool(messages) and messages[0].get("role") == "assistant"


def _unasked(*, empty: bool) -> DataError:
    if empty:
        return EmptyExample("the question is empty", "Write the question, or delete this row.")
    return DataError("the answer comes before any question", "Put a user turn first.")


def _check_content(content: Json, role: str) -> None:
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    ):
        return
    if content is None and role == "assistant":
        return
    if content is None:
        raise DataError(f"the {role}'s message has no content", 'Add "content": "..."')
    raise DataError(
        f"the content of the {role}'s message is neither text nor parts",
        'Write "content": "..." or "content": [{"type": "text", "text": "..."}]',
    )


def _check_answer(message: Message) -> bool:
    """Say whether this answer is learned from."""
    content = message["content"]
    if _is_blank(content) and "tool_calls" not in message and not message.get("refusal"):
        raise EmptyExample(
            "an answer is empty", "Write the answer of that assistant turn, or delete this row."
        )
    if "tool_calls" in message:
        check_form(message["tool_calls"])
    weight = message.get("weight", 1)
    if weight not in (0, 1) or isinstance(weight, bool):
        raise DataError(f"a weight is {quote(weight)}", "Write 0 or 1.")
    return weight == 1


def _is_blank(content: Json) -> bool:
    return not content or (isinstance(content, str) and content.isspace())
