"""Geometry of charts: numbers that a template draws as SVG. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.report.model import CurveView, LengthBin, ScoreBlock

WIDTH: Final = 720
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 34
_TICKS: Final = 4
_CLEAR: Final = 0.9
"""Share of the horizontal axis that has ticks; its name stands at its end."""
_SMALLEST: Final = 1e-9
"""Smallest range of an axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One score on a track that is 100 wide."""

    start: float
    width: float
    value: float
    low: float | None = None
    """Ends of the interval on the track; None without one."""
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Lines of losses in a chart of `WIDTH` x `HEIGHT`."""

    train: str
    """Points of a polyline."""
    held_out: str
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    left: float
    right: float
    bottom: float
    held_out_points: Sequence[tuple[float, float]]


def bars(block: ScoreBlock) -> list[Bar | None]:
    """Return a bar for each row of a score; None for a model without the score."""
    values = [row.value for row in block.rows if row.value is not None]
    ends = [
        end
        for row in block.rows
        if row.interval is not None
        for end in (row.interval.low, row.interval.high)
        if end is not None
    ]
    low = min([0.0, *values, *ends])
    high = 1.0 if block.is_proportion else max([0.0, *values, *ends])
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return round(min(100.0, max(0.0, 100 * (value - low) / span)), 2)

    found: list[Bar | None] = []
    for row in block.rows:
        if row.value is None:
            found.append(None)
            continue
        zero, end, interval = at(0.0), at(row.value), row.interval
        found.append(
            Bar(
                start=min(zero, end),
                width=round(abs(end - zero), 2),
                value=end,
                low=at(interval.low) if interval and interval.low is not None else None,
                high=at(interval.high) if interval and interval.high is not None else None,
            )
        )
    return found


def curve(view: CurveView) -> Curve | None:
    """Return the lines of losses; None if no loss is known."""
    train = [(one.step, one.train_loss) for one in view.points if one.train_loss is not None]
    held = [(one.step, one.held_out_loss) for one in view.points if one.held_out_loss is not None]
    losses = [loss for _, loss in (*train, *held)]
    if not losses:
        return None
    ticks = _nice(min(0.0, *losses), max(losses))
    bottom, top = ticks[0], ticks[-1]
    last = max(step for step, _ in (*train, *held)) or 1

    def x(step: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * step / last, 1)

    def y(loss: float) -> float:
        share = (loss - bottom) / ((top - bottom) or 1.0)
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * share, 1)

    return Curve(
        train=" ".join(f"{x(step)},{y(loss)}" for step, loss in train),
        held_out=" ".join(f"{x(step)},{y(loss)}" for step, loss in held),
        held_out_points=[(x(step), y(loss)) for step, loss in held],
        x_ticks=[
            Tick(at=x(step), text=f"{step:,.0f}")
            for step in _nice(0, last)
            if step <= _CLEAR * last and step == int(step)
        ],
        y_ticks=[Tick(at=y(loss), text=f"{loss:.4g}") for loss in ticks],
        left=_LEFT,
        right=WIDTH - _RIGHT,
        bottom=HEIGHT - _BOTTOM,
    )


def length_shares(bins: Sequence[LengthBin]) -> list[float]:
    """Return the width of the bar of each bin, from 0 to 100, by its training examples."""
    most = max((one.train for one in bins), default=0)
    return [round(100 * one.train / most, 2) if most else 0.0 for one in bins]


def shade(count: int, total: int) -> int:
    """Return one of nine shades for a cell of a matrix, by its share of a row."""
    return 0 if not count or not total else 1 + min(7, int(8 * count / total))


def _nice(low: float, high: float) -> list[float]:
    """Return round numbers at equal distances that contain a range."""
    span = high - low if high - low > _SMALLEST else 1.0
    power = 10 ** math.floor(math.log10(span / _TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= _TICKS)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(number * step, 10) for number in range(first, last + 1)]
