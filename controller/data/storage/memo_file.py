"""What is computed from a dataset once and then read again: bytes in a file, with their digest.

A file that does not fit its digest is computed anew, so that a torn or changed one is never used.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from backends.atomic_files import write_atomic

_DIGEST = 32


def cached_bytes(path: Path, make: Callable[[], bytes]) -> bytes:
    """Return what a file holds, made when it is not there whole.

    Args:
        path: The file; its folder is created when absent.
        make: Computes the bytes.
    """
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        whole = b""
    data = whole[_DIGEST:]
    if hashlib.sha256(data).digest() == whole[:_DIGEST]:
        return data
    data = make()
    write_atomic(path, hashlib.sha256(data).digest() + data)
    return data
