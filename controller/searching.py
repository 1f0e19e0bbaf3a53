"""Search a pattern that a spec names in many texts, within a time limit.

Anybody may propose a pattern, and `(a+)+$` takes longer than the age of the universe for a line of
a's. Python's engine cannot be stopped while it searches. So a pattern that may be of this kind is
searched in a child process, which can be.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from controller.errors import FtctlError

TIMEOUT_S = 60.0
"""For all texts together."""

_Tree: TypeAlias = Any
"""The standard library's parsed pattern has no type."""
_PARSER: _Tree = vars(re)["_parser"]
_CODES: _Tree = vars(re)["_constants"]
_REPEATS = frozenset({_CODES.MAX_REPEAT, _CODES.MIN_REPEAT, _CODES.POSSESSIVE_REPEAT})
_REFERENCES = frozenset({_CODES.GROUPREF, _CODES.GROUPREF_EXISTS})
_REPEAT, _BRANCH, _NESTED = "repeat", "branch", "nested"
_FEW = 3
_PROGRAM = """
import json, re, sys
asked = json.load(sys.stdin)
pattern = re.compile(asked["pattern"])
json.dump([pattern.search(text) is not None for text in asked["texts"]], sys.stdout)
"""


def found_in(pattern: str, texts: Sequence[str], timeout_s: float = TIMEOUT_S) -> list[bool]:
    """Return for each text whether a pattern is found in it.

    Args:
        pattern: A regular expression in Python's syntax, which compiles.
        texts: The texts.
        timeout_s: The longest time for all of them.

    Raises:
        FtctlError: The search takes longer.
    """
    if is_quick(pattern):
        compiled = re.compile(pattern)
        return [compiled.search(text) is not None for text in texts]
    asked = json.dumps({"pattern": pattern, "texts": list(texts)})
    command = [sys.executable, "-I", "-W", "ignore", "-c", _PROGRAM]
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, timeout=timeout_s, check=True
        )
    except subprocess.TimeoutExpired:
        raise FtctlError(
            f"the pattern {pattern[:60]!r} was searched for longer than {timeout_s:g} s",
            "Write it without repeats inside repeats: a+ instead of (a+)+",
        ) from None
    found: list[bool] = json.loads(done.stdout)
    return found


def is_quick(pattern: str) -> bool:
    """Return whether a pattern surely takes no more than the square of a text's length.

    It has at most one repeat of a varying length, a few alternatives, and neither in a repeat.
    """
    choices = Counter(_choices(_PARSER.parse(pattern)))
    return choices[_NESTED] == 0 and choices[_REPEAT] <= 1 and choices[_BRANCH] <= _FEW


def _choices(tree: _Tree) -> Iterator[str]:
    """Yield what an engine that goes back may have to try in several ways."""
    for code, value in tree:
        parts = list(_parts(code, value))
        inner = [choice for part in parts for choice in _choices(part)]
        yield from inner
        if code in _REPEATS:
            if value[0] != value[1]:
                yield _REPEAT
            if inner and value[1] > 1:
                yield _NESTED
        elif code is _CODES.BRANCH:
            yield _BRANCH
        elif code in _REFERENCES:
            yield _NESTED


def _parts(code: object, value: _Tree) -> Iterator[_Tree]:
    """Yield the patterns inside a part of a pattern."""
    if code in _REPEATS:
        yield value[2]
    elif code is _CODES.SUBPATTERN:
        yield value[3]
    elif code is _CODES.BRANCH:
        yield from value[1]
    elif code in {_CODES.ASSERT, _CODES.ASSERT_NOT}:
        yield value[1]
    elif code is _CODES.ATOMIC_GROUP:
        yield value
