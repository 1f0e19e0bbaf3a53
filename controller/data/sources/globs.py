"""Match a pattern with the files of a folder, without ever leaving the repository.

The patterns are the shell's: `*`, `?`, `[a-z]`, and `**` for any folders. A name that begins with a
dot matches only a part that begins with a dot. Names are compared in NFC, so that a Korean name
matches however its letters are composed.
"""

import unicodedata
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path


def has_wildcard(written: str) -> bool:
    """Return whether a path is a pattern."""
    opened, closed = written.find("["), written.rfind("]")
    return "*" in written or "?" in written or -1 < opened < closed - 1


def walk(base: Path, parts: tuple[str, ...], check: Callable[[Path], Path]) -> Iterator[Path]:
    """Yield every file and folder that matches a pattern, some more than once.

    No folder is searched twice for the same rest of the pattern, so that many `**` cost no more
    than their number.

    Args:
        base: The folder that the pattern starts in.
        parts: The pattern: a part for each folder, and the last for the name.
        check: Receives every folder before it is searched; raises if that is not allowed.
    """
    # Several `**` in a row match what one does; the last part of all matches names.
    wanted = [part for before, part in pairwise(("", *parts)) if (before, part) != ("**", "**")]
    wanted += ["*"] if parts[-1] == "**" else []
    todo, seen = [(base, 0)], {(base, 0)}
    while todo:
        folder, at = todo.pop()
        check(folder)
        below = [
            folder / name for name in _names(folder, "*" if wanted[at] == "**" else wanted[at])
        ]
        if wanted[at] == "**":
            # Also in this folder. A link to a folder may lead up again, without end.
            inside = [(path, at) for path in below if path.is_dir() and not path.is_symlink()]
            steps = [(folder, at + 1), *inside]
        elif at + 1 < len(wanted):
            steps = [(path, at + 1) for path in below if check(path).is_dir()]
        else:
            yield from below
            continue
        todo += [step for step in steps if step not in seen]
        seen.update(steps)


def _names(folder: Path, part: str) -> list[str]:
    pattern = unicodedata.normalize("NFC", part)
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    return [
        name
        for name in names
        if name.startswith(".") <= part.startswith(".")
        and fnmatchcase(unicodedata.normalize("NFC", name), pattern)
    ]
