"""Intervals as people write them: `60s`, `5m`, `1h`. Pure."""

import re

_FORM = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,3})?)(?P<unit>s|m|h)?")
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
SHORTEST_S = 0.1


def parse_interval(text: str) -> float:
    """Return an interval in seconds.

    Args:
        text: `60s`, `5m`, `1.5h`; without a unit, seconds.

    Raises:
        ValueError: It is written otherwise, or shorter than a tenth of a second.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an interval such as 60s, 5m or 1h")
    seconds = float(match["number"]) * _SECONDS[match["unit"]]
    if seconds < SHORTEST_S:
        raise ValueError(f"{text!r} is shorter than {SHORTEST_S:g}s")
    return seconds
