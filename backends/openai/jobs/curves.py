"""The losses of a job, from its result file, its events and its checkpoints.

As a rule, a result file has the loss of a part of the held-out set at each step; the loss of the
whole set is in events and checkpoints. Servers without result files and metrics have no curve.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from backends.contract.jobs import CurvePoint, JobState
from backends.openai.api.protocol import (
    Body,
    OutcomeUnknown,
    Rejected,
    mapping_in,
    number,
    objects,
    read_pages,
    text_of,
)
from backends.openai.jobs.conversions import raw_state
from backends.openai.jobs.result_files import result_rows

if TYPE_CHECKING:
    from backends.openai.api.client import Client

_EVENTS: Final = 100
_HELD_OUT: Final = ("full_valid_loss", "valid_loss")
"""Names of held-out losses: of the whole set, and of a part of it."""
_ENOUGH: Final = 2
"""Measurements of the whole held-out set that make a curve of their own."""


def read_curve(client: "Client", job_id: str) -> list[CurvePoint]:
    """Return the losses of a job, in order of the steps; empty where the server reports none.

    Raises:
        Rejected: The server does not show the job or its metrics.
        OutcomeUnknown: The server gave no usable answer.
    """
    try:
        job = client.retrieve_job(job_id)
    except Rejected as error:
        if error.is_missing:
            return []
        raise
    if job.get("id") != job_id:
        return []
    has_succeeded = raw_state(job) is JobState.SUCCEEDED
    measured = list(_result_file(client, job)) if has_succeeded else []
    if not any(_loss(metrics.get(_HELD_OUT[0])) is not None for metrics in measured):
        measured = [*_events(client, job_id, is_needed=not to_curve(measured)), *measured]
    if has_succeeded:
        measured += _checkpoints(client, job_id)
    return to_curve(measured)


def to_curve(measured: Iterable[Mapping[str, Any]]) -> list[CurvePoint]:
    """Return metrics of steps as a curve, in order of the steps.

    Losses of the whole held-out set and losses of parts of it are not mixed, where the former make
    a curve.

    Args:
        measured: Metrics by the protocol's names; later ones of a step replace earlier ones.
    """
    steps: dict[int, dict[str, float]] = {}
    for metrics in measured:
        step = number(metrics.get("step"))
        if step is None or step < 0:
            continue
        losses = {key: _loss(metrics.get(key)) for key in ("train_loss", *_HELD_OUT)}
        known = {key: loss for key, loss in losses.items() if loss is not None}
        epoch = number(metrics.get("epoch"))
        steps.setdefault(int(step), {}).update(known | ({} if epoch is None else {"epoch": epoch}))
    whole = sum("full_valid_loss" in known for known in steps.values())
    columns = _HELD_OUT[:1] if whole >= _ENOUGH else _HELD_OUT
    points = (
        CurvePoint(
            step=step,
            train_loss=known.get("train_loss"),
            held_out_loss=next((known[column] for column in columns if column in known), None),
            epoch=known.get("epoch"),
        )
        for step, known in sorted(steps.items())
    )
    return [point for point in points if (point.train_loss, point.held_out_loss) != (None, None)]


def _result_file(client: "Client", job: Body) -> Iterator[Mapping[str, Any]]:
    files = job.get("result_files")
    name = next(filter(None, map(text_of, files if isinstance(files, list) else ())), "")
    try:
        yield from result_rows(client.file_content(name)) if name else ()
    except Rejected:
        # Expired or deleted: the events may still be there.
        return


def _events(client: "Client", job_id: str, *, is_needed: bool) -> list[Body]:
    """Return the metrics in a job's events, oldest first; unreadable ones fail only if needed."""
    pages = read_pages(
        lambda after: client.list_events(job_id, limit=_EVENTS, after=after), _EVENTS
    )
    try:
        return [mapping_in(event, "data") for event in pages][::-1]
    except (Rejected, OutcomeUnknown):
        if is_needed:
            raise
        return []


def _checkpoints(client: "Client", job_id: str) -> list[Body]:
    """Return the metrics of the saved models; nothing from a server without checkpoints."""
    try:
        listed = objects(client.list_checkpoints(job_id))
    except (Rejected, OutcomeUnknown):
        return []
    return [
        {"step": checkpoint.get("step_number"), **mapping_in(checkpoint, "metrics")}
        for checkpoint in listed
    ]


def _loss(value: object) -> float | None:
    """Return a loss, which may be written as text and may have diverged; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
