"""The curve of a build in one line, and its findings. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from backends.contract.inspector import Json
from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.findings import Finding
from controller.evaluate.curves.points import held_out_losses, train_losses
from controller.render.text import number, one_line


def curve_summary(points: Sequence[CurvePoint]) -> str:
    """Return first, last and lowest losses: `train 2.1 -> 0.4, held out 2 -> 1.1 (lowest …)`."""
    parts = []
    for name, pairs in (("train", train_losses(points)), ("held out", held_out_losses(points))):
        if not pairs:
            continue
        first, last = pairs[0][1], pairs[-1][1]
        part = f"{name} {number(first)} -> {number(last)}"
        step, lowest = min(pairs, key=lambda pair: pair[1])
        if name == "held out" and lowest < min(first, last):
            part += f" (lowest {number(lowest)} at step {step})"
        parts.append(part)
    return ", ".join(parts) or "no finite loss"


def finding_line(finding: Finding) -> str:
    """Return a finding on one line."""
    return f"! {finding.name}: {finding.text}"


def end_lines(facts: Mapping[str, Json]) -> Iterator[str]:
    """Yield which step of a training is kept, and why it ended before its last."""
    steps, of, why = (facts.get(key) for key in ("steps", "planned_steps", "stopped_because"))
    if isinstance(best := facts.get("best_step"), int):
        yield f"  kept        step {best:,}, with the lowest held-out loss"
    if why is not None:
        last = f"step {steps:,}" if isinstance(steps, int) else "an early step"
        planned = f" of {of:,}" if isinstance(of, int) else ""
        yield f"  stopped     at {last}{planned}: {one_line(str(why), 100)}"
