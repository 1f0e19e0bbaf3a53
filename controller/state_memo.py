"""A file of the state folder that spares a later command what an earlier one found out.

It is JSON, under the digest of its own text, and appears by one rename. It is believed when that
digest and the version fit: a lost, torn or older memo costs the time that it would have saved, and
nothing else. So it is not forced to the disk, and a disk that refuses it is nobody's problem.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def read_memo(path: Path, version: str) -> dict[str, Any]:
    """Return what a memo holds; nothing where it cannot be believed.

    Args:
        path: The memo.
        version: Of everything that what it holds depends on, besides its keys.
    """
    try:
        seal, _, text = path.read_bytes().partition(b"\n")
        if seal != _seal(text):
            return {}
        content = json.loads(text)
        found: dict[str, Any] = content["entries"] if content["version"] == version else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def write_memo(path: Path, version: str, entries: Mapping[str, Any]) -> None:
    """Replace a memo, if the disk lets us."""
    text = json.dumps({"version": version, "entries": dict(entries)}).encode()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_seal(text) + b"\n" + text)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise


def _seal(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()
