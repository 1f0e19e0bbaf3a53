"""Curves of builds in the state folder, so that showing them later needs no backend."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from backends.atomic_files import write_atomic
from backends.contract.backend import Backend
from backends.contract.inspector import Json
from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.findings import Finding, findings_of
from controller.evaluate.curves.points import curve_lines, parse_curve, thinned
from controller.evaluate.gate import LOSS
from controller.lockfile.model import Build, Entry
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


def findings_of_build(build: Build, points: Sequence[CurvePoint]) -> tuple[Finding, ...]:
    """Return what is wrong with the training of a build, by its curve."""
    return _findings(build.inputs, points, _base_loss(build))


def findings_of_job(entry: Entry, points: Sequence[CurvePoint]) -> tuple[Finding, ...]:
    """Return what is wrong with the open job of a fine-tune, by its curve so far."""
    job = entry.job
    if job is None:
        return ()
    same = (
        _base_loss(build)
        for build in entry.builds.values()
        if build.inputs.get("base_model") == job.inputs.get("base_model")
        and build.data.held_out == job.data.held_out
    )
    return _findings(job.inputs, points, next(filter(None, same), None))


def findings_of_any_job(
    entry: Entry, job_id: str, points: Sequence[CurvePoint]
) -> tuple[Finding, ...]:
    """Return what is wrong with any job of a fine-tune, open, recorded or failed."""
    if entry.job is not None and entry.job.id == job_id:
        return findings_of_job(entry, points)
    for build in entry.builds.values():
        if build.job == job_id:
            return findings_of_build(build, points)
    return findings_of(points)


def _findings(
    inputs: Mapping[str, Json], points: Sequence[CurvePoint], base_loss: float | None
) -> tuple[Finding, ...]:
    return findings_of(
        points,
        base_loss=base_loss,
        method=str(inputs.get("method", "")),
        # Held-out examples are among the inputs exactly where they decide which weights are kept.
        keeps_best="held_out" in inputs,
    )


def _base_loss(build: Build) -> float | None:
    scores = build.evaluation.scores.get("base", {}) if build.evaluation else {}
    return scores.get(LOSS)
