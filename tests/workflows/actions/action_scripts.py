"""Scripts of the actions, run with a hub of pull requests and runs."""

import io
import json
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from tests.workflows.harness.hub import Hub, zipped
from tests.workflows.repositories import ENVIRONMENT, GITHUB, git

NAME = "acme/models"
HEAD, OTHER, BASE, MERGE = (digit * 40 for digit in "abcd")
NOW = datetime.now(UTC).replace(microsecond=0)
MARK = "<!-- ftctl:plan -->"
PERMISSIONS = {"actions": "read", "pull-requests": "write"}


def moment(minutes):
    return (NOW + timedelta(minutes=minutes)).isoformat()


class Steps:
    """Runs scripts of actions at a stand-in for GitHub."""

    def __init__(self, folder):
        self.folder, self.hub = folder, Hub(folder)
        self.repository = self.hub.add_repository(NAME)
        self.repository["people"] = {"owner": "admin", "writer": "write", "reader": "read"}

    def pull(self, number=7, *, head=HEAD, fork=False, merged=None, **changes):
        repository = None if fork is None else {"full_name": "fork/models" if fork else NAME}
        when = moment(merged if merged is not None else 0)
        pull = {
            "number": number,
            "state": "open" if merged is None else "closed",
            "merged_at": None if merged is None else when,
            "updated_at": when,
            "labels": [],
            "mergeable": True,
            "merge_commit_sha": MERGE,
            "head": {"sha": head, "ref": "more", "owner": "acme", "repo": repository},
            "base": {"ref": "main", "repo": {"full_name": NAME}},
            **changes,
        }
        self.repository["pulls"][number] = pull
        return pull

    def planned(self, name, plan, *, at=-10, event="pull_request", head=HEAD, text=MARK, **run):
        """Add a run with a plan; return its number."""
        number = self.hub.add_run(NAME, event, head_sha=head, **run)
        artifact = self.hub.number()
        found = {"name": name, "run": number, "created_at": moment(at)}
        self.repository["artifacts"][artifact] = found
        files = {"plan.json": json.dumps(plan), "plan.md": text}
        self.hub.stored[artifact] = zipped(files)
        return number

    def __call__(self, script, event=None, **variables):
        """Run a script; return its exit code, what it printed, and its outputs."""
        outputs, given = self.folder / "outputs", self.folder / "event.json"
        outputs.write_text("")
        given.write_text(json.dumps(event))
        environment = {
            **ENVIRONMENT,
            "GITHUB_API_URL": self.hub.url,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_EVENT_PATH": str(given),
            "RUNNER_TEMP": str(self.folder),
            "TOKEN": self.hub.token(NAME, PERMISSIONS),
            "BRANCH": "main",
            **variables,
        }
        code, said = run_script(GITHUB / "actions" / script, environment)
        lines = outputs.read_text().splitlines()
        found = dict(line.split("=", 1) for line in lines)
        return code, said, found


def run_script(path, environment):
    """Run a script in this process, as `python3 PATH` does; return its exit code and its text."""
    said, code, before = io.StringIO(), 0, (list(sys.path), set(sys.modules))
    with patch.dict(os.environ, environment, clear=True), redirect_stdout(said):
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            code = 1
            said.write(f"{end.code}\n")
        finally:
            sys.path[:] = before[0]
            for name in {"api", "approved", "bound", "comment"} & ({*sys.modules} - before[1]):
                del sys.modules[name]
    return code, said.getvalue()


def plan(number, usd=0.0):
    return {"format": 2, "id": f"{number:016}", "cost": {"usd": [0.0, usd], "unknown": 0}}


def approved(steps, **variables):
    """Return the plans that an apply gets, and the options besides."""
    code, said, found = steps("approved/approved.py", **variables)
    assert code == 0, said
    words = found["options"].split()
    ids = [
        json.loads(Path(path).read_text())["id"]
        for option, path in pairwise(words)
        if option == "--approved"
    ]
    rest = [word for word in words if word != "--approved" and not word.endswith(".json")]
    assert ids[0] == ""  # an approval of nothing, so that there is always one
    return [int(one) for one in ids[1:]], rest


def body(plan_id="0123456789abcdef", head=HEAD, text="table"):
    bound = json.dumps({"plan": plan_id, "head": head, "base": BASE})
    return f"{MARK}\n<!-- ftctl:bound {bound} -->\n### ftctl plan\n\n{text}\n"


KEYED = GITHUB / "actions/plan/keyed.sh"


def keyed(tmp_path, changed, *, head=None):
    """Plan a pull request that changes a file, with an `ftctl` that shows what it was given."""
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / "finetunes").mkdir()
    for name in ("ftctl.yaml", "finetunes/a.yaml"):
        (root / name).write_text("old\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "Begin")
    git(root, "checkout", "--quiet", "-b", "more")
    (root / changed).write_text("new\n")
    git(root, "add", "--force", ".")
    git(root, "commit", "--quiet", "--message", "More")
    newest = git(root, "rev-parse", "HEAD").strip()
    git(root, "checkout", "--quiet", "main")
    git(root, "merge", "--quiet", "--no-ff", "more")
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ftctl").write_text(
        f'#!/bin/sh\necho "{MARK}"; echo "$*"; echo "$OPENAI_API_KEY $MORE"\n'
    )
    (folder / "ftctl").chmod(0o755)
    done = subprocess.run(
        ["bash", str(KEYED), str(root), str(out)],
        env={
            **ENVIRONMENT,
            "PATH": f"{folder}:{ENVIRONMENT['PATH']}",
            "HEAD": head or newest,
            "OPENAI_API_KEY": "key-1",
            "KEYS": "MORE=key-2",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done, (out / "plan.md").read_text()
