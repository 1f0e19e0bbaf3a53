"""Keep one issue for each drift: what git declares and what is there differ, and no merge is on its way.

A plan tells them: every action that is left, every end of a model in production. An issue is recognised by
the first line of its body and by its author, changed if its reason changed, and closed when a plan no longer
has its drift. A fine-tune whose backend gave no answer is left as it is: nobody knows.

    ARTIFACT   the artifact of this run with plan.json
    TOKEN      reads the artifact, reads and writes issues
"""

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api import ApiError, GitHub, Json, fail

LABEL = "ftctl-drift"
LIMIT_BYTES = 64 << 20
OURS = "github-actions[bot]"
WAITING = {"wait", "record"}
"""Actions that are on their way by themselves."""
_MARK = re.compile(r"^<!-- ftctl:drift ([0-9a-f]{16}) -->")


@dataclass(frozen=True)
class Drift:
    """One difference."""

    name: str
    title: str
    reason: str
    remedy: str

    @property
    def key(self) -> str:
        """Identity of the issue: the same drift for another reason keeps its issue."""
        return hashlib.sha256(f"{self.name}\0{self.title}".encode()).hexdigest()[:16]

    def body(self, run: str) -> str:
        """Return the issue's text; what came from a spec stands in a block and is no markup."""
        lines = "\n".join(f"    {line}" for line in [self.reason, *self.remedy.splitlines()])
        return (
            f"<!-- ftctl:drift {self.key} -->\n{lines}\n\nFound by {run}. This issue closes itself when "
            "a later look no longer finds this.\n"
        )


def drifts(plan: Json) -> tuple[list[Drift], set[str]]:
    """Return the drifts of a plan, and the fine-tunes that nobody can tell about."""
    found: list[Drift] = []
    unknown: set[str] = set()
    for action in plan["actions"]:
        name, kind = action["name"], action["action"]
        if action.get("obstacle") == "unreachable" or kind == "deferred":
            unknown.add(name)
        elif kind not in WAITING and action.get("obstacle") != "suspended":
            what = "is blocked" if kind == "blocked" else f"is not as declared: {kind}"
            remedy = action.get("remedy") or "Type `ftctl plan`, then `ftctl apply`."
            found.append(Drift(name, f"{name} {what}", action["reason"], remedy))
    for name, end in plan["shutdowns"].items():
        if end is not None:
            # Not the days that are left: the issue would change each week.
            when = "is gone" if end["gone"] else f"is switched off on {end['date']}"
            text = f"{end['model']} {when}."
            title = f"{name}: its model will be switched off"
            found.append(Drift(name, title, text, "Type `ftctl help migration`."))
    return found, unknown


def sync(github: GitHub, found: list[Drift], unknown: set[str] | None, run: str) -> str:
    """Open, change and close issues until they agree with what was found; return what was done.

    Args:
        github: The repository.
        found: The drifts.
        unknown: Fine-tunes whose issues stay; None for all.
        run: Link to this run.
    """
    issues = {}
    for issue in github.pages("/issues", state="open", labels=LABEL):
        mark = _MARK.match(issue["body"] or "")
        if mark and (issue["user"] or {}).get("login") == OURS and "pull_request" not in issue:
            issues[mark[1]] = issue
    opened = changed = closed = 0
    for drift in found:
        issue = issues.pop(drift.key, None)
        body = drift.body(run)
        if issue is None:
            new = {"title": _plain(drift.title), "body": body, "labels": [LABEL]}
            github.send("POST", "/issues", new)
            opened += 1
        elif _told(issue["body"]) != _told(body):
            github.send("PATCH", f"/issues/{issue['number']}", {"body": body})
            changed += 1
    for issue in issues.values():
        if unknown is None or any(
            issue["title"].startswith((f"{name} ", f"{name}:")) for name in unknown
        ):
            continue
        done = {"state": "closed", "state_reason": "completed"}
        github.send("POST", f"/issues/{issue['number']}/comments", {"body": f"Gone, by {run}."})
        github.send("PATCH", f"/issues/{issue['number']}", done)
        closed += 1
    return f"{len(found)} found: {opened} opened, {changed} changed, {closed} closed."


def _told(body: str) -> str:
    """Return what an issue tells, without the run that told it."""
    return body.replace("\r\n", "\n").partition("\n\nFound by ")[0]


def _plain(title: str) -> str:
    """Return a title without mentions and control characters."""
    return " ".join(title.replace("@", "").split())[:200]


def main() -> None:
    """Read the plan and bring the issues up to date."""
    github = GitHub(os.environ["TOKEN"])
    files = github.artifact(int(os.environ["GITHUB_RUN_ID"]), os.environ["ARTIFACT"], LIMIT_BYTES)
    if "plan.json" not in files:
        fail("there is no plan: look at the step before")
    plan = json.loads(files["plan.json"])
    found, unknown = drifts(plan)
    run = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
    run = f"[this run]({run}/actions/runs/{os.environ['GITHUB_RUN_ID']})"
    # A backend that was not asked says nothing of its fine-tunes, and not which these are.
    keep = None if plan["unasked"] else unknown
    sys.stdout.write(f"{sync(github, found, keep, run)}\n")


if __name__ == "__main__":
    try:
        main()
    except ApiError as error:
        fail(f"GitHub gave no answer: {error}")
