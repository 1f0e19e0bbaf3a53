"""Words and numbers that every format of a report writes alike. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Final

from backends.contract.inspector import Json
from controller.render.text import number
from controller.report.answer_model import Answers, Change
from controller.report.model import CurveView, Interval, Tone

NONE: Final = "\N{EN DASH}"
"""Stands for a number that is not known."""
CHANGE_NAMES: Final[Mapping[Change, str]] = {
    "broken": "broken",
    "fixed": "fixed",
    "changed": "changed",
    "wrong": "wrong by both",
    "right": "right by both",
    "same": "same",
    "uncounted": "not compared",
}
CHANGE_TONES: Final[Mapping[Change, Tone]] = {
    **dict.fromkeys(CHANGE_NAMES, "neutral"),
    "broken": "bad",
    "fixed": "good",
}
_MINUS = "\N{MINUS SIGN}"
_LONGEST = 400
_LARGE = 10_000
"""From here on, digits behind the point say nothing."""
_THOUSAND = 1000


def score_words(value: float | None) -> str:
    """Return a score with as many digits as people compare."""
    if value is None or not math.isfinite(value):
        return NONE
    # Rounded before it is compared: 9,999.9 is not 1e+04. A zero has no sign.
    return f"{value:,.0f}" if round(abs(value)) >= _LARGE else number(value or 0.0)


def interval_words(interval: Interval) -> str:
    """Return the ends of an interval; `?` for an end that is not known."""
    low, high = (_end_words(end) for end in (interval.low, interval.high))
    return f"{low} to {high}".replace("-", _MINUS)


def _end_words(end: float | None) -> str:
    if end is None:
        return "?"
    # Three digits of 12,345 would be 1.23e+04, beside a score with all of them.
    return f"{end:,.0f}" if round(abs(end)) >= _THOUSAND else f"{end or 0.0:.3g}"


def signed_words(value: float) -> str:
    """Return a difference with its sign."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return NONE
    return f"{'+' if value > 0 else _MINUS}{score_words(abs(value))}"


def seconds_words(seconds: float) -> str:
    """Return a short time: `80 ms`, `1.25 s`."""
    if round(1000 * seconds) < _THOUSAND:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:,.0f} s" if round(seconds) >= _THOUSAND else f"{seconds:.3g} s"


def moment_words(moment: str) -> str:
    """Return a recorded moment as people read it: `2026-11-20 09:00 UTC`."""
    day, separator, time = moment.removesuffix("Z").partition("T")
    return f"{day} {time[:5]} UTC" if separator and moment.endswith("Z") else moment


def plain_words(value: Json) -> str:
    """Return a value of a spec on one line, cut if it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def changes_of(answers: Answers) -> list[Change]:
    """Return the outcomes that occur, in the order of display."""
    found = {change for counts in answers.changes.values() for change in counts}
    return [change for change in CHANGE_NAMES if change in found]


def curve_words(view: CurveView) -> str:
    """Return what a curve shows, in a sentence or two."""
    sentences = []
    for name, losses in (
        ("training", [(p.step, p.train_loss) for p in view.points if p.train_loss is not None]),
        (
            "held-out",
            [(p.step, p.held_out_loss) for p in view.points if p.held_out_loss is not None],
        ),
    ):
        if losses:
            (start, first), (end, last) = losses[0], losses[-1]
            least_at, least = min(losses, key=lambda one: one[1])
            lowest = f", lowest {score_words(least)} at step {least_at:,}" if least < last else ""
            sentences.append(
                f"The {name} loss goes from {score_words(first)} at step {start:,} to "
                f"{score_words(last)} at step {end:,}{lowest}."
            )
    return " ".join(sentences)
