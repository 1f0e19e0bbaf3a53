"""Events and metrics of a job, from the server and from the backend.

The server writes its own events to a file beside the job, and queries the backend for the others.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from backends.atomic_files import append_line
from backends.contract.jobs import Event
from controller.server.record_store import Record

COLUMNS = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
"""Columns of the result file; metrics that a backend does not measure are empty."""
_METRICS = {
    "step": "step",
    "total_steps": "total_steps",
    "loss": "train_loss",
    "held_out_loss": "full_valid_loss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Record):
    """One line of a job's log."""

    message: str
    level: str = "info"
    data: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, JsonValue]:
        """Return the event object of the protocol."""
        return {
            "object": "fine_tuning.job.event",
            "id": self.id,
            "created_at": int(self.created_s),
            "level": self.level,
            "message": self.message,
            "type": "metrics" if self.data else "message",
            "data": dict[str, JsonValue](self.data),
        }


def note(file: Path, time_s: float, message: str, level: str = "info") -> None:
    """Append an event of the server to a job's file."""
    line = {"time_s": time_s, "level": level, "message": message}
    append_line(file, json.dumps(line, ensure_ascii=False).encode())


def newest_first(
    job_id: str, file: Path, reported: Iterable[Event], since_s: float
) -> list[JobEvent]:
    """Return all events of a job.

    Args:
        job_id: The job.
        file: File with the server's own events.
        reported: The backend's events, oldest first.
        since_s: Start of the job. Events of a shared run from before then get this time.
    """
    events = [*_noted(job_id, file), *_reported(job_id, reported, since_s)]
    return sorted(events, key=lambda event: event.created_s)[::-1]


def metrics_of(event: Event) -> dict[str, float]:
    """Return the protocol's metrics of an event; empty if the event has no metrics."""
    values = {
        shown: value
        for name, shown in _METRICS.items()
        if isinstance(value := event.data.get(name), int | float)
    }
    return values if "step" in values else {}


def by_step(events: Iterable[Event]) -> list[dict[str, float]]:
    """Return the metrics of each step, in order. Of a repeated step, the last metrics count."""
    steps: dict[float, dict[str, float]] = {}
    for event in events:
        metrics = metrics_of(event)
        if metrics:
            steps.setdefault(metrics["step"], {}).update(metrics)
    return [steps[step] for step in sorted(steps)]


def result_csv(steps: Sequence[Mapping[str, float]]) -> bytes:
    """Return the metrics as a result file."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for step in steps:
        writer.writerow({**step, "valid_loss": step.get("full_valid_loss", "")})
    return text.getvalue().encode()


def _reported(job_id: str, events: Iterable[Event], since_s: float) -> Iterator[JobEvent]:
    for number, event in enumerate(events):
        metrics = metrics_of(event)
        yield JobEvent(
            id=_event_id(job_id, "run", number),
            created_s=max(event.time_s, since_s),
            message=_message(metrics) if metrics else event.message,
            # JSON has no number for a loss that diverged; the message has it.
            data={name: value for name, value in metrics.items() if math.isfinite(value)},
        )


def _noted(job_id: str, file: Path) -> Iterator[JobEvent]:
    lines = file.read_bytes().splitlines() if file.exists() else []
    for number, line in enumerate(lines):
        # A crash may have left half a line.
        with suppress(ValueError, TypeError, KeyError):
            noted = json.loads(line)
            said = {"message": noted["message"], "level": noted["level"]}
            event_id = _event_id(job_id, "server", number)
            yield JobEvent(id=event_id, created_s=float(noted["time_s"]), **said)


def _message(metrics: Mapping[str, float]) -> str:
    step = f"Step {metrics['step']:.0f}"
    total = f"/{metrics['total_steps']:.0f}" if "total_steps" in metrics else ""
    names = {"train_loss": "training loss", "full_valid_loss": "full validation loss"}
    losses = [f"{said}={metrics[key]:.4f}" for key, said in names.items() if key in metrics]
    return f"{step}{total}: {', '.join(losses)}" if losses else f"{step}{total}"


def _event_id(job_id: str, source: str, number: int) -> str:
    return f"ftevent-{hashlib.sha256(f'{job_id} {source} {number}'.encode()).hexdigest()[:24]}"
