"""Files of other tools, and names and specs that earlier runs of `ftctl adopt` gave them."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import cast

from backends.contract.inspector import Json
from controller.adopt.configs.keys import LineOf
from controller.adopt.names import is_name
from controller.adopt.spec_text import comment_text
from controller.errors import FtctlError, InvalidInput, Problem
from controller.spec.load import ENDING, FOLDER
from controller.spec.yaml import MAX_BYTES, parse_yaml


def read_config(path: Path, file: str, most_bytes: int = MAX_BYTES) -> tuple[Json, LineOf]:
    """Return the value of a YAML or JSON file, and a function from a path to its line.

    Args:
        path: The file.
        file: Its name in messages.
        most_bytes: Size of the longest JSON file that is read.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        size = path.stat().st_size
        is_json = path.suffix.lower() == ".json" and size <= most_bytes
        raw = path.read_bytes() if is_json or size <= MAX_BYTES else b" " * (MAX_BYTES + 1)
    except OSError as error:
        remedy = "Name a configuration file, or the folder of an adapter."
        problem = Problem(file=file, message=f"cannot be read: {error.strerror}", remedy=remedy)
        raise InvalidInput([problem]) from None
    if is_json:
        try:
            return cast("Json", json.loads(raw)), lambda _: None
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else None
            problem = Problem(file=file, line=line, message=f"is not JSON: {error}")
            raise InvalidInput([problem]) from None
    document, problems = parse_yaml(raw, file)
    if document is None:
        raise InvalidInput(problems)
    return cast("Json", document.value), document.line


def begins_with(root: Path, name: str, note: str) -> bool:
    """Return whether a spec begins with a note: an earlier run may have written it and died."""
    lines = comment_text([note])
    try:
        with (root / FOLDER / f"{name}{ENDING}").open(encoding="utf-8") as file:
            return file.read(len(lines)) == lines
    except (OSError, UnicodeDecodeError):
        return False


def require_name(wanted: str | None, proposal: str, taken: Collection[str]) -> None:
    """Require that a name that a person chose is valid and free.

    Raises:
        FtctlError: It is not.
    """
    if wanted is None:
        return
    remedy = f"Use this name: --name {proposal}"
    if not is_name(wanted):
        message = f"{wanted!r} is not a name for a fine-tune: small letters, digits and hyphens"
        raise FtctlError(message, remedy)
    if wanted in taken:
        raise FtctlError(f"{wanted} is the name of another fine-tune", remedy)
