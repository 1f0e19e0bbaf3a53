"""The curve of a build as it is kept: thinned, one JSON object a line. Pure."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from backends.contract.jobs import CurvePoint

MOST_POINTS: Final = 200
"""Points of a kept curve."""
_NOT_A_POINT: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_KEYS: Final = ("train_loss", "held_out_loss", "epoch", "learning_rate")


def thinned(points: Iterable[CurvePoint], most: int = MOST_POINTS) -> list[CurvePoint]:
    """Return a curve with a limited number of points, in order of the steps.

    The points up to the first train loss stay as they are. The others are averaged in groups of
    neighbours, each shown at its last step. A loss that is not finite stays so in its group.

    Args:
        points: The curve; the last of several points of a step counts.
        most: Number of points, at least 3.
    """
    ordered = sorted({point.step: point for point in points}.values(), key=lambda one: one.step)
    if len(ordered) <= most:
        return ordered
    first = next((at for at, one in enumerate(ordered) if one.train_loss is not None), 0)
    head = ordered[: min(first + 1, most // 2)]
    rest, groups = ordered[len(head) :], most - len(head)
    ends = [len(rest) * number // groups for number in range(groups + 1)]
    return head + [_mean_point(rest[start:end]) for start, end in pairwise(ends)]


def curve_json(points: Iterable[CurvePoint]) -> list[dict[str, float | int | str]]:
    """Return points as JSON objects without unknown values; `nan` and `inf` are texts."""
    return [
        {
            "step": point.step,
            **{key: _as_json(value) for key in _KEYS if (value := getattr(point, key)) is not None},
        }
        for point in points
    ]


def curve_lines(points: Iterable[CurvePoint]) -> bytes:
    """Return a curve as JSON lines."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in curve_json(points))


def parse_curve(text: bytes) -> list[CurvePoint]:
    """Read what `curve_lines` wrote.

    Raises:
        ValueError: The text is not such a curve.
    """
    try:
        return [_parsed(json.loads(line)) for line in text.splitlines()]
    except _NOT_A_POINT as error:
        raise ValueError(f"a line is not a point of a curve: {error}") from error


def train_losses(points: Iterable[CurvePoint]) -> list[tuple[int, float]]:
    """Return each step with a finite train loss, and that loss."""
    return _finite((point.step, point.train_loss) for point in points)


def held_out_losses(points: Iterable[CurvePoint]) -> list[tuple[int, float]]:
    """Return each step with a finite held-out loss, and that loss."""
    return _finite((point.step, point.held_out_loss) for point in points)


def _finite(pairs: Iterable[tuple[int, float | None]]) -> list[tuple[int, float]]:
    return [(step, loss) for step, loss in pairs if loss is not None and math.isfinite(loss)]


def _parsed(value: Mapping[str, Any]) -> CurvePoint:
    known = {key: float(value[key]) for key in _KEYS if key in value}
    return CurvePoint(step=int(value["step"]), **known)


def _mean_point(group: Sequence[CurvePoint]) -> CurvePoint:
    last = group[-1]
    return CurvePoint(
        step=last.step,
        train_loss=_mean(one.train_loss for one in group),
        held_out_loss=_mean(one.held_out_loss for one in group),
        epoch=last.epoch,
        learning_rate=last.learning_rate,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    # Divided first, since a sum may overflow.
    return sum(value / len(known) for value in known) if known else None


def _as_json(value: float) -> float | str:
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)
