"""Read the rows of a file, each with the line it starts on. One reader per format.

In: a `SourceFile`. Out: an iterator of (line, row); a row that cannot be read is an `Unusable` in
its place. Memory does not grow with the file. What a row means is decided in `shapes`.

Another format (Parquet, Excel, a query's result) is another reader in `_open`.
"""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NoReturn, TextIO, TypeAlias

from typing_extensions import Buffer

from backends.base import Json
from controller.data.files import CHUNK, SourceFile
from controller.data.nearest import listing, quoted
from controller.data.unusable import Unusable

Row: TypeAlias = tuple[int, Mapping[str, Json] | Unusable]

MAX_FIELD = 16 << 20
"""Characters of one CSV field. A quote that is never closed would swallow the file otherwise."""

_TOKEN = 64
"""Longest JSON token that is not a string: an error nearer to the end may be a cut one."""

_NEAR = 20
"""Characters of a JSON text that are shown to say where it is wrong."""

_BLANKS = re.compile(r"[ \t\n\r]*")
"""What JSON calls blank."""


def read_rows(source: SourceFile, limit: int | None) -> Iterator[Row]:
    """Yield the first `limit` rows of a file, or all of them.

    The last row is an `Unusable` when the file was not the one looked at before.
    """
    with _Hashing(source) as raw, io.BufferedReader(raw, CHUNK) as buffer:
        # Line ends stay as they are in tables, where they may be part of a quoted cell.
        newline = "" if source.kind in ("csv", "tsv") else None
        text = io.TextIOWrapper(buffer, encoding=source.look.encoding, newline=newline)
        last = 1
        for last, row in islice(_open(source, text), limit):
            yield last, row
        while buffer.read(CHUNK):
            pass
        if raw.sha256.hexdigest() != source.look.sha256:
            yield last, Unusable("the file changed while it was read", "Run the command again.")


class _Hashing(io.RawIOBase):
    """A file that knows the digest of what was read from it."""

    def __init__(self, source: SourceFile) -> None:
        self._file = source.path.open("rb", buffering=0)
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        count = self._file.readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(source: SourceFile, text: TextIO) -> Iterator[Row]:
    if source.kind == "csv":
        return _read_table(text, ",")
    if source.kind == "tsv":
        return _read_table(text, "\t")
    if source.kind == "json" and source.look.first == "[":
        return _read_array(text)
    return _read_lines(text)


def _read_table(text: TextIO, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, _not_csv(error)
            return
        if not cells:
            continue
        if header:
            if len(cells) == len(header):
                yield line, dict(zip(header, cells, strict=True))
            else:
                yield line, _wrong_width(len(cells), header)
            continue
        header = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            yield (
                line,
                Unusable(
                    f"the header names {listing(map(quoted, twice))} more than once",
                    "Give every column a name of its own.",
                ),
            )
            return


def _not_csv(error: csv.Error) -> Unusable:
    if "field larger" in str(error):
        return Unusable(
            f"a field is longer than {MAX_FIELD:,} characters",
            "Close the quote that was opened in this line.",
        )
    return Unusable(
        f"not a CSV record: {error}",
        'Put the whole field in quotes, and write a quote inside it twice: "".',
    )


def _wrong_width(count: int, header: list[str]) -> Unusable:
    return Unusable(
        f"has {count} field{'s'[: count != 1]}; the header has {len(header)}",
        "Put a field that contains the separator in quotes, or fill the missing ones.",
    )


def _read_lines(text: TextIO) -> Iterator[Row]:
    decode = _DECODER.decode
    for line, written in enumerate(text, start=1):
        if written.isspace():
            continue
        try:
            value = decode(written)
        except json.JSONDecodeError as error:
            yield line, _not_json(error)
        except (ValueError, RecursionError) as error:
            yield line, _not_a_value(error)
        else:
            yield line, value if type(value) is dict else _not_an_object(value)


def _read_array(text: TextIO) -> Iterator[Row]:
    window = _Window(text)
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
            yield line, _not_a_value(error)
            return
        yield line, value if isinstance(value, dict) else _not_an_object(value)
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


class _Window:
    """The stretch of a JSON text that is being looked at, and the line it stands on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
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
        """
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
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
        # As much again as is kept: a long value is tried a few times, not once per chunk.
        chunk = self._file.read(max(CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_not_a_number)


def _not_json(error: json.JSONDecodeError) -> Unusable:
    return Unusable(
        f"not valid JSON: {error.msg} (column {error.colno})",
        "One object per line; a file that is one array is named .json.",
    )


def _not_json_at(error: json.JSONDecodeError) -> Unusable:
    near = error.doc[error.pos : error.pos + _NEAR].partition("\n")[0]
    place = f"at {near!r}" if near else "at the end"
    what = error.msg.removesuffix(" starting at")
    return Unusable(f"not valid JSON: {what} {place}", "Mend it there.")


def _not_a_value(error: Exception) -> Unusable:
    message = str(error)
    if isinstance(error, RecursionError):
        message = "nested too deeply"
    elif "digits" in message:
        message = "a number has too many digits"
    return Unusable(f"not valid JSON: {message}", "Write a plain value in its place.")


def _not_an_object(value: Json) -> Unusable:
    if isinstance(value, list):
        return Unusable(
            "a JSON object is expected, not an array",
            "One object per line; a file that is one array is named .json.",
        )
    names = {str: "a text", bool: "true or false", type(None): "null"}
    return Unusable(
        f"a JSON object is expected, not {names.get(type(value), 'a number')}",
        'Write {"messages": [...]} or name the keys: {"prompt": "...", "completion": "..."}',
    )
