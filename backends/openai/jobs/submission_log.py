"""Log of submissions on this machine. It may be lost; the server has what matters.

An intent records that a create call may have been sent; it is removed when the job is known. A note
records key and source lines of a job, for servers without metadata and for errors that name an
example.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backends.atomic_files import sync_folder, write_atomic
from backends.openai.jobs.job_matching import ExpectedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Key and source lines of one job."""

    fingerprint: str
    attempt: int
    origins: Path
    """The file with one `file:line` for each example; it may be deleted."""


class SubmissionLog:
    """The log of one backend, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read_intent(self, expected: ExpectedJob) -> float | None:
        """Return the time at which a create call may have been sent; None if it was never sent."""
        raw = _read(self._intent(expected))
        sent = raw.get("sending_s")
        return float(sent) if isinstance(sent, int | float) else None

    def write_intent(self, expected: ExpectedJob, *, now_s: float, sending: bool) -> None:
        """Write to the disk that a job is about to be created.

        Args:
            expected: The job.
            now_s: Seconds since the epoch.
            sending: True if the create call is next.
        """
        request = expected.request
        intent = {
            "fingerprint": request.fingerprint,
            "attempt": request.attempt,
            "name": request.name,
            "model": expected.model,
            "training_file": expected.train.name,
            "seed": expected.seed,
            "suffix": expected.suffix,
            "prepared_s": now_s,
            "sending_s": now_s if sending else None,
        }
        write_atomic(self._intent(expected), _encode(intent))

    def remove_intent(self, expected: ExpectedJob) -> None:
        """Remove an intent, because the job is known or was not created."""
        path = self._intent(expected)
        if path.exists():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def write_note(self, job_id: str, expected: ExpectedJob) -> None:
        """Record key and source lines of a job."""
        request = expected.request
        note = {
            "fingerprint": request.fingerprint,
            "attempt": request.attempt,
            "origins": str(request.train_origins.absolute()),
        }
        path = self._note(job_id)
        if _read(path) != note:
            write_atomic(path, _encode(note))

    def read_note(self, job_id: str) -> Note | None:
        """Return the note of a job; None without a note."""
        try:
            return TypeAdapter(Note).validate_python(_read(self._note(job_id)))
        except ValidationError:
            return None

    def origins(self, job_id: str) -> Sequence[str]:
        """Return `file:line` of each training example of a job; empty if it is not known."""
        note = self.read_note(job_id)
        if note is None:
            return ()
        try:
            return note.origins.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return ()

    def _intent(self, expected: ExpectedJob) -> Path:
        request = expected.request
        name = f"{_plain(request.fingerprint)}-{request.attempt}.json"
        return self._folder / "intents" / name

    def _note(self, job_id: str) -> Path:
        return self._folder / "jobs" / f"{_plain(job_id)}.json"


def _plain(text: str) -> str:
    """Return a text with characters that fit a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:160]


def _encode(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file is missing or torn."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
