"""Start or end the training of a pull request, by its label `ftctl/train`.

The event tells which commit was the newest when the label was set: that one is trained, and a push
removes the label. What trains is another run, of the default branch, which asks everything again.

    DISPATCH            this workflow's reference
    TOKEN               reads permissions, starts the workflow, removes the label
    GITHUB_EVENT_PATH   the event `pull_request_target`
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "comment"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "approved"))

from api import ApiError, GitHub, Json, event, fail
from approved import may_approve
from comment import is_from_fork

LABEL = "ftctl/train"
_MISSING = 404


def refusal(github: GitHub, pull: Json, by: str) -> str:
    """Return why a label that was just set trains nothing; empty if it may."""
    number, home = pull["number"], pull["base"]["repo"]["full_name"]
    if is_from_fork(pull):
        fork = (pull["head"]["repo"] or {}).get("full_name", "a repository that is gone")
        return f"Pull request {number} comes from the fork {fork}; only branches of {home} are trained."
    if not may_approve(github, by):
        return f"{by} may not push to {home}, so the label of pull request {number} trains nothing."
    return ""


def remove_label(github: GitHub, number: int) -> None:
    """Take the label off a pull request; it may be gone already."""
    try:
        github.send("DELETE", f"/issues/{number}/labels/{quote(LABEL, safe='')}", None)
    except ApiError as error:
        if error.status != _MISSING:
            raise


def wanted(github: GitHub, given: Json) -> str:
    """Return what the training workflow is to do; empty for nothing."""
    pull, action = given["pull_request"], given["action"]
    number, head = pull["number"], pull["head"]["sha"]
    is_ours = (given.get("label") or {}).get("name") == LABEL
    has_label = LABEL in {label["name"] for label in pull["labels"]}
    if action == "labeled" and is_ours:
        why = refusal(github, pull, given["sender"]["login"])
        if why:
            remove_label(github, number)
            fail(why)
        return f"train {number} {head}"
    if action == "unlabeled" and is_ours:
        return f"cancel {number}"
    if action == "synchronize" and has_label:
        remove_label(github, number)
        sys.stdout.write("The label was for an earlier commit. Set it again to train this one.\n")
    if action == "closed" and has_label and not pull["merged"]:
        return f"cancel {number}"
    return ""


def main() -> None:
    """Read the event, and start the workflow."""
    github, given = GitHub(os.environ["TOKEN"]), event()
    action = wanted(github, given)
    if not action:
        sys.stdout.write("Nothing to start.\n")
        return
    name = os.environ["DISPATCH"].partition("@")[0].rpartition("/")[2]
    body = {"ref": given["repository"]["default_branch"], "inputs": {"action": action}}
    github.send("POST", f"/actions/workflows/{name}/dispatches", body)
    sys.stdout.write(f"Started: {action}.\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
