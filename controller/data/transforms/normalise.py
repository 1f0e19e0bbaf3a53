r"""Steps that change texts of an example: normalise, collapse whitespace, remove end marks. Pure.

Normalisation always runs, so that equal texts have equal bytes: Unicode NFC, `\n` for every line
end, U+FFFD for half of a surrogate pair. Blanks and line ends around a message stay, since a model
learns them too; `collapse_whitespace` removes them.

A new step is a new function from example to example, named in `pipeline.example_steps`. Raise
VERSION with every change to the output of this package, and see `recipes`.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

from msgspec.json import Encoder

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.examples.example import ROLE_AND_CONTENT, Example, Message, map_texts
from controller.data.recipes import NEWEST

VERSION = 5
"""Version of everything that decides the canonical bytes; part of the cache's key."""

_encode = Encoder().encode
_BLANKS = re.compile(r"[^\S\n]+")
_BLANKS_AT_LINE_END = re.compile(r" ?\n ?")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile(r"\r\n?")


def normalise(example: Example) -> Example:
    """Return the example with every text normalised; the same object if all texts already are."""
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

    Line ends are removed around a message and stay within it, since they separate paragraphs and
    items. Tool calls and definitions stay unchanged.
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


def normal_text(text: str) -> str:
    r"""Return a text in Unicode NFC with `\n` for every line end; the same object if it is."""
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
    """Return a text with one blank for each run of blanks, and none at the ends of a line."""
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
    """Return True if no text of a value needs normalisation; its JSON is checked as a whole."""
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
                "an object has two keys that are equal in Unicode NFC", "Rename one of them."
            )
        return normal
    if isinstance(value, list):
        return [_deep(item) for item in value]
    return value
