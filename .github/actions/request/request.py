"""Check whether a comment asks for a plan that is made with keys, and whether its author may.

`/ftctl plan` plans the newest commit of a pull request of this repository. For a fork, the comment names
the commit that its author has read, `/ftctl plan 0123456`: a stranger may push another one meanwhile.
Who may is asked of GitHub; what a comment says of its author counts for nothing.

    TOKEN               reads the pull request and the author's permission
    GITHUB_EVENT_PATH   the event `issue_comment`
    GITHUB_OUTPUT       `pull`, `head` and `merge` are written there, if it is to be planned
"""

import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "comment"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "approved"))

from api import ApiError, GitHub, Json, event, fail, output
from approved import may_approve
from comment import is_from_fork

_REQUEST = re.compile(r"/ftctl plan(?: ([0-9a-f]{7,40}))?", re.ASCII)
_SHA = re.compile(r"[0-9a-f]{40}")
MERGE_TRIES = 5
"""GitHub makes the merge commit of a pull request when it is asked for it, and a moment later has it."""


def refusal(github: GitHub, given: Json) -> tuple[str, Json]:
    """Return why nothing is to be planned, and the pull request; an empty text if it is."""
    match = _REQUEST.fullmatch(given["comment"]["body"].strip())
    if match is None or "pull_request" not in given["issue"] or given["action"] != "created":
        return "The comment asks for nothing.", None
    author = given["comment"]["user"]["login"]
    if not may_approve(github, author):
        return "The author of the comment may not push to this repository.", None
    pull = github.get(f"/pulls/{given['issue']['number']}")
    if pull is None or pull["state"] != "open":
        return "The pull request is closed.", None
    if pull["base"]["ref"] != given["repository"]["default_branch"]:
        return "The pull request is not for the default branch.", None
    head = pull["head"]["sha"]
    if match[1] is None and is_from_fork(pull):
        return f"For a fork, name the commit that you have read: /ftctl plan {head[:12]}", None
    if match[1] is not None and not head.startswith(match[1]):
        return "The pull request has another newest commit than the comment names.", None
    return "", pull


def merge_commit(github: GitHub, pull: Json) -> str:
    """Return the commit that merges a pull request; empty if there are conflicts."""
    for attempt in range(MERGE_TRIES):
        now = github.get(f"/pulls/{pull['number']}")
        if now["head"]["sha"] != pull["head"]["sha"] or now["mergeable"] is False:
            return ""
        if now["mergeable"] and _SHA.fullmatch(now["merge_commit_sha"] or ""):
            return str(now["merge_commit_sha"])
        time.sleep(2**attempt / 4)
    return ""


def main() -> None:
    """Check the request, and write the outputs."""
    github = GitHub(os.environ["TOKEN"])
    why, pull = refusal(github, event())
    if why:
        sys.stdout.write(f"{why}\n")
        return
    merge = merge_commit(github, pull)
    if not merge:
        fail("the pull request has conflicts, or has got another commit: there is nothing to plan")
    output(pull=pull["number"], head=pull["head"]["sha"], merge=merge)
    sys.stdout.write(f"To be planned: pull request {pull['number']} at {pull['head']['sha']}.\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
