"""Tokens of a run's examples in files, so that a run encodes them once and keeps them on the disk.

The files are mapped into memory: the system reads the parts that a batch needs, and may drop them
again. A resumed training reads the tokens that it began with.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from backends.atomic_files import publish_dir
from backends.local_gpu.json_files import json_bytes, read_json
from backends.local_gpu.training.disk_space import is_about_room
from backends.local_gpu.training.tokenized_dataset import Tokens

_ARRAYS: Final = ("ids", "learned", "offsets")
_SOURCE: Final = "source.json"


def kept_tokens(folder: Path, examples: Path, encode: Callable[[], Tokens]) -> Tokens:
    """Return the tokens of a file of examples, encoded now or by an earlier start.

    Args:
        folder: Folder of the tokens; it is made, and replaced where the examples are others.
        examples: The file of examples.
        encode: Encodes the file. Its errors are passed on, and nothing is kept.
    """
    with examples.open("rb") as file:
        source = {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    if read_json(folder / _SOURCE) == source and (found := _mapped(folder)) is not None:
        return found
    tokens = encode()
    shutil.rmtree(folder, ignore_errors=True)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name in _ARRAYS:
            np.save(partial / f"{name}.npy", getattr(tokens, name), allow_pickle=False)
        (partial / _SOURCE).write_bytes(json_bytes(source))
        publish_dir(partial, folder)
    except OSError as error:
        if not is_about_room(error):
            raise
        # The disk has no room: the tokens stay in memory, as they are.
        shutil.rmtree(partial, ignore_errors=True)
        return tokens
    return _mapped(folder) or tokens


def _mapped(folder: Path) -> Tokens | None:
    """Return the tokens in a folder; None if they cannot be read."""
    try:
        ids, learned, offsets = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS
        )
    except (OSError, ValueError, EOFError):
        return None
    return Tokens(ids=ids, learned=learned, offsets=np.asarray(offsets))
