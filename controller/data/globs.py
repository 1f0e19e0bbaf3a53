"""Which files of a folder a pattern fits, without ever looking outside the repository.

The patterns are the shell's: `*`, `?`, `[a-z]`, and `**` for any folders. A name that begins with
a dot is fitted only by a part that begins with one. Names are compared as they are read, so that a
Korean name fits however its letters are composed.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

_WILDCARD = re.compile(r"[*?]|\[.+\]")


def has_wildcard(written: str) -> bool:
    """Say whether a path is a pattern."""
    return _WILDCARD.search(written) is not None


def walk(base: Path, parts: tuple[str, ...], check: Callable[[Path], Path]) -> Iterator[Path]:
    """Yield every file and folder that a pattern fits, some more than once.

    Args:
        base: The folder that the pattern starts in.
        parts: The pattern, one part for each folder and the last for the name.
        check: Is given every folder before it is looked into; raises where it may not be.

    Raises:
        Unusable: By `check`.
    """
    part, *rest = parts
    check(base)
    if part == "**":
        # Without more parts, everything below; with some, also right here.
        yield from walk(base, tuple(rest) or ("*",), check)
        for name in _names(base, "*"):
            below = base / name
            # A link to a folder may lead back up: this would not end.
            if below.is_dir() and not below.is_symlink():
                yield from walk(below, parts, check)
        return
    for name in _names(base, part):
        below = base / name
        if not rest:
            yield below
        elif _is_folder(below, check):
            yield from walk(below, tuple(rest), check)


def _is_folder(path: Path, check: Callable[[Path], Path]) -> bool:
    return check(path).is_dir()


def _names(folder: Path, part: str) -> list[str]:
    wanted = unicodedata.normalize("NFC", part)
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    return [
        name
        for name in names
        if name.startswith(".") <= part.startswith(".")
        and fnmatchcase(unicodedata.normalize("NFC", name), wanted)
    ]
