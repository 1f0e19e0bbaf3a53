"""Translation of a Ray cluster's answers into the contract's types. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Final

from backends.contract.inspector import Json
from backends.excerpt import clipped
from backends.launchers.launcher import Capacity, Placed, PlacedState
from backends.launchers.ray.failures import gist

COMMENT: Final = "comment"
"""Key of the comment in a job's metadata."""
_STATES: Final = {
    "PENDING": PlacedState.QUEUED,
    "RUNNING": PlacedState.RUNNING,
    "STOPPED": PlacedState.ENDED,
    "SUCCEEDED": PlacedState.ENDED,
    "FAILED": PlacedState.ENDED,
}
_TELLING: Final = frozenset({"PENDING", "FAILED"})
"""States whose message tells more than the state."""
_WAITS: Final = "Job has not started yet."
_WAITS_FOR: Final = "waiting for free resources, or for its runtime environment"
_LARGEST: Final = 1e18
"""Beyond, a number of a cluster is neither a time nor a count."""
_WORDS: Final = 300
"""Maximum number of characters of a message."""
_LOGS: Final = re.compile(r", last available logs.*", re.DOTALL)
"""The part of a message that repeats the job's output."""
_LINE_END: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\n")
"""End of a line in a JSON string."""


def placed_jobs(answer: Json) -> dict[str, Placed] | None:
    """Return the jobs of a list by their IDs; None if the answer is not a list of jobs."""
    if not isinstance(answer, list):
        return None
    named = [(job.get("submission_id"), placed(job)) for job in answer if isinstance(job, Mapping)]
    # Programs that were not submitted as jobs are in the list without an ID.
    return {name: job for name, job in named if isinstance(name, str) and job is not None}


def placed(job: Json) -> Placed | None:
    """Return a job; None if the answer is not a job."""
    if not isinstance(job, Mapping) or not isinstance(status := job.get("status"), str):
        return None
    metadata = job.get("metadata")
    comment = metadata.get(COMMENT) if isinstance(metadata, Mapping) else None
    message = job.get("message")
    words = status
    if isinstance(message, str) and message.strip() and status in _TELLING:
        # Ray says the same of every queued job, in three sentences.
        waits = status == "PENDING" and message.startswith(_WAITS)
        words = f"{status} ({_WAITS_FOR if waits else _short(message)})"
    return Placed(
        # A state of a newer Ray is open until the opposite is known: no second job is started.
        state=_STATES.get(status, PlacedState.RUNNING),
        words=words,
        comment=comment if isinstance(comment, str) else "",
    )


def ended_s(job: Json) -> float | None:
    """Return when a job ended, in seconds since 1970 by the cluster's clock; None if not known."""
    ended = job.get("end_time") if isinstance(job, Mapping) else None
    found = _number(ended)
    return None if found is None else found / 1000


def log_lines(answer: bytes, lines: int) -> list[str]:
    """Return the last lines of a job's output.

    Args:
        answer: JSON object with the output, or the end of one.
        lines: Maximum number of lines.
    """
    try:
        parsed = json.loads(answer)
        text = parsed.get("logs") if isinstance(parsed, dict) else None
    except ValueError:
        text = _end_of_output(answer)
    return text.splitlines()[-lines:] if isinstance(text, str) and lines > 0 else []


def capacity(answer: Json) -> Capacity:
    """Return what the nodes of a list have together; nothing if the answer is not a list of nodes."""
    for key in ("data", "result", "result"):
        answer = answer.get(key) if isinstance(answer, Mapping) else None
    if not isinstance(answer, list):
        return Capacity()
    nodes = [node.get("resources_total") for node in answer if isinstance(node, Mapping)]
    gpus, cpus = ([_count(node, kind) for node in nodes] for kind in ("GPU", "CPU"))
    # A head on which nothing is to run has neither.
    able = [count for count in (gpus if any(gpus) else cpus) if count]
    return Capacity(gpus=int(sum(gpus)), nodes=len(able))


def _count(resources: Json, kind: str) -> float:
    return _number(resources.get(kind) if isinstance(resources, Mapping) else None) or 0


def _number(value: Json) -> float | None:
    """Return a number; None for other values, among them infinity, which Python reads in JSON."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _LARGEST else None


def _short(message: str) -> str:
    """Return a message on one line, without output of the job and tracebacks."""
    first = message.strip().splitlines()[0]
    last = gist(message)
    kept = _LOGS.sub("", message) if last == message else f"{first} {last}"
    return clipped(" ".join(kept.split()), _WORDS)


def _end_of_output(answer: bytes) -> str | None:
    """Return the whole lines at the end of a JSON object of which only the end is there."""
    cut = _LINE_END.search(answer)
    end = answer.rstrip().removesuffix(b"}").rstrip()
    if cut is None or not end.endswith(b'"'):
        return None
    try:
        text: Json = json.loads(b'"' + end[cut.end() :])
    except ValueError:
        return None
    return text if isinstance(text, str) else None
