"""Read JSON: one array of objects, streamed; or one object a line."""

import json
import re
from collections.abc import Iterator
from typing import TextIO

from backends.base import Json
from controller.data.files import CHUNK, Row, SourceFile
from controller.data.readers import json_lines
from controller.data.readers.opened import open_text
from controller.data.unusable import Unusable

_TOKEN = 64
"""Longest JSON token that is not a string: an error nearer to the end may be a cut one."""

_NEAR = 20
"""Characters of a JSON text that are shown to say where it is wrong."""

_BLANKS = re.compile(r"[ \t\n\r]*")
"""What JSON calls blank."""


def read(source: SourceFile) -> Iterator[Row]:
    """Yield the objects of an array; of a file that is none, one a line."""
    if source.look.first != "[":
        yield from json_lines.read(source)
        return
    with open_text(source) as text:
        yield from _read_array(source, text)


def _read_array(source: SourceFile, text: TextIO) -> Iterator[Row]:
    window = _Window(text, source.MAX_ROW)
    window.peek()
    window.skip()
    character = window.peek()
    while character != "]":
        line = window.line
        try:
            value = window.value()
        except json.JSONDecodeError as error:
            yield line + error.lineno - 1, _not_json_at(error)
            return
        except (ValueError, RecursionError) as error:
            yield line, json_lines.not_a_value(error)
            return
        except _TooLong:
            yield line, source.too_long("a value")
            return
        yield line, value if isinstance(value, dict) else json_lines.not_an_object(value)
        character = window.peek()
        if character == ",":
            window.skip()
            window.peek()
        elif character != "]":
            missing = "a comma or ] is missing before this" if character else "] is missing"
            yield (
                window.line,
                Unusable(
                    f"not valid JSON: {missing}",
                    "Put a comma between two objects, ] after the last.",
                ),
            )
            return
    window.skip()
    if window.peek():
        yield window.line, Unusable("not valid JSON: text after the array", "Remove it.")


class _TooLong(Exception):
    pass


class _Window:
    """The stretch of a JSON text that is being looked at, and the line it stands on."""

    def __init__(self, file: TextIO, most: int) -> None:
        self._file = file
        self._decode = json_lines.decoder().raw_decode
        self._most = most
        self._text = ""
        self._at = 0
        self.line = 1

    def peek(self) -> str:
        """Go to the next character that is not blank and return it; nothing at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._go(blanks.end() if blanks else self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Go one character on."""
        self._at += 1

    def value(self) -> Json:
        """Read the value that starts here.

        Raises:
            ValueError: It is not JSON.
            _TooLong: It is too long to be held.
        """
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self._text) - _TOKEN or error.msg.startswith("Unterminated")
                # Counted from this value, since reading more cuts off what is before it.
                place = error.pos - self._at
                if cut and self._more():
                    continue
                raise json.JSONDecodeError(error.msg, self._text[self._at :], place) from None
            self._go(end)
            parsed: Json = value
            return parsed

    def _go(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _more(self) -> bool:
        if len(self._text) - self._at > self._most:
            raise _TooLong
        # As much again as is kept: a long value is tried a few times, not once per chunk.
        chunk = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)


def _not_json_at(error: json.JSONDecodeError) -> Unusable:
    near = error.doc[error.pos : error.pos + _NEAR].partition("\n")[0]
    place = f"at {near!r}" if near else "at the end"
    what = error.msg.removesuffix(" starting at")
    return Unusable(f"not valid JSON: {what} {place}", "Mend it there.")
