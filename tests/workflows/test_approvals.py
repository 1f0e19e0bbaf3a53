"""What merged pull requests showed, who may ask for a plan with keys, and which comment stays."""

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

import pytest

from tests.workflows.harness.hub import BOT, Hub, zipped
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


@pytest.fixture
def steps(tmp_path):
    made = Steps(tmp_path)
    yield made
    made.hub.close()


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


def test_the_newest_plan_before_the_merge_is_what_was_approved(steps):
    steps.pull(merged=0)
    steps.planned("ftctl-plan", plan(1), at=-30)
    steps.planned("ftctl-plan", plan(2), at=-20)
    steps.planned("ftctl-plan", plan(3), at=5)  # nobody had seen it
    steps.planned("ftctl-plan", plan(4), at=-20, head=OTHER)  # of an earlier commit
    steps.planned("another", plan(5), at=-1)
    assert approved(steps) == ([2], [])


def test_every_pull_request_that_was_merged_lately_counts(steps):
    steps.pull(1, head=HEAD, merged=-5)
    steps.pull(2, head=OTHER, merged=0)
    steps.pull(3, head=BASE, merged=0, merged_at=None)  # closed without a merge
    steps.pull(4, head=MERGE)  # open
    steps.pull(5, head="e" * 40, merged=-60 * 24 * 31)
    heads = {HEAD: 1, OTHER: 2, BASE: 3, MERGE: 4, "e" * 40: 5}
    for head, number in heads.items():
        steps.planned("ftctl-plan", plan(number), at=-60 * 24 * 32, head=head)
    assert sorted(approved(steps)[0]) == [1, 2]


def test_a_plan_with_keys_counts_as_the_newer_one(steps):
    steps.pull(merged=0)
    steps.planned("ftctl-plan", plan(1), at=-30)
    steps.planned(f"ftctl-plan-{HEAD}", plan(2), at=-20, event="issue_comment", head=BASE)
    assert approved(steps) == ([2], [])


@pytest.mark.parametrize("fork", [True, None], ids=["fork", "fork that is gone"])
def test_of_a_fork_only_a_plan_that_a_person_asked_for_counts(steps, fork):
    steps.pull(merged=0, fork=fork)
    steps.planned("ftctl-plan", plan(1), at=-30)
    # A fork may name an artifact as it likes; it cannot make it in such a run.
    steps.planned(f"ftctl-plan-{HEAD}", plan(2), at=-5)
    assert approved(steps) == ([], [])
    steps.planned(f"ftctl-plan-{HEAD}", plan(3), at=-4, event="issue_comment", head=BASE)
    assert approved(steps) == ([3], [])


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("writer", ["--approve-cost", "42"]),
        ("owner", ["--approve-cost", "42"]),
        ("reader", []),
        ("nobody", []),
    ],
)
def test_a_label_approves_the_cost_if_its_author_may(steps, by, expected):
    event = {"event": "labeled", "label": {"name": "ftctl/approve-cost"}, "actor": {"login": by}}
    earlier = {**event, "actor": {"login": "owner" if by in {"reader", "nobody"} else "reader"}}
    labels = [{"name": "ftctl/approve-cost"}]
    steps.pull(merged=0, labels=labels, events=[earlier, event])
    steps.planned("ftctl-plan", plan(1, usd=41.5))
    steps.pull(8, head=OTHER, merged=-1)  # without the label
    steps.planned("ftctl-plan", plan(2, usd=900.0), head=OTHER, at=-30)
    assert approved(steps)[1] == expected


@pytest.mark.parametrize("usd", [float("nan"), float("inf"), "1", None, True, -5, [1]])
def test_a_cost_that_is_not_one_approves_nothing(steps, usd):
    event = {
        "event": "labeled",
        "label": {"name": "ftctl/approve-cost"},
        "actor": {"login": "owner"},
    }
    steps.pull(merged=0, labels=[{"name": "ftctl/approve-cost"}], events=[event])
    steps.planned("ftctl-plan", {**plan(1), "cost": {"usd": [0, usd]}})
    assert approved(steps) == ([1], [])


