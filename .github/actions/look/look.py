"""Look at the lockfile of the branch: is any job open? Needs no checkout and no package.

Open is a job that is recorded without its end, or a candidate that nobody has judged yet; not after so
many days that a person must look at it, which the weekly drift says. For what cannot be read here the
answer is `open`: then ftctl itself looks, and says what is wrong.

    FOLDER       the folder with finetunes/, from the top of the repository
    BRANCH       the branch with the specs
    TOKEN        reads the repository, and starts the workflow
    WAIT         `true`: return only when the pause since the start of this run is over
    DISPATCH     this workflow's reference, to start `action: follow` of it if anything is open
    LOST         `true`: the machine of this run's apply was lost before it recorded anything; start
                 `action: apply`, which finds what was submitted and pays for nothing twice
    FAILED       `true`: the reconcile before failed; after a day a person must look, and no run follows
    GITHUB_OUTPUT   `open`, `local` (jobs on the machine itself), `pause` in seconds

`look.py FILE` asks nobody: it looks at a lockfile here, and ends with 1 if nothing is open.
"""

import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import ApiError, GitHub, Json, fail, output

LIMIT = 256 << 20
SHORTEST_S, LONGEST_S = 300, 1800
OLDEST_JOB_S, OLDEST_CANDIDATE_S, OLDEST_FAILING_S = 35 * 86_400, 2 * 86_400, 86_400
_BRANCH = re.compile(
    r"""^lockfile:[ \t]*(?:\{[ \t]*|(?:\#[^\n]*)?\n(?:[ \t]*(?:\#[^\n]*)?\n)*[ \t]+)
        branch:[ \t]*(['"]?)([A-Za-z0-9._/-]+)\1[ \t]*(?:\}[ \t]*)?(?:\#[^\n]*)?$""",
    re.MULTILINE | re.VERBOSE,
)


def records_branch(settings: str) -> str | None:
    """Return the branch that `lockfile.branch` names; None without one.

    Raises:
        ValueError: It is written in a form that only ftctl reads.
    """
    found = _BRANCH.search(settings)
    if found:
        return found[2]
    if re.search(r"""^\s*(?:['"]?lockfile['"]?\s*:|\{)""", settings, re.MULTILINE):
        raise ValueError("lockfile.branch")
    return None


def open_jobs(lockfile: Json, now: datetime) -> tuple[int, bool, float]:
    """Return how many jobs are open, if one is on the machine itself, and the oldest one's age in seconds."""
    count, local, oldest_s = 0, False, 0.0
    for entry in lockfile["finetunes"].values():
        job = entry.get("job")
        candidate = entry.get("builds", {}).get(entry.get("candidate"))
        if job is not None:
            age_s = _age_s(job["submitted"], now)
            followed = age_s < OLDEST_JOB_S
            local |= followed and job["backend"] == "local-gpu"
        elif candidate is not None and "verdict" not in candidate:
            age_s = _age_s(candidate["finished"], now)
            followed = age_s < OLDEST_CANDIDATE_S
        else:
            continue
        count += followed
        oldest_s = max(oldest_s, age_s) if followed else oldest_s
    return count, local, oldest_s


def _age_s(time_of: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(time_of)).total_seconds()


def pause_s(age_s: float) -> int:
    """Return the seconds until the next look: a tenth of the oldest job's age, from 5 to 30 minutes."""
    return int(min(LONGEST_S, max(SHORTEST_S, age_s / 10)))


def look(github: GitHub, folder: str, branch: str) -> tuple[int, bool, float]:
    """Return what `open_jobs` returns, by the lockfile that the repository holds now."""
    prefix = "" if folder in {"", "."} else f"{Path(folder).as_posix()}/"
    settings = github.file(f"{prefix}ftctl.yaml", branch, LIMIT)
    try:
        recorded = records_branch((settings or b"").decode()) or branch
        text = github.file(f"{prefix}finetunes/ftctl.lock", recorded, LIMIT)
        if text is None:
            return 0, False, 0.0
        return open_jobs(json.loads(text), datetime.now(UTC))
    except (ValueError, KeyError, TypeError, AttributeError):
        return 1, False, 0.0


def main() -> None:
    """Look, write the outputs, wait and dispatch as asked."""
    github = GitHub(os.environ["TOKEN"])
    branch = os.environ["BRANCH"]
    count, local, age_s = look(github, os.environ.get("FOLDER", "."), branch)
    pause = pause_s(age_s)
    output(open=count, local=str(local).lower(), pause=pause)
    sys.stdout.write(f"{count} open.\n" if count else "Nothing is open.\n")
    if count and os.environ.get("WAIT") == "true":
        _wait(github, pause)
    workflow, lost = os.environ.get("DISPATCH", ""), os.environ.get("LOST") == "true"
    if count and os.environ.get("FAILED") == "true" and age_s > OLDEST_FAILING_S:
        sys.stdout.write("It failed again: a person must look. Start `reconcile` by hand then.\n")
    elif workflow and (count or lost):
        name = workflow.partition("@")[0].rpartition("/")[2]
        action = "apply" if lost else "follow"
        body = {"ref": branch, "inputs": {"action": action}}
        github.send("POST", f"/actions/workflows/{name}/dispatches", body)
        sys.stdout.write(f"The next run is on its way: {action}.\n")


def _wait(github: GitHub, pause: int) -> None:
    """Sleep for what is left of the pause: an environment with a wait timer has waited already."""
    run = github.get(f"/actions/runs/{os.environ['GITHUB_RUN_ID']}")
    began = datetime.fromisoformat(run["run_started_at"]) if run else datetime.now(UTC)
    left = pause - (datetime.now(UTC) - began).total_seconds()
    if left > 0:
        sys.stdout.write(f"Waiting for {left:.0f} s before the next look.\n")
        sys.stdout.flush()
        time.sleep(left)


def look_here(file: str) -> int:
    """Look at a lockfile of this machine; return the exit code."""
    try:
        count, _, _ = open_jobs(json.loads(Path(file).read_bytes()), datetime.now(UTC))
    except (ValueError, KeyError, TypeError, AttributeError):
        count = 1
    sys.stdout.write(f"{count} open.\n" if count else "Nothing is open.\n")
    return 0 if count else 1


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(look_here(sys.argv[1]))
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
