"""Progress of transfers, for people at a terminal and in logs."""

import sys
import time
from typing import Final

from controller.render.text import escape_control, transfer_text

_EVERY_S: Final = 5.0
_FIRST_S: Final = 1.0


class TransferLines:
    """Lines on standard error: none of a quick transfer, else one every five seconds."""

    def __init__(self, what: str) -> None:
        """Begin a transfer.

        Args:
            what: What the lines begin with: `fetching ft:small:cafe:1f…-1`.
        """
        self._what = what
        self._next_s = time.monotonic() + _FIRST_S
        self._told = False

    def __call__(self, done: int, total: int) -> None:
        """Report the bytes so far, and of all."""
        now = time.monotonic()
        is_end = done >= total and self._told
        if now < self._next_s and not is_end:
            return
        self._next_s, self._told = now + _EVERY_S, not is_end
        say(f"» {self._what}: {transfer_text(done, total)}")


def unreported(_done: int, _total: int) -> None:
    """Report nothing."""


def say(message: str) -> None:
    """Print a line for people on standard error."""
    sys.stderr.write(escape_control(message) + "\n")
    sys.stderr.flush()