def test_a_repository_without_pull_requests_approves_everything_itself(steps):
    assert steps("approved/approved.py", APPROVE="everything")[2] == {"options": "--auto-approve"}
    code, said, _ = steps("approved/approved.py", APPROVE="all")
    assert code == 1
    assert "::error::`approve: all` is neither `plan` nor `everything`" in said


def asked(body="/ftctl plan", author="writer", **changes):
    return {
        "action": "created",
        "issue": {"number": 7, "pull_request": {}},
        "comment": {"body": body, "user": {"login": author}, "author_association": "OWNER"},
        "repository": {"default_branch": "main"},
        **changes,
    }


def test_somebody_with_write_access_gets_a_plan_with_keys(steps):
    steps.pull()
    code, said, found = steps("request/request.py", asked())
    assert (code, found) == (0, {"pull": "7", "head": HEAD, "merge": MERGE}), said
    assert steps("request/request.py", asked(f" /ftctl plan {HEAD[:7]}\n"))[2] == found


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (asked(author="reader"), "may not push"),
        (asked(author="nobody"), "may not push"),
        (asked(author="../../../user"), "may not push"),
        (asked("/ftctl plan; rm -rf"), "asks for nothing"),
        (asked("please /ftctl plan"), "asks for nothing"),
        (asked("/ftctl plan\n@team"), "asks for nothing"),
        (asked("/ftctl planned"), "asks for nothing"),
        (asked("> /ftctl plan"), "asks for nothing"),
        (asked(action="edited"), "asks for nothing"),
        (asked(issue={"number": 7}), "asks for nothing"),
        (asked(f"/ftctl plan {OTHER[:8]}"), "has another newest commit"),
    ],
)
def test_nobody_else_and_nothing_else_does(steps, event, said):
    steps.pull()
    code, text, found = steps("request/request.py", event)
    assert (code, found) == (0, {})
    assert said in text


def test_for_a_fork_the_commit_that_was_read_is_named(steps):
    steps.pull(fork=True)
    code, said, found = steps("request/request.py", asked())
    assert (code, found) == (0, {})
    assert f"name the commit that you have read: /ftctl plan {HEAD[:12]}" in said
    assert steps("request/request.py", asked(f"/ftctl plan {HEAD[:12]}"))[2]["head"] == HEAD


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "closed"},
        {"mergeable": False},
        {"base": {"ref": "old", "repo": {"full_name": NAME}}},
    ],
)
def test_what_cannot_be_merged_is_not_planned(steps, changes):
    steps.pull(**changes)
    assert steps("request/request.py", asked())[2] == {}


def body(plan_id="0123456789abcdef", head=HEAD, text="table"):
    bound = json.dumps({"plan": plan_id, "head": head, "base": BASE})
    return f"{MARK}\n<!-- ftctl:bound {bound} -->\n### ftctl plan\n\n{text}\n"


def ended(steps, number, **changes):
    """Return the event at the end of a run."""
    repository = {"full_name": NAME, "owner": {"login": "acme"}}
    facts = {"head_branch": "more", "head_repository": repository, **changes}
    return {"workflow_run": steps.repository["runs"][number] | facts}


def finished(steps, text, **run):
    """Let a run end with a plan, and comment on it; return its number, and what the step came to."""
    number = steps.planned("ftctl-plan", {}, text=text, run_attempt=1, **run)
    code, said, _ = steps("comment/comment.py", ended(steps, number))
    return number, code, said


def ours(steps):
    (comment,) = [
        one for one in steps.repository["comments"].values() if one["user"]["login"] == BOT
    ]
    return comment["body"]


def test_a_comment_is_bound_to_its_run_and_replaced_by_newer_ones(steps):
    steps.pull()
    first, _, said = finished(steps, body(text="one"))
    assert said == "Commented.\n"
    bound = json.loads(ours(steps).splitlines()[1].removeprefix("<!-- ftctl:bound ")[:-4])
    expected = {"plan": "0123456789abcdef", "head": HEAD, "base": BASE}
    assert bound == {**expected, "run": first, "attempt": 1}
    assert finished(steps, body(text="two"))[2] == "Replaced the comment.\n"
    assert "two" in ours(steps)
    # The first run ends again, later: it is older all the same.
    said = steps("comment/comment.py", ended(steps, first, run_attempt=2))[1]
    assert said == "A newer run has commented on the same commit.\n"
    assert "two" in ours(steps)


