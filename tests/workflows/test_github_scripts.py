"""The scripts that talk to GitHub's API, against the stand-in: comments, looks, drift."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.workflows.harness.hub import BOT, Hub, zipped
from tests.workflows.repositories import ENVIRONMENT, GITHUB, build, fingerprint, git

NAME = "acme/models"
MARK = "<!-- ftctl:plan -->"
HEAD = "a" * 40


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "hub").mkdir()
    hub = Hub(tmp_path / "hub")
    hub.add_repository(NAME)
    yield hub
    hub.close()


def run(hub, script, tmp_path, permissions, event=None, **variables):
    """Run a script as its action does; return the exit code, what it printed, and its outputs."""
    output, payload = tmp_path / "output", tmp_path / "event.json"
    output.write_text("")
    payload.write_text(json.dumps(event))
    done = subprocess.run(
        [sys.executable, str(GITHUB / "actions" / script)],
        env={
            **ENVIRONMENT,
            "GITHUB_API_URL": hub.url,
            "GITHUB_SERVER_URL": hub.url,
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_EVENT_PATH": str(payload),
            "GITHUB_OUTPUT": str(output),
            "TOKEN": hub.token(NAME, permissions),
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, done.stdout + done.stderr, outputs


# ---- the comment

TO_COMMENT = {"actions": "read", "pull-requests": "write"}


def pull_request(hub, *, owner="acme", files=("finetunes/a.yaml",), head=HEAD):
    number = hub.number()
    hub.repositories[NAME]["pulls"][number] = {
        "number": number,
        "state": "open",
        "head": {
            "ref": "new",
            "sha": head,
            "owner": owner,
            "repo": {"full_name": f"{owner}/models"},
        },
        "base": {"ref": "main", "repo": {"full_name": NAME}},
        "files": [{"filename": name} for name in files],
        "changed_files": len(files),
    }
    return number


def ended(hub, plan, *, owner="acme", event="pull_request", name="plan.md"):
    """Return the event of a run that ended and left a plan."""
    number = hub.add_run(
        NAME,
        event,
        head_sha=HEAD,
        head_branch="new",
        head_repository={"full_name": f"{owner}/models", "owner": {"login": owner}},
    )
    if plan is not None:
        artifact = hub.number()
        hub.repositories[NAME]["artifacts"][artifact] = {"name": "ftctl-plan", "run": number}
        hub.stored[artifact] = zipped({name: plan})
    return {"workflow_run": hub.repositories[NAME]["runs"][number]}


def comment(hub, tmp_path, event):
    return run(hub, "comment/comment.py", tmp_path, TO_COMMENT, event)


def comments(hub):
    return list(hub.repositories[NAME]["comments"].values())


def test_one_comment_is_kept_up_to_date(hub, tmp_path):
    number = pull_request(hub)
    for author, body in (
        (None, f"{MARK}\nof a deleted user"),
        ("somebody", f"{MARK}\nforged"),
        (BOT, "of another workflow"),
    ):
        one = hub.number()
        user = None if author is None else {"login": author}
        hub.repositories[NAME]["comments"][one] = {
            "id": one,
            "on": number,
            "user": user,
            "body": body,
        }
    assert comment(hub, tmp_path, ended(hub, f"{MARK}\nfirst"))[:2] == (0, "Commented.\n")
    assert comment(hub, tmp_path, ended(hub, f"{MARK}\nsecond"))[1] == "Replaced the comment.\n"
    assert comment(hub, tmp_path, ended(hub, f"{MARK}\nsecond"))[1] == "The comment is the same.\n"
    assert [one["body"] for one in comments(hub)] == [
        f"{MARK}\nof a deleted user",
        f"{MARK}\nforged",
        "of another workflow",
        f"{MARK}\nsecond",
    ]


def test_a_fork_gets_its_comment_too(hub, tmp_path):
    pull_request(hub, owner="stranger")
    pull_request(hub, head="b" * 40)  # a branch of the same name in the repository itself
    assert comment(hub, tmp_path, ended(hub, f"{MARK}\nplan", owner="stranger"))[0] == 0
    assert [one["body"] for one in comments(hub)] == [f"{MARK}\nplan"]


@pytest.mark.parametrize(
    "file", [".github/workflows/fine-tunes.yml", ".github/actions/x/action.yml", ".github/x"]
)
def test_a_fork_that_could_have_written_the_text_itself_is_not_quoted(hub, tmp_path, file):
    pull_request(hub, owner="stranger", files=("a.csv", file))
    comment(hub, tmp_path, ended(hub, f"{MARK}\nFree of charge, approved!", owner="stranger"))
    (found,) = comments(hub)
    assert "approved" not in found["body"]
    assert "changes `.github/`" in found["body"]


def test_an_older_run_overwrites_nothing(hub, tmp_path):
    pull_request(hub, head="c" * 40)
    status, said, _ = comment(hub, tmp_path, ended(hub, f"{MARK}\nold"))
    assert (status, comments(hub)) == (0, [])
    assert "newer commit" in said


@pytest.mark.parametrize(
    ("plan", "status", "said"),
    [
        (None, 0, "left no plan"),
        ("![](https://evil.example)", 1, "does not start with"),
        (f"{MARK}\n{'x' * 70_000}", 0, "Commented"),
        (f"{MARK}\n{'x' * 6_000_000}", 1, "more than"),
        (b"\xff\xfe", 1, "does not start with"),
    ],
    ids=["none", "foreign", "long", "huge", "no text"],
)
def test_what_a_run_left_is_only_data(hub, tmp_path, plan, status, said):
    pull_request(hub)
    code, output, _ = comment(hub, tmp_path, ended(hub, plan))
    assert code == status
    assert said in output
    assert len(output.splitlines()) == 1
    assert all(len(one["body"]) < 65_536 for one in comments(hub))


def test_a_file_of_the_archive_stays_in_it(hub, tmp_path):
    pull_request(hub)
    comment(hub, tmp_path, ended(hub, f"{MARK}\nplan", name="../../plan.md"))
    assert comments(hub) == []
    assert not list(tmp_path.rglob("plan.md"))


def test_other_runs_are_left_alone(hub, tmp_path):
    assert "not about a pull request" in comment(hub, tmp_path, ended(hub, None, event="push"))[1]


def test_a_pull_request_without_fine_tunes_gets_no_comment(hub, tmp_path):
    pull_request(hub)
    nothing = f"{MARK}\n<!-- ftctl:nothing -->\nNothing.\n"
    assert comment(hub, tmp_path, ended(hub, nothing))[1] == "Nothing concerns fine-tunes.\n"
    assert comments(hub) == []
    comment(hub, tmp_path, ended(hub, f"{MARK}\nplan"))
    # It did concern some, and was changed: the old plan must not stand.
    comment(hub, tmp_path, ended(hub, nothing))
    assert [one["body"] for one in comments(hub)] == [nothing]


# ---- what concerns fine-tunes

RELEVANT = """\
data: {train: [{path: ../../common/rows/*.jsonl}, {path: "../held.jsonl"}]}
base_model: ../models/tiny  # ../../not/a/comment
"""


@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        ("ml/team/finetunes/data/a.csv", "true"),
        ("ml/team/ftctl.yaml", "true"),
        ("ml/common/rows/new.jsonl", "true"),
        ("ml/team/held.jsonl", "true"),
        ("ml/team/models/tiny/config.json", "true"),
        (".github/workflows/fine-tunes.yml", "true"),
        ("src/app.py", "false"),
        ("finetunes/other.yaml", "false"),
        ("ml/common/other.txt", "false"),
        ("ml/team/모델 card.md", "false"),
    ],
)
def test_only_what_concerns_fine_tunes_is_planned(hub, tmp_path, monkeypatch, file, concerned):
    work = tmp_path / "work"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(work))
    for name, text in {
        "ml/team/finetunes/a.yaml": RELEVANT,
        "README.md": "",
        file: "before",
    }.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "Begin")
    monkeypatch.chdir(work)
    variables = {"FOLDER": "ml/team", "OUT": str(tmp_path / "out")}
    script = "relevant/relevant.py"
    assert run(hub, script, tmp_path, {}, **variables)[2] == {"any": "true"}  # its base is not here
    (work / file).write_text("after")
    git(work, "commit", "--quiet", "--all", "--message", "Change")
    assert run(hub, script, tmp_path, {}, **variables)[2] == {"any": concerned}
    assert (tmp_path / "out/plan.md").exists() == (concerned == "false")


# ---- the look

TO_LOOK = {"actions": "write", "contents": "read"}


def record(hub, tmp_path, files, branch="main"):
    """Commit files to a branch of the repository."""
    path = tmp_path / f"clone-{hub.number()}"
    git(tmp_path, "init", "--quiet", f"--initial-branch={branch}", str(path))
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "Record")
    git(path, "push", "--quiet", "--force", str(hub.repositories[NAME]["path"]), branch)


def lockfile(**entries):
    return json.dumps({"_": "", "format": 1, "finetunes": entries})


def job(hours, backend="openai@own"):
    submitted = datetime.now(UTC) - timedelta(hours=hours)
    return {"job": {"backend": backend, "submitted": submitted.strftime("%Y-%m-%dT%H:%M:%SZ")}}


def look(hub, tmp_path, folder=".", **variables):
    _, _, outputs = run(
        hub, "look/look.py", tmp_path, TO_LOOK, BRANCH="main", FOLDER=folder, **variables
    )
    return outputs["open"], outputs["local"], round(int(outputs["pause"]), -2)


def judged(more, days=0):
    finished = datetime.now(UTC) - timedelta(days=days)
    record = build(1) | {"finished": finished.strftime("%Y-%m-%dT%H:%M:%SZ")} | more
    return {"candidate": fingerprint(1), "builds": {fingerprint(1): record}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (lockfile, ("0", "false", 300)),
        (lambda: lockfile(a={"production": "x", "builds": {}}), ("0", "false", 300)),
        (lambda: lockfile(a=job(0.1), b=job(2)), ("2", "false", 700)),
        (lambda: lockfile(a=job(9, "local-gpu")), ("1", "true", 1800)),
        (lambda: lockfile(a=judged({})), ("1", "false", 300)),
        (lambda: lockfile(a=judged({"verdict": {"passed": False}})), ("0", "false", 300)),
        # What nothing moves on is not followed for ever.
        (lambda: lockfile(a=judged({}, days=3)), ("0", "false", 300)),
        (lambda: lockfile(a=job(24 * 40, "local-gpu"), b=job(1)), ("1", "false", 400)),
        ("<<<<<<< ours\n", ("1", "false", 300)),
        ('{"finetunes": {"a": 1}}', ("1", "false", 300)),
    ],
)
def test_a_look_counts_what_is_open(hub, tmp_path, text, found):
    # Ages count from now, not from when tests were collected.
    written = text() if callable(text) else text
    record(hub, tmp_path, {"ml/finetunes/ftctl.lock": written})
    assert look(hub, tmp_path, "ml") == found
    assert look(hub, tmp_path) == ("0", "false", 300)


@pytest.mark.parametrize(
    "settings",
    [
        "lockfile: {branch: ftctl-records}\n",
        "budget: {max_usd: 1}\nlockfile: # here\n\n  # there\n  branch: 'ftctl-records' # so\n",
        'lockfile: {branch: "ftctl-records"}\npolicies: {}\n',
    ],
)
def test_a_look_reads_the_branch_of_records(hub, tmp_path, settings):
    record(hub, tmp_path, {"ftctl.yaml": settings, "finetunes/ftctl.lock": lockfile()})
    assert look(hub, tmp_path)[0] == "0"  # there is no such branch yet
    record(hub, tmp_path, {"finetunes/ftctl.lock": lockfile(a=job(1))}, "ftctl-records")
    assert look(hub, tmp_path)[0] == "1"


def test_a_branch_that_only_ftctl_can_read_makes_it_look(hub, tmp_path):
    record(hub, tmp_path, {"ftctl.yaml": "{lockfile: {branch: ftctl-records}}\n"})
    assert look(hub, tmp_path)[0] == "1"


def test_only_an_open_job_starts_another_run(hub, tmp_path):
    reference = f"{NAME}/.github/workflows/fine-tunes.yml@refs/heads/main"
    record(hub, tmp_path, {"finetunes/ftctl.lock": lockfile()})
    look(hub, tmp_path, DISPATCH=reference)
    assert hub.dispatched == []
    look(hub, tmp_path, DISPATCH=reference, LOST="true")
    record(hub, tmp_path, {"finetunes/ftctl.lock": lockfile(a=job(1))})
    look(hub, tmp_path)
    look(hub, tmp_path, DISPATCH=reference, FAILED="true")
    record(hub, tmp_path, {"finetunes/ftctl.lock": lockfile(a=job(30))})
    look(hub, tmp_path, DISPATCH=reference, FAILED="true")  # a person must look
    assert hub.dispatched == [
        (NAME, "fine-tunes.yml", "main", {"action": "apply"}),
        (NAME, "fine-tunes.yml", "main", {"action": "follow"}),
    ]


# ---- drift

TO_REPORT = {"actions": "read", "issues": "write"}


def drift(hub, tmp_path, actions, **plan):
    number, artifact = hub.add_run(NAME, "schedule"), hub.number()
    hub.repositories[NAME]["artifacts"][artifact] = {"name": "ftctl-drift", "run": number}
    text = json.dumps({"actions": actions, "unasked": {}, "shutdowns": {}, **plan})
    hub.stored[artifact] = zipped({"plan.json": text})
    variables = {"GITHUB_RUN_ID": str(number), "ARTIFACT": "ftctl-drift"}
    status, said, _ = run(hub, "drift/drift.py", tmp_path, TO_REPORT, **variables)
    assert status == 0, said
    return said.strip()


def action(name, kind="blocked", reason="the model is gone", **more):
    return {"name": name, "action": kind, "reason": reason, **more}


def test_each_drift_has_one_issue_that_closes_itself(hub, tmp_path):
    issues = hub.repositories[NAME]["issues"]
    gone = action("a", obstacle="drift", remedy="Ask.")
    end = {"b": {"model": "gpt-x", "date": "2027-01-14", "gone": False, "days_left": 45}}
    assert drift(hub, tmp_path, [gone], shutdowns=end) == "2 found: 2 opened, 0 changed, 0 closed."
    end["b"]["days_left"] = 38
    assert drift(hub, tmp_path, [gone], shutdowns=end) == "2 found: 0 opened, 0 changed, 0 closed."
    moved = action("a", obstacle="drift", reason="@someone [x](http://evil.example)", remedy="Ask.")
    assert drift(hub, tmp_path, [moved], shutdowns=end) == "2 found: 0 opened, 1 changed, 0 closed."
    first, second = issues.values()
    assert first["title"] == "a is blocked"
    assert "\n    @someone [x](http://evil.example)\n    Ask.\n" in first["body"]
    # A server that gives no answer says nothing of what is behind it.
    silent = action("a", obstacle="unreachable", reason="503")
    assert (
        drift(hub, tmp_path, [silent], shutdowns=end) == "1 found: 0 opened, 0 changed, 0 closed."
    )
    assert drift(hub, tmp_path, [], unasked={"openai": "no key"}, shutdowns={}).endswith(
        "0 closed."
    )
    assert {one["state"] for one in issues.values()} == {"open"}
    waiting = action("a", kind="wait")
    assert drift(hub, tmp_path, [waiting]) == "0 found: 0 opened, 0 changed, 2 closed."
    assert {one["state"] for one in (first, second)} == {"closed"}
    assert drift(hub, tmp_path, [gone]) == "1 found: 1 opened, 0 changed, 0 closed."


def test_issues_of_people_are_left_alone(hub, tmp_path):
    drift(hub, tmp_path, [action("a")])
    ((_, ours),) = hub.repositories[NAME]["issues"].items()
    forged = {**ours, "number": hub.number(), "user": {"login": "somebody"}}
    hub.repositories[NAME]["issues"][forged["number"]] = forged
    assert drift(hub, tmp_path, []).endswith("1 closed.")
    assert forged["state"] == "open"
