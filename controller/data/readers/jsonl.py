"""Read JSONL: one object per line."""

import io
import json
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

from pydantic_core import from_json

from backends.contract.inspector import Json
from controller.data.errors import DataError, NotUtf8
from controller.data.readers.open_file import open_bytes
from controller.data.sources.source_file import CHUNK, UTF_8, UTF_8_MARK, NumberedRow, SourceFile

_Written = TypeVar("_Written", bytes, str)


def read(file: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a file with one object per line."""
    with open_bytes(file) as stream:
        if file.info.encoding == UTF_8:
            # Parse bytes: decoding them first would take half as long again.
            yield from _rows(file, stream.readline, b"\n", UTF_8_MARK)
        else:
            text = io.TextIOWrapper(stream, encoding=file.info.encoding, newline="\n")
            yield from _rows(file, text.readline, "\n", "")


def parse_line(line: bytes | str) -> dict[str, Json] | DataError:
    """Return the object in a line of JSONL, or the error; bytes are UTF-8."""
    try:
        value: Json = from_json(line, allow_inf_nan=False)
    except ValueError:
        return _parse_slowly(line)
    return value if isinstance(value, dict) else not_an_object(value)


def decoder() -> json.JSONDecoder:
    """Return a decoder that refuses the constants that JSON does not have."""
    return json.JSONDecoder(parse_constant=_not_a_number)


def not_a_value(error: Exception) -> DataError:
    """Return the error for valid JSON that is too deep or too long to parse."""
    message = str(error)
    if isinstance(error, RecursionError):
        message = "nested too deeply; some hundred levels are read"
    elif "digits" in message:
        message = "a number has too many digits"
    return DataError(f"not valid JSON: {message}", "Write a plain value in its place.")


def not_an_object(value: Json) -> DataError:
    """Return the error for a row that is another value than an object."""
    if isinstance(value, list):
        return DataError(
            "a JSON object is expected, not an array",
            "Write one object per line; a file that is one array is read with format: json",
        )
    names = {str: "a text", bool: "true or false", type(None): "null"}
    return DataError(
        f"a JSON object is expected, not {names.get(type(value), 'a number')}",
        'Write {"messages": [...]} or name the keys: {"prompt": "...", "completion": "..."}',
    )


def _rows(
    file: SourceFile, readline: Callable[[int], _Written], end: _Written, mark: _Written
) -> Iterator[NumberedRow]:
    number, longest = 0, file.MAX_ROW
    while line := readline(longest):
        number += 1
        if len(line) == longest and not line.endswith(end):
            while line and not line.endswith(end):
                line = readline(CHUNK)
            yield number, file.too_long()
            continue
        if number == 1:
            line = line.removeprefix(mark)
        if not line.isspace():
            yield number, parse_line(line)


def _parse_slowly(line: bytes | str) -> dict[str, Json] | DataError:
    # The fast parser accepts no half surrogates and fewer levels, and gives no reasons.
    try:
        text = line if isinstance(line, str) else line.decode()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        return NotUtf8(f"byte 0x{byte:02x} is not UTF-8", "Fix that line.")
    if "\0" in text:
        return NotUtf8("a NUL byte", "Remove it.")
    try:
        # Without the line end, which would be where a line that was cut off continues.
        value: Json = decoder().decode(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return DataError(
            f"not valid JSON: {error.msg} (column {error.colno})",
            "Write one object per line; a file that is one array is read with format: json, a "
            "table with format: csv",
        )
    except (ValueError, RecursionError) as error:
        return not_a_value(error)
    return value if isinstance(value, dict) else not_an_object(value)


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
