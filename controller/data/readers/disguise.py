"""Recognise data in a file with the name of a text: JSON and tables in .txt, .md and .csv. Pure."""

import csv
import json
import re
from collections.abc import Sequence

from controller.data.errors import DataError
from controller.spec.data import FileFormat

HEAD = 64 << 10
"""Number of characters to check at the beginning of a file."""

_ARRAY = re.compile(r"\s*\[\s*\{\s*[\"}]")
_OBJECT = re.compile(r"\s*\{\s*\"[^\"\n]*\"\s*:")
_LINES = 200
_FEWEST_ROWS = 3
_LONGEST_NAME = 60
_WHAT = {
    "jsonl": "JSON, one object a line",
    "json": "JSON",
    "csv": "a table",
    "tsv": "a table with tabs",
}


def refuse_disguised(head: str, file_format: FileFormat) -> None:
    """Refuse a file whose beginning is data of another format than its name indicates."""
    found = _json_in(head) or ("" if file_format in ("csv", "tsv") else _table_in(head))
    if found:
        raise DataError(
            f"the file holds {_WHAT[found]}, and is named as {file_format}",
            f"Write format: {found}, or format: {file_format} to read it as {file_format}",
            whole=True,
        )


def _json_in(head: str) -> str:
    lines = _whole_lines(head)
    if lines and all(map(_is_object, lines)):
        return "jsonl"
    return "json" if _ARRAY.match(head) or _OBJECT.match(head) else ""


def _table_in(head: str) -> str:
    lines = _whole_lines(head)
    for delimiter, file_format in (("\t", "tsv"), (";", "csv"), (",", "csv")):
        if len(lines) >= _FEWEST_ROWS and _is_table(lines, delimiter):
            return file_format
    return ""


def _whole_lines(head: str) -> Sequence[str]:
    lines = head.splitlines()
    if len(head) == HEAD and len(lines) > 1:
        # The last line may be cut off.
        lines.pop()
    return [line for line in lines if line.strip()][:_LINES]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_table(lines: Sequence[str], delimiter: str) -> bool:
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return False
    names = rows[0]
    # In a sentence a blank follows a comma; in a header a column name follows directly.
    are_names = all(name and name == name.strip() and len(name) <= _LONGEST_NAME for name in names)
    return (
        len(names) > 1
        and are_names
        and len(set(names)) == len(names)
        and all(len(row) == len(names) for row in rows)
    )
