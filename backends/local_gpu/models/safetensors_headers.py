"""Headers of a model's safetensors files, read without weights and without importing torch."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.contract.errors import BackendError


def headers(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield each weight file's tensors by name: their `dtype` (as in `BF16`) and `shape`.

    Args:
        folder: Folder of the model.

    Raises:
        BackendError: A file is damaged.
    """
    yield from map(header, sorted(folder.glob("*.safetensors")))


def header(path: Path) -> dict[str, Any]:
    """Return a weight file's tensors by name: their `dtype` (as in `BF16`) and `shape`.

    Raises:
        BackendError: The file is damaged.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            # Do not allocate the length that a damaged file states.
            found: dict[str, Any] = json.loads(file.read(min(length, path.stat().st_size)))
        found.pop("__metadata__", None)
    except (struct.error, ValueError, AttributeError, TypeError) as error:
        raise BackendError(
            f"{path} is not a safetensors file: {error}", "Fetch or convert the model again."
        ) from error
    return found


def tensor_sizes(folder: Path) -> dict[str, list[int]]:
    """Return the size of each tensor of a model; empty if its files are not here or damaged.

    Args:
        folder: Folder of the model.
    """
    try:
        return {name: one["shape"] for part in headers(folder) for name, one in part.items()}
    except (BackendError, KeyError, TypeError):
        return {}
