"""Read JSONL: one object a line."""

import io
import json
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeVar

from pydantic_core import from_json

from backends.contract.inspector import Json
from controller.data.errors import DataError
from controller.data.readers.open_file import open_bytes
from controller.data.sources.source_file import CHUNK, UTF_8, NumberedRow, SourceFile

_BOM = b"\xef\xbb\xbf"
_Written = TypeVar("_Written", bytes, str)


def read(source: SourceFile) -> Iterator[NumberedRow]:
    """Yield the rows of a file with one object a line."""
    with open_bytes(source) as file:
        if source.info.encoding == UTF_8:
            # Parsed as they are: decoding them first would take half as long again.
            yield from _rows(source, file.readline, b"\n", _BOM)
        else:
            text = io.TextIOWrapper(file, encoding=source.info.encoding, newline="\n")
            yield from _rows(source, text.readline, "\n", "")


def parse_line(written: bytes | str) -> dict[str, Json] | DataError:
    """Return the object that a line of JSONL is, or what is wrong with it; bytes are UTF-8."""
    try:
        value: Json = from_json(written, allow_inf_nan=False)
    except ValueError:
        return _parse_slowly(written)
    return value if isinstance(value, dict) else not_an_object(value)


def decoder() -> json.JSONDecoder:
    """Return a decoder that refuses what JSON does not have."""
    return json.JSONDecoder(parse_constant=_not_a_number)


def not_a_value(error: Exception) -> DataError:
    """Return what is said of a value that is written right but cannot be had."""
    message = str(error)
    if isinstance(error, RecursionError):
        message = "nested too deeply; some hundred levels are read"
    elif "digits" in message:
        message = "a number has too many digits"
    return DataError(f"not valid JSON: {message}", "Write a plain value in its place.")


def not_an_object(value: Json) -> DataError:
    """Return what is said of a row that is something else."""
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
    source: SourceFile, readline: Callable[[int], _Written], end: _Written, mark: _Written
) -> Iterator[NumberedRow]:
    line, most = 0, source.MAX_ROW
    while written := readline(most):
        line += 1
        if len(written) == most and not written.endswith(end):
            while written and not written.endswith(end):
                written = readline(CHUNK)
            yield line, source.too_long()
            continue
        if line == 1:
            written = written.removeprefix(mark)
        if not written.isspace():
            yield line, parse_line(written)


def _parse_slowly(written: bytes | str) -> dict[str, Json] | DataError:
    # The fast parser knows no half surrogates and not as many levels; and one must say why.
    try:
        text = written if isinstance(written, str) else written.decode()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        return DataError(f"byte 0x{byte:02x} is not UTF-8", "Fix that line.")
    try:
        # Without its end, which would be where a line that was cut off goes on.
        value: Json = decoder().decode(text.rstrip("\r\n"))
    except json.JSONDecodeError as error:
        return DataError(
            f"not valid JSON: {error.msg} (column {error.colno})",
            "Write one object per line; a file that is one array is read with format: json, a table with "
            "format: csv",
        )
    except (ValueError, RecursionError) as error:
        return not_a_value(error)
    return value if isinstance(value, dict) else not_an_object(value)


def _not_a_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
