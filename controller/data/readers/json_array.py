"""Read JSON: one array of objects, streamed, also if it is a value within an object.

Any other file has one object per line. Rows of an array have numbers, since all of them may be on
one line; errors in the JSON have their line.

`ijson` reads an array twice as fast, but reports no lines, refuses integers beyond 64 bits, and
reads half of a surrogate pair as `?`, which would change recorded datasets.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TextIO

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.lookup import find_value
from controller.data.readers import jsonl
from controller.data.readers.open_file import open_text
from controller.data.sources.source_file import CHUNK, NumberedRow, SourceFile
from controller.data.suggestions import choice, join_names, quote
from controller.spec.data import Columns

_TOKEN = 64
"""Longest JSON token that is not a string: an error nearer to the end may be a cut token."""

_NEAR = 20
"""Characters of the JSON text to show at an error."""

_BLANKS = re.compile(r"[ \t\n\r]*")

_KEYS_OF_ROWS = frozenset(
    {"messages", "conversations", "prompt", "completion", "chosen", "rejected", "instruction"}
    | {"output", "input", "preferred_output", "text"}
)
"""Keys of recognised row formats: an object with any of them is itself a row."""


class Item(NamedTuple):
    """A value of an array."""

    line: int
    """Line on which it begins."""
    row: dict[str, Json] | DataError


def read(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield the objects of an array, numbered; of any other file, one per line."""
    if file.label.is_indexed:
        for number, item in enumerate(items(file), start=1):
            yield number, item.row
        return
    rows = jsonl.read(file)
    first, second = next(rows, None), next(rows, None)
    if first is not None and (second is None or isinstance(first[1], DataError)):
        _refuse_object(file)
    yield from (row for row in (first, second) if row is not None)
    yield from rows


def items(file: SourceFile) -> Iterator[Item]:
    """Yield the objects of a file's array, each with the line it begins on."""
    with open_text(file) as text:
        window = _Window(text, file)
        try:
            if file.source.root is None:
                yield from _array(window)
            else:
                yield from _below(window, file.source.root, "", file.source.root)
            if window.peek():
                raise window.error("not valid JSON: text after the array", "Remove it.")
        except DataError as error:
            yield Item(window.line, error)


def _refuse_object(file: SourceFile) -> None:
    """Refuse a file that is one object with arrays of objects in it."""
    with open_text(file) as text:
        window = _Window(text, file)
        window.peek()
        try:
            value = window.value()
        except DataError:
            return
        if window.peek() or not isinstance(value, dict) or _is_row(value, file.source.columns):
            return
    roots = list(_roots(value))
    if roots:
        raise DataError(
            f"the file is one object; arrays of objects are in {join_names(map(quote, roots))}",
            f"Name the array that holds the rows: root: {roots[0]}",
            field="root",
            whole=True,
        )


def _is_row(value: Mapping[str, Json], columns: Columns | None) -> bool:
    if columns is None:
        return not value.keys().isdisjoint(_KEYS_OF_ROWS)
    return any(find_value(value, name)[0] for name in columns.names())


def _roots(value: dict[str, Json], above: str = "") -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield f"{above}{key}"
        elif isinstance(inner, dict) and not above:
            yield from _roots(inner, f"{key}.")


def _below(window: "_Window", root: str, above: str, whole: str) -> Iterator[Item]:
    """Yield the rows of the array at a path from the object here, and read to the object's end."""
    if window.peek() != "{":
        what = f"{quote(above.rstrip('.'))} is" if above else "the file is"
        raise window.error(
            f"{what} not an object with the key {quote(root)}", "Write another root."
        )
    window.skip()
    names: list[str] = []
    found = ""
    while window.peek() != "}":
        if names:
            window.take(",", "a comma or } is missing before this")
        window.peek()
        name = window.value()
        if not isinstance(name, str):
            raise window.error("not valid JSON: a key is not a text", "Correct it there.")
        names.append(name)
        window.take(":", "a colon is missing before this")
        rest = "" if name == root else root.removeprefix(f"{name}.")
        if rest == root or (rest and found == root):
            # A literal key with a dot takes precedence.
            window.peek()
            window.value()
        elif found:
            message = f"the key {quote(name)} leads to rows twice"
            raise window.error(message, "Rename one of them.")
        elif rest:
            found = name
            yield from _below(window, rest, f"{above}{name}.", whole)
        else:
            found = name
            if window.peek() != "[":
                message = f"{quote(whole)} is not an array"
                raise window.error(message, "Name the key of an array of objects.")
            yield from _array(window)
    window.skip()
    if not found:
        message = f"there is no key {quote(f'{above}{root}')}"
        raise DataError(message, choice(root, names), field="root", whole=True)


def _array(window: "_Window") -> Iterator[Item]:
    window.peek()
    window.skip()
    character = window.peek()
    while character != "]":
        line = window.line
        value = window.value()
        yield Item(line, value if isinstance(value, dict) else jsonl.not_an_object(value))
        character = window.peek()
        if character != "]":
            window.take(",", "a comma or ] is missing before this", "] is missing")
            window.peek()
    window.skip()


class _Window:
    """The part of a JSON text that is in memory, and the position in it."""

    def __init__(self, text: TextIO, file: SourceFile) -> None:
        self._file = text
        self._decode = jsonl.decoder().raw_decode
        self._source = file
        self._text = ""
        self._at = 0
        self.line = 1

    def peek(self) -> str:
        """Skip blanks and return the next character; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._go(blanks.end() if blanks else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Skip one character."""
        self._at += 1

    def take(self, character: str, missing: str, at_end: str = "the text ends too early") -> None:
        """Skip blanks and a required character."""
        found = self.peek()
        if found != character:
            raise self.error(
                f"not valid JSON: {missing if found else at_end}",
                "Put a comma between two values, and end what was begun.",
            )
        self.skip()

    def value(self) -> Json:
        """Parse the value that starts here."""
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos > len(self._text) - _TOKEN or error.msg.startswith("Untermin")
                # Counted from this value: reading more drops the text before it.
                place = error.pos - self._at
                if is_cut and self._more():
                    continue
                whole = json.JSONDecodeError(error.msg, self._text[self._at :], place)
                problem, line = _not_json(whole), self.line + whole.lineno - 1
            except (ValueError, RecursionError) as error:
                problem, line = jsonl.not_a_value(error), self.line
            else:
                self._go(end)
                parsed: Json = value
                return parsed
            problem.line = line
            raise problem

    def error(self, message: str, remedy: str) -> DataError:
        """Return an error at this position."""
        return DataError(message, remedy, line=self.line)

    def _go(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _more(self) -> bool:
        if len(self._text) - self._at > self._source.MAX_ROW:
            error = self._source.too_long("a value")
            error.line = self.line
            raise error
        # Read as much as is kept: a long value is then parsed a few times, not once per chunk.
        chunk = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)


def _not_json(error: json.JSONDecodeError) -> DataError:
    near = error.doc[error.pos : error.pos + _NEAR].partition("\n")[0]
    place = f"at {near!r}" if near else "at the end"
    what = error.msg.removesuffix(" starting at")
    return DataError(f"not valid JSON: {what} {place}", "Correct it there.")
