"""Fetch the plans that merged pull requests showed: what an apply may do without asking again.

Counted is the newest plan of each pull request that was there before the merge, of the commit that was
merged: from its own run, which planned without keys, or from a run that somebody with write access asked
for. A fork may have changed the workflow that planned it, so only the second kind counts there. A plan
file is data: it can allow no more than an action that this branch asks for by itself.

    APPROVE         `plan`; `everything` approves whatever the branch asks for
    BRANCH          the branch into which pull requests are merged
    TOKEN           reads pull requests and artifacts
    RUNNER_TEMP     the plans go into a folder there
    GITHUB_OUTPUT   `options=…` is written there, for `ftctl apply`
"""

import json
import math
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "comment"))

from api import ApiError, GitHub, Json, fail, output
from comment import ARTIFACT, LIMIT_BYTES, is_from_fork

LABEL = "ftctl/approve-cost"
MAY_APPROVE = frozenset({"admin", "maintain", "write"})
MERGED_WITHIN = timedelta(days=30)
MOST = 50
"""Merged pull requests that are looked at, the newest first."""


def merged_pulls(github: GitHub, branch: str) -> Iterator[Json]:
    """Yield the pull requests that were merged into a branch lately, the newest first."""
    since = datetime.now(UTC) - MERGED_WITHIN
    query = {"state": "closed", "base": branch, "sort": "updated", "direction": "desc"}
    seen = 0
    for pull in github.pages("/pulls", **query):
        if _time(pull["updated_at"]) < since or seen >= MOST:
            return
        if pull["merged_at"] is not None and _time(pull["merged_at"]) >= since:
            seen += 1
            yield pull


def plan_of(github: GitHub, pull: Json, branch: str) -> bytes | None:
    """Return the newest plan of a pull request, of one that is merged the newest before that.

    Args:
        github: The repository.
        pull: The pull request.
        branch: The default branch.

    Returns:
        None without a plan.
    """
    head = pull["head"]["sha"]
    merged = _time(pull["merged_at"]) if pull["merged_at"] else datetime.now(UTC)
    artifacts = []
    name = f"{ARTIFACT}-{head}"
    for one in github.pages("/actions/artifacts", "artifacts", name=name):
        run = github.get(f"/actions/runs/{one['workflow_run']['id']}") or {}
        # A comment starts the workflow of the default branch only; by hand, others can be started.
        is_by_hand = run.get("event") == "workflow_dispatch" and run.get("head_branch") == branch
        if run.get("event") == "issue_comment" or is_by_hand:
            artifacts.append((one, name))
    if not is_from_fork(pull):
        query = {"event": "pull_request", "head_sha": head}
        for run in github.pages("/actions/runs", "workflow_runs", **query):
            listed = github.pages(f"/actions/runs/{run['id']}/artifacts", "artifacts")
            artifacts += [(one, ARTIFACT) for one in listed if one["name"] == ARTIFACT]
    shown = [
        (one, name)
        for one, name in artifacts
        if not one["expired"] and _time(one["created_at"]) <= merged
    ]
    if not shown:
        return None
    newest, name = max(shown, key=lambda found: found[0]["id"])
    return github.artifact(newest["workflow_run"]["id"], name, LIMIT_BYTES).get("plan.json")


def is_labelled(github: GitHub, pull: Json, name: str) -> bool:
    """Return True if a label is on a pull request, and somebody with write access put it there."""
    if name not in {label["name"] for label in pull["labels"]}:
        return False
    by = ""
    for event in github.pages(f"/issues/{pull['number']}/events"):
        if event["event"] == "labeled" and event["label"]["name"] == name:
            by = (event["actor"] or {}).get("login", "")
    return bool(by) and may_approve(github, by)


def may_approve(github: GitHub, login: str) -> bool:
    """Return True if somebody may push to the repository."""
    answer = github.get(f"/collaborators/{quote(login, safe='')}/permission") or {}
    return answer.get("permission") in MAY_APPROVE


def highest_cost(plan: bytes) -> float:
    """Return what the jobs of a plan may cost; 0 if it does not tell."""
    try:
        usd = json.loads(plan)["cost"]["usd"][1]
    except (ValueError, LookupError, TypeError, RecursionError):
        return 0.0
    is_number = isinstance(usd, int | float) and not isinstance(usd, bool)
    return float(usd) if is_number and math.isfinite(usd) and usd > 0 else 0.0


def main() -> None:
    """Write the plans and the options."""
    approve = os.environ.get("APPROVE", "plan")
    if approve == "everything":
        output(options="--auto-approve")
        return
    if approve != "plan":
        fail(f"`approve: {approve}` is neither `plan` nor `everything`")
    github, folder = GitHub(os.environ["TOKEN"]), Path(os.environ["RUNNER_TEMP"]) / "approved"
    folder.mkdir(parents=True, exist_ok=True)
    # An approval of nothing, so that without any plan nothing is approved.
    (folder / "none.json").write_text(
        json.dumps({"format": 2, "id": "", "settings": "", "decisions": {}, "actions": []})
    )
    options, cost, found = ["--approved", str(folder / "none.json")], 0.0, []
    for pull in merged_pulls(github, os.environ["BRANCH"]):
        plan = plan_of(github, pull, os.environ["BRANCH"])
        if plan is None:
            continue
        path = folder / f"pull-{pull['number']}.json"
        path.write_bytes(plan)
        options += ["--approved", str(path)]
        found.append(pull["number"])
        if is_labelled(github, pull, LABEL):
            cost += highest_cost(plan)
    if cost:
        options += ["--approve-cost", str(math.ceil(cost))]
    output(options=" ".join(options))
    listed = ", ".join(f"#{number}" for number in found) or "none"
    sys.stdout.write(f"Plans of merged pull requests: {listed}.\n")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