def test_a_newer_commit_replaces_whatever_run_commented_before(steps):
    pull = steps.pull()
    finished(steps, body(text="one"))
    late = steps.planned("ftctl-plan", {}, text=body(head=OTHER, text="two"), head=OTHER)
    pull["head"]["sha"] = OTHER
    said = steps("comment/comment.py", ended(steps, late))[1]
    assert said == "Replaced the comment.\n"
    # A run for the commit before ends after that.
    assert "newer commit" in finished(steps, body(text="three"))[2]
    assert "two" in ours(steps)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (body(head=OTHER), "the plan is about another commit"),
        ("no mark", "does not start with"),
    ],
)
def test_a_plan_of_something_else_is_not_shown(steps, text, said):
    steps.pull()
    _, code, printed = finished(steps, text)
    assert code == 1
    assert said in printed
    assert steps.repository["comments"] == {}


def test_a_comment_of_problems_is_bound_too(steps):
    steps.pull()
    finished(steps, f'{MARK}\n<!-- ftctl:bound {{"head": null}} -->\n### ftctl plan\n')
    bound = json.loads(ours(steps).splitlines()[1].removeprefix("<!-- ftctl:bound ")[:-4])
    assert (bound["head"], bound["plan"], bound["attempt"]) == (HEAD, None, 1)


@pytest.mark.parametrize(
    "second",
    ["", "<!-- ftctl:bound {broken -->", "<!-- ftctl:bound [1] -->", "<!-- ftctl:bound {} -->"],
)
def test_what_is_no_bound_is_left_alone(steps, second):
    steps.pull()
    text = f"{MARK}\n{second}\n### ftctl plan\n"
    finished(steps, text)
    assert ours(steps) == text


def test_a_spec_cannot_keep_its_plan_from_being_shown(steps):
    steps.pull()
    assert finished(steps, body(text="`<!-- ftctl:nothing -->`"))[2] == "Commented.\n"


def test_a_comment_that_is_too_long_for_github_is_a_sentence(steps):
    steps.pull()
    finished(steps, body(text="🙂" * 33_000))
    assert "Too long for a comment" in ours(steps)


def test_a_plan_with_keys_is_commented_in_its_own_run(steps):
    steps.pull()
    automatic, _, _ = finished(steps, body(text="without keys"))
    number = steps.planned(
        f"ftctl-plan-{HEAD}", {}, text=body(text="keyed"), event="issue_comment", head=BASE
    )
    variables = {"PULL": "7", "HEAD": HEAD, "GITHUB_RUN_ID": str(number)}
    assert steps("comment/comment.py", **variables)[1] == "Replaced the comment.\n"
    assert "keyed" in ours(steps)
    # The automatic run for the same commit is started again: it knows less, and began before.
    assert "newer run" in steps("comment/comment.py", ended(steps, automatic, run_attempt=2))[1]
    assert "keyed" in ours(steps)


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


def test_a_plan_with_keys_asks_servers_and_prints_nothing(tmp_path):
    done, text = keyed(tmp_path, "finetunes/a.yaml")
    assert done.returncode == 0, done.stderr
    assert "--offline" not in text
    assert "--format github" in text
    assert "--base HEAD^1 --head HEAD^2" in text
    assert "key-1 key-2" in text
    assert "key-1" not in done.stdout + done.stderr
    assert done.stdout.count("key-2") == done.stdout.count("::add-mask::key-2") == 1


@pytest.mark.parametrize("changed", ["ftctl.yaml", ".env"])
def test_what_decides_where_keys_go_is_not_taken_from_a_pull_request(tmp_path, changed):
    done, text = keyed(tmp_path, changed)
    assert done.returncode == 1
    assert text.startswith(f"{MARK}\n")
    assert "which decide where keys are sent" in text
    assert "key-" not in text + done.stdout + done.stderr


def test_a_commit_that_nobody_asked_for_is_not_planned_with_keys(tmp_path):
    done, text = keyed(tmp_path, "finetunes/a.yaml", head=OTHER)
    assert done.returncode == 1
    assert "got another commit meanwhile" in text
