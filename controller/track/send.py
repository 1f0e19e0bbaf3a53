"""Write runs to trackers: a child process for each tracker, all at once, within a time limit.

A tracker's library starts threads and processes of its own and retries for minutes. In a child it
can do neither harm nor wait for longer than it may.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from backends.contract.errors import Problem
from controller.track.record import RunRecord
from controller.track.targets import Target

RecordsFor: TypeAlias = Callable[[Target], Sequence[RunRecord]]
_USER: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_LONGEST: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Result of one tracker."""

    tracker: str
    links: Mapping[str, str] = field(default_factory=dict)
    """Place of each run, by the key of its record."""
    problem: Problem | None = None
    """Why nothing, or not everything, was written."""


def write_runs(
    targets: Sequence[Target], records_for: RecordsFor, root: Path, state: Path, limit_s: float
) -> list[Written]:
    """Write runs to every tracker.

    Args:
        targets: The trackers.
        records_for: Returns the runs for a tracker.
        root: The repository; paths in settings are relative to it.
        state: The state folder.
        limit_s: Longest time for all of them together.
    """
    until_s = time.monotonic() + limit_s
    with ExitStack() as stack:
        children = [
            stack.enter_context(_started(target, records_for(target), root, state))
            for target in targets
        ]
        return [child.result(until_s, limit_s) for child in children]


@contextmanager
def _started(
    target: Target, records: Sequence[RunRecord], root: Path, state: Path
) -> "Iterator[_Child]":
    """Start a child process; kill it at the end, with all that it started."""
    value = {
        "tracker": target.tracker,
        "settings": dict(target.settings),
        "records": [asdict(one) for one in records],
        "state": str(state),
    }
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
        asked.write(json.dumps(value).encode())
        asked.seek(0)
        # -P: a `mlflow.py` in the repository must not become the library.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "controller.track.worker"],
            stdin=asked,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=root,
            start_new_session=True,
        )
        try:
            yield _Child(tracker=target.tracker, process=process, errors=errors)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    tracker: str
    process: subprocess.Popen[bytes]
    errors: IO[bytes]

    def result(self, until_s: float, limit_s: float) -> Written:
        """Wait for the result, to the end of the time at most."""
        try:
            output, _ = self.process.communicate(timeout=max(0.0, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            return self._failed(f"gave no answer within {limit_s:g} s", "")
        answer = _last_object(output)
        if answer is None:
            return self._failed(f"ended unexpectedly: {self._last_words()}", "")
        if "error" in answer:
            return self._failed(str(answer["error"]), str(answer.get("remedy", "")))
        return Written(tracker=self.tracker, links=answer["links"])

    def _failed(self, message: str, remedy: str) -> Written:
        message = _USER.sub("…", " ".join(message.split()))
        clipped = message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…"
        return Written(tracker=self.tracker, problem=Problem(message=clipped, remedy=remedy))

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        words = next((line for line in reversed(lines) if line.strip()), "")
        return words or f"exit code {self.process.returncode}"


def _last_object(output: bytes) -> dict[str, Any] | None:
    for line in reversed(output.splitlines()):
        with suppress(ValueError):
            value = json.loads(line)
            return value if isinstance(value, dict) else None
    return None
