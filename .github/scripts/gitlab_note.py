"""Write a plan as one note of a GitLab merge request, or replace the note that is there.

    gitlab_note.py FILE

Uses the variables of GitLab's CI, and FTCTL_NOTE_TOKEN: a project access token with the scope `api` and the
role Reporter. Without that token it does nothing: the plan is an artifact of the job.
"""

import json
import os
import sys
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

MARK = "<!-- ftctl:plan"
LONGEST = 1_000_000
PAGE = 100
TIMEOUT_S = 30.0


def call(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
    """Call GitLab's API; return the answer."""
    base = f"{os.environ['CI_API_V4_URL']}/projects/{os.environ['CI_PROJECT_ID']}"
    headers = {"PRIVATE-TOKEN": os.environ["FTCTL_NOTE_TOKEN"], "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.loads(answer.read())


def main(file: str) -> int:
    """Write the note; return the exit code."""
    if not os.environ.get("FTCTL_NOTE_TOKEN"):
        sys.stdout.write("No FTCTL_NOTE_TOKEN: the plan is an artifact of this job.\n")
        return 0
    if not Path(file).exists():
        sys.stdout.write("There is no plan to show: the job's script says why.\n")
        return 0
    text = Path(file).read_text(encoding="utf-8")[:LONGEST]
    notes = f"/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}/notes"
    try:
        me = call_user()
        page, mine = 1, None
        while mine is None:
            found = call("GET", f"{notes}?per_page={PAGE}&page={page}")
            mine = next(
                (
                    one
                    for one in found
                    if one["author"]["id"] == me and one["body"].startswith(MARK)
                ),
                None,
            )
            page += 1
            if len(found) < PAGE:
                break
        if mine is None:
            call("POST", notes, {"body": text})
        else:
            call("PUT", f"{notes}/{mine['id']}", {"body": text})
    except (OSError, HTTPException, ValueError) as error:  # no answer, a broken one, or not JSON
        sys.stderr.write(f"The note could not be written: {error}. The plan is an artifact.\n")
        return 1
    sys.stdout.write("Wrote the note.\n" if mine is None else "Replaced the note.\n")
    return 0


def call_user() -> int:
    """Return the ID of the token's own user: anybody can write the mark into a note."""
    request = urllib.request.Request(
        f"{os.environ['CI_API_V4_URL']}/user",
        headers={"PRIVATE-TOKEN": os.environ["FTCTL_NOTE_TOKEN"]},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        number: int = json.loads(answer.read())["id"]
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
