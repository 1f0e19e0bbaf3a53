"""Whether somebody sits at a terminal."""

import os
from typing import TextIO

_NO = {"", "0", "false"}


def is_interactive(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal with a person at it.

    A CI may give its jobs a terminal too, at which nobody answers or watches; each sets `CI`.

    Args:
        stream: Standard input or output.
    """
    return stream.isatty() and os.environ.get("CI", "").lower() in _NO
