"""The curve of a build, drawn in text. Pure."""

import math
from collections.abc import Sequence
from typing import Final

import plotille

from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.points import held_out_losses, train_losses
from controller.render.text import escape_control

_WIDTH, _HEIGHT = 56, 15
"""Cells of the drawing; its axes make it 79 wide."""
_BLANK: Final = "\u2800"
"""The Braille pattern without dots: as wide as a space, but not white in every font."""
_MARGIN: Final = 0.04
"""Room above the highest and below the lowest loss, as a share of their distance."""


def curve_plot(title: str, points: Sequence[CurvePoint], of: str = "token") -> str:
    """Draw a curve in at most 79 columns of plain text; empty if no loss is finite.

    Args:
        title: Name of what is drawn.
        points: The curve, in order of the steps.
        of: What a loss is the mean of: `token`, or `example` for preferences.
    """
    train, held_out = train_losses(points), held_out_losses(points)
    losses = [loss for _, loss in [*train, *held_out]]
    if not losses:
        return ""
    figure = plotille.Figure()
    figure.width, figure.height = _WIDTH, _HEIGHT
    figure.with_colors = figure.origin = False
    figure.x_label, figure.y_label = "step", "loss"
    last = max(1, points[-1].step)
    digits = 0 if last >= _WIDTH else 1
    figure.x_ticks_fkt = lambda value, _: f"{value:.{digits}f}"
    figure.y_ticks_fkt = lambda value, _: f"{value:.4g}"
    room = _MARGIN * max(max(losses) - min(losses), 0.01 * max(losses), 1e-6)
    # A mark on the limit itself would be outside.
    figure.set_x_limits(0, last * (1 + 1 / _WIDTH))
    figure.set_y_limits(max(0.0, min(losses) - room), max(losses) + room)
    # In this order: a mark must not be drawn over by a line.
    if len(train) > 1:
        figure.plot(*zip(*train, strict=True))
    elif train:
        figure.scatter(*zip(*train, strict=True), marker="x")
    if held_out:
        figure.scatter(*zip(*held_out, strict=True), marker="o")
    lines = [line.replace(_BLANK, " ").rstrip() for line in figure.show().splitlines()]
    named = {"line: train loss": len(train) > 1, "x: train loss": len(train) == 1}
    named |= {"o: held-out loss": bool(held_out)}
    legend = ", ".join(text for text, is_shown in named.items() if is_shown)
    head = [escape_control(title), f"{legend} (mean per {of}, in nats)"]
    pairs = ((point.train_loss, point.held_out_loss) for point in points)
    every = [loss for pair in pairs for loss in pair if loss is not None]
    left_out = sum(not math.isfinite(loss) for loss in every)
    foot = [f"Not drawn: {left_out} that are not finite numbers."] if left_out else []
    return "\n".join([*head, "", *lines, *foot])
