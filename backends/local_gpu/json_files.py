"""JSON files of this backend: whole files, and files with one object a line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from backends.contract.inspector import Json


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None when it is absent or damaged."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        return None


def parse_json(data: bytes | None) -> dict[str, Any] | None:
    """Return a JSON object; None when it is absent or damaged."""
    try:
        value = json.loads(data or b"")
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, one a line; skip a line that a writer has not finished."""
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(value, dict):
                    yield value
    except FileNotFoundError:
        return


def last_line(path: Path, key: str) -> dict[str, Any] | None:
    """Return the last object with a key, searching only the end of the file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65_536))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and key in value:
            return cast("dict[str, Any]", value)
    return None


def json_bytes(value: Json) -> bytes:
    """Return JSON text with sorted keys and one value a line."""
    text = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)
    return text.encode("utf-8", errors="replace") + b"\n"
