"""Ends of models in words. Pure."""

from collections.abc import Mapping
from dataclasses import asdict

from backends.contract.inspector import Json
from controller.plan.desired import Shutdown
from controller.render.text import escape_control

_NAMES = 5
"""Names that a line lists before it counts the rest."""
_LINES = 10
"""Lines before the rest is counted."""


def shutdown_lines(ends: Mapping[str, Shutdown]) -> list[str]:
    """Return a line for each day and source, soonest first, with the fine-tunes it concerns."""
    groups: dict[tuple[object, ...], list[str]] = {}
    ordered = sorted(ends.items(), key=lambda item: (item[1].days_left, item[0]))
    for name, end in ordered:
        # Base models are named, so each has a line of its own.
        base = end.model if end.is_base else ""
        groups.setdefault((end.date, end.source, end.gone, base), []).append(name)
    lines = [_line(names, ends[names[0]]) for names in groups.values()]
    if len(lines) > _LINES:
        rest = sum(len(names) for names in list(groups.values())[_LINES:])
        lines = [*lines[:_LINES], f"! and {rest} more: ftctl status --json"]
    return lines


def days_cell(end: Shutdown | None) -> str:
    """Return the days left, for a table; `off` after the last day, `gone` for a gone model."""
    if end is None:
        return "-"
    if end.gone:
        return "gone"
    return "off" if end.days_left < 0 else f"{end.days_left:,}"


def shutdown_json(end: Shutdown | None) -> Json:
    """Return an end for programs; None where no end is announced."""
    if end is None:
        return None
    value = asdict(end)
    return {"model": value.pop("model"), **value}


def when(end: Shutdown) -> str:
    """Return the day and its distance from today: `on 2027-01-14, in 46 days`."""
    left = end.days_left
    if left == 0:
        return f"on {end.date}, today"
    unit = "day" if abs(left) == 1 else "days"
    distance = f"in {left:,} {unit}" if left > 0 else f"{-left:,} {unit} ago"
    return f"on {end.date}, {distance}"


def _line(names: list[str], end: Shutdown) -> str:
    shown, more = ", ".join(names[:_NAMES]), len(names) - _NAMES
    who = f"{shown} and {more} more" if more > 0 else shown
    what = "the model in production" if len(names) == 1 else "the models in production"
    verb = "is" if len(names) == 1 else "are"
    if end.is_base:
        what, verb = f"the base model {end.model}", "is"
    if end.gone:
        ending = f" (switched off {when(end)})" if end.date and end.days_left < 0 else ""
        return _flat(f"! {who}: {what} {verb} gone: {end.source}{ending}")
    verb = verb if end.days_left >= 0 else {"is": "was", "are": "were"}[verb]
    return _flat(f"! {who}: {what} {verb} switched off {when(end)} ({end.source})")


def _flat(text: str) -> str:
    return " ".join(escape_control(text).split())
