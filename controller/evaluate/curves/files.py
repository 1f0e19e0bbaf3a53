"""Curves of builds in the state folder, so that showing them later needs no backend."""

from pathlib import Path

from backends.atomic_files import write_atomic
from backends.contract.backend import Backend
from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.findings import Finding, findings_of
from controller.evaluate.curves.points import curve_lines, parse_curve, thinned
from controller.evaluate.gate import LOSS
from controller.lockfile.model import Build
from controller.plan.fingerprint import short_id


def curve_path(state: Path, build: Build) -> Path:
    """Return the path of a build's curve."""
    return state / "curves" / f"{short_id(build.fingerprint)}.jsonl"


def read_curve(state: Path, build: Build) -> list[CurvePoint]:
    """Return the kept curve of a build; empty if none is kept, or it cannot be read."""
    try:
        return parse_curve(curve_path(state, build).read_bytes())
    except (OSError, ValueError):
        return []


def keep_curve(backend: Backend, state: Path, build: Build) -> list[CurvePoint]:
    """Ask a backend for the curve of a build, and keep it; a curve that is not known is not kept.

    Returns:
        The curve as it is kept; empty if the backend does not know it.

    Raises:
        BackendError: The backend gave no answer.
        OSError: The file cannot be written.
    """
    path = curve_path(state, build)
    # The losses of an earlier attempt are not those of this build.
    path.unlink(missing_ok=True)
    # The job of an adopted model need not be known.
    text = curve_lines(thinned(backend.curve(build.job) if build.job else ()))
    if text:
        write_atomic(path, text)
    return parse_curve(text)


def findings_of_build(build: Build, points: list[CurvePoint]) -> tuple[Finding, ...]:
    """Return what is wrong with the training of a build, by its curve."""
    scores = build.evaluation.scores.get("base", {}) if build.evaluation else {}
    method = str(build.inputs.get("method", ""))
    return findings_of(points, base_loss=scores.get(LOSS), method=method)
