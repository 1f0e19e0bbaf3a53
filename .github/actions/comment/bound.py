"""What a comment is bound to: its second line holds plan, commits and run as JSON.

A slow run must not overwrite the comment of a newer one. Runs of a repository are numbered in the order
in which they begin, and a run that is started again keeps its number and raises its attempt.
"""

import json
import re
from typing import Any

_BEGIN, _END = "<!-- ftctl:bound ", " -->"
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def bound_of(text: str) -> dict[str, Any]:
    """Return what a comment is bound to; empty if nothing tells it."""
    line = text.partition("\n")[2].partition("\n")[0].strip()
    if not (line.startswith(_BEGIN) and line.endswith(_END)):
        return {}
    try:
        value = json.loads(line[len(_BEGIN) : -len(_END)])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def bind(text: str, head: str, run: int, attempt: int) -> str:
    """Return a comment with the run that made it in its second line, if that is there to bind it.

    Args:
        text: The comment, as ftctl wrote it.
        head: Newest commit of the pull request.
        run: Number of the run.
        attempt: Number of its attempt.

    Raises:
        ValueError: The plan is about another commit.
    """
    known = bound_of(text)
    if not known:
        return text
    if known.get("head") not in {None, head}:
        raise ValueError("the plan is about another commit than the newest of the pull request")
    base, plan = known.get("base"), known.get("plan")
    value = {
        "plan": plan if isinstance(plan, str) and re.fullmatch(r"[0-9a-f]{16}", plan) else None,
        "head": head,
        "base": base if isinstance(base, str) and _SHA.fullmatch(base) else None,
        "run": run,
        "attempt": attempt,
    }
    first, _, rest = text.partition("\n")
    return f"{first}\n{_BEGIN}{json.dumps(value)}{_END}\n{rest.partition(chr(10))[2]}"


def is_newer(there: str, text: str) -> bool:
    """Return True if the comment that is there was made by a newer run for the same commit."""
    old, new = bound_of(there), bound_of(text)
    if old.get("head") != new.get("head"):
        return False
    return _order(old) > _order(new)


def _order(bound: dict[str, Any]) -> tuple[int, int]:
    run, attempt = bound.get("run"), bound.get("attempt")
    if type(run) is int and type(attempt) is int:
        return run, attempt
    return 0, 0
