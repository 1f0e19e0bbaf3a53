"""Lines between an engine and its process: one JSON object each, errors among them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from backends.contract.errors import BackendError

Message: TypeAlias = Mapping[str, Any]
"""One line, in or out; see `engine_worker`."""
PROMPTS: Final = "prompts.jsonl"
"""The file, in the child's folder, of the prompts that questions name by their numbers."""


def line(message: Message) -> bytes:
    """Return a message as a line."""
    return json.dumps(message).encode() + b"\n"


def describe_error(error: BackendError) -> Message:
    """Return the message for an error."""
    kind = type(error).__name__
    return {"kind": kind, "message": error.message, "remedy": error.remedy}


def error_of(described: Message) -> BackendError:
    """Return a described error as an error of its own class."""
    kinds = {kind.__name__: kind for kind in _with_subclasses(BackendError)}
    kind = kinds.get(described["kind"], BackendError)
    return kind(described["message"], described["remedy"])


def _with_subclasses(kind: type[BackendError]) -> Iterator[type[BackendError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_subclasses(below)
