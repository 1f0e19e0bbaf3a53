"""What this machine remembers of submissions. All of it may be lost; the server knows the rest.

An intent says that a create call may have been sent; it goes when the job is known. A note says
which key and which source lines a job has, for servers that keep no metadata and for errors that
name an example.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.atomic_files import sync_folder, write_atomic
from backends.openai.jobs.job_matching import ExpectedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is remembered of one job."""

    fingerprint: str
    attempt: int
    origins: Path
    """The file with one `file:line` for each example; may be gone."""


class SubmissionLog:
    """The folder of one backend's memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read_intent(self, wanted: ExpectedJob) -> float | None:
        """Return when a create call for this key may have been sent; None when surely none was."""
        raw = _read(self._intent(wanted))
        sent = raw.get("sending_s")
        return float(sent) if isinstance(sent, int | float) else None

    def write_intent(self, wanted: ExpectedJob, *, now_s: float, sending: bool) -> None:
        """Write, and wait until it is on the disk, that this key is being submitted.

        Args:
            wanted: What is being submitted.
            now_s: Seconds since the epoch.
            sending: Whether the create call is next.
        """
        request = wanted.request
        intent = {
            "fingerprint": request.fingerprint,
            "attempt": request.attempt,
            "name": request.name,
            "model": wanted.model,
            "training_file": wanted.train.name,
            "seed": wanted.seed,
            "suffix": wanted.suffix,
            "prepared_s": now_s,
            "sending_s": now_s if sending else None,
        }
        write_atomic(self._intent(wanted), _encode(intent))

    def remove_intent(self, wanted: ExpectedJob) -> None:
        """Forget an intent: the job is known, or surely was not created."""
        path = self._intent(wanted)
        if path.exists():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    def write_note(self, job_id: str, wanted: ExpectedJob) -> None:
        """Remember a job."""
        note = {
            "fingerprint": wanted.request.fingerprint,
            "attempt": wanted.request.attempt,
            "origins": str(wanted.request.train_origins.absolute()),
        }
        path = self._note(job_id)
        if _read(path) != note:
            write_atomic(path, _encode(note))

    def read_note(self, job_id: str) -> Note | None:
        """Return what is remembered of a job; None when nothing is."""
        raw = _read(self._note(job_id))
        try:
            return Note(
                fingerprint=str(raw["fingerprint"]),
                attempt=int(raw["attempt"]),
                origins=Path(raw["origins"]),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def origins(self, job_id: str) -> Sequence[str]:
        """Return `file:line` of each example that a job is trained on; empty when not known."""
        note = self.read_note(job_id)
        if note is None:
            return ()
        try:
            return note.origins.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return ()

    def _intent(self, wanted: ExpectedJob) -> Path:
        request = wanted.request
        name = f"{_plain(request.fingerprint)}-{request.attempt}.json"
        return self._folder / "intents" / name

    def _note(self, job_id: str) -> Path:
        return self._folder / "jobs" / f"{_plain(job_id)}.json"


def _plain(text: str) -> str:
    """Make a server's or a hash's text fit for a file name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:160]


def _encode(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    """Read a file of ours; a missing or torn one says nothing."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
