"""Search many texts for a pattern from a spec, within a time limit.

Patterns come from untrusted authors, and `(a+)+$` takes longer than the age of the universe for a
line of a's. Python's engine cannot be stopped during a search. So a child process searches, and
is killed at the limit.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

from controller.errors import FtctlError

TIMEOUT_S = 60.0
"""Time limit for all texts together."""

_PROGRAM = """
import json, re, sys
asked = json.load(sys.stdin)
pattern = re.compile(asked["pattern"])
json.dump([pattern.search(text) is not None for text in asked["texts"]], sys.stdout)
"""


def found_in(pattern: str, texts: Sequence[str], timeout_s: float = TIMEOUT_S) -> list[bool]:
    """Return for each text whether it contains a match of a pattern.

    Args:
        pattern: A regular expression in Python's syntax, which compiles.
        texts: The texts.
        timeout_s: The longest time for all of them.

    Raises:
        FtctlError: The search takes longer.
    """
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
