"""Check a request to train a pull request before its merge, or to end that.

Whoever may push to the repository can start a run with any text, so the text counts for nothing but the
number and the commit: everything else is asked of GitHub.

    REQUEST             `train NUMBER COMMIT` or `cancel NUMBER`
    TOKEN               reads the pull request and permissions
    GITHUB_EVENT_PATH   the event
    GITHUB_OUTPUT       `pull`, `head`, `merge` and `options`, or `cancel`, are written there
"""

import math
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "comment"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "approved"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "request"))

from api import ApiError, GitHub, Json, event, fail, output
from approved import LABEL as COST_LABEL
from approved import highest_cost, is_labelled, plan_of
from comment import is_from_fork
from request import merge_commit

LABEL = "ftctl/train"
_TRAIN = re.compile(r"train ([1-9][0-9]{0,9}) ([0-9a-f]{40})")
_CANCEL = re.compile(r"cancel ([1-9][0-9]{0,9})")


def refusal(github: GitHub, pull: Json, head: str, default_branch: str) -> str:
    """Return why a pull request is not trained; empty if it is."""
    if pull is None or pull["state"] != "open":
        return "The pull request is not open."
    if is_from_fork(pull):
        fork = (pull["head"]["repo"] or {}).get("full_name", "a repository that is gone")
        home = pull["base"]["repo"]["full_name"]
        return f"It comes from the fork {fork}; only branches of {home} are trained."
    if pull["base"]["ref"] != default_branch:
        return "The pull request is not for the default branch."
    if pull["head"]["sha"] != head:
        return "The label was set for another commit. Set it again to train the newest."
    if not is_labelled(github, pull, LABEL):
        return f"Nobody who may push to this repository has set the label {LABEL}."
    return ""


def options(github: GitHub, pull: Json, branch: str) -> str:
    """Return the options of `ftctl train`: the label approves, within the budgets."""
    given = "--auto-approve"
    if is_labelled(github, pull, COST_LABEL):
        plan = plan_of(github, pull, branch)
        cost = 0.0 if plan is None else highest_cost(plan)
        given += f" --approve-cost {math.ceil(cost)}" if cost else ""
    return given


def main() -> None:
    """Check the request, and write the outputs."""
    request, github = os.environ["REQUEST"], GitHub(os.environ["TOKEN"])
    branch = event()["repository"]["default_branch"]
    if match := _CANCEL.fullmatch(request):
        pull = github.get(f"/pulls/{match[1]}")
        if pull is not None and pull["state"] == "open" and is_labelled(github, pull, LABEL):
            sys.stdout.write("The label was set again: the training continues.\n")
            return
        output(cancel=match[1])
        sys.stdout.write(f"To be ended: the training of pull request {match[1]}.\n")
        return
    match = _TRAIN.fullmatch(request)
    if match is None:
        fail("this is neither `train NUMBER COMMIT` nor `cancel NUMBER`")
        return
    pull = github.get(f"/pulls/{match[1]}")
    why = refusal(github, pull, match[2], branch)
    if why:
        sys.stdout.write(f"{why}\n")
        return
    merge = merge_commit(github, pull)
    if not merge:
        fail("the pull request has conflicts, or has got another commit: there is nothing to train")
    output(pull=match[1], head=match[2], merge=merge, options=options(github, pull, branch))
    sys.stdout.write(f"To be trained: pull request {match[1]} at {match[2]}.\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
