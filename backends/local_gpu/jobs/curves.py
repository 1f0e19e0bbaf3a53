"""The losses of a job, from its reports. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from backends.contract.jobs import CurvePoint


def curve_of(reports: Iterable[Mapping[str, Any]]) -> list[CurvePoint]:
    """Return the losses of a job, in order of the steps.

    A continued job reports some steps again: the last report of a step counts.

    Args:
        reports: Lines of `progress.jsonl`.
    """
    steps: dict[int, dict[str, Any]] = {}
    for report in reports:
        if "step" in report:
            steps.setdefault(int(report["step"]), {}).update(report)
    return [
        CurvePoint(
            step=step,
            train_loss=_float(merged.get("loss")),
            held_out_loss=_float(merged.get("held_out_loss")),
            epoch=_float(merged.get("epoch")),
            learning_rate=_float(merged.get("learning_rate")),
        )
        for step, merged in sorted(steps.items())
        if "loss" in merged or "held_out_loss" in merged
    ]


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
