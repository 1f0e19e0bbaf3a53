"""The notes of plans at GitLab and Forgejo: written once, replaced, and nothing where no plan is."""

import json
import os
import re
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.children import ROOT
from tests.servers.answering import answering

SCRIPTS = ROOT / ".github/scripts"
MARK, TOKEN, ME = "<!-- ftctl:plan -->\n", "glpat-secret", 7
NOTES = 100
"""GitLab gives a hundred notes a page at most."""
DROPPED, NO_JSON = -1, -2


class GitLab:
    """The calls of GitLab's API that a note takes: documented as "Notes API" and "Users API"."""

    def __init__(self, url):
        self.url = f"{url}/api/v4"
        self.notes, self.asked, self.status = [], [], 200

    def add(self, author, body):
        self.notes.append({"id": len(self.notes) + 1, "author": {"id": author}, "body": body})

    def serve(self, http):
        body = http.rfile.read(int(http.headers.get("content-length") or 0))
        parts = urlsplit(http.path)
        self.asked.append(f"{http.command} {parts.path}")
        known = http.headers["private-token"] == TOKEN
        status = self.status if known else 401
        if status == DROPPED:
            http.connection.close()
            return
        if status == NO_JSON:
            http.send_response(200)
            http.send_header("content-length", "6")
            http.end_headers()
            http.wfile.write(b"<html>")
            return
        answer = self._answer(http.command, parts, body) if status == 200 else {"message": "no"}
        text = json.dumps(answer).encode()
        http.send_response(status)
        http.send_header("content-length", str(len(text)))
        http.end_headers()
        http.wfile.write(text)

    def _answer(self, method, parts, body):
        if parts.path == "/api/v4/user":
            return {"id": ME}
        found = re.fullmatch(r"/api/v4/projects/42/merge_requests/3/notes(?:/(\d+))?", parts.path)
        if method == "GET":
            asked = parse_qs(parts.query)
            size, page = int(asked["per_page"][0]), int(asked["page"][0])
            assert size <= NOTES
            return self.notes[(page - 1) * size : page * size]
        text = json.loads(body)["body"]
        if found[1] is None:
            self.add(ME, text)
            return self.notes[-1]
        self.notes[int(found[1]) - 1]["body"] = text
        return self.notes[int(found[1]) - 1]


@pytest.fixture
def gitlab():
    """Serve an API of GitLab."""
    with answering(GitLab) as found:
        yield found


def note(gitlab, folder, text, token=TOKEN):
    """Run the script for a plan; return its end."""
    plan = folder / "plan.md"
    if text is not None:
        plan.write_text(text, encoding="utf-8")
    environment = {
        "PATH": os.environ["PATH"],
        "CI_API_V4_URL": gitlab.url,
        "CI_PROJECT_ID": "42",
        "CI_MERGE_REQUEST_IID": "3",
        "FTCTL_NOTE_TOKEN": token,
    }
    return run("gitlab_note.py", plan, environment)


def run(script, plan, environment):
    return subprocess.run(
        [sys.executable, SCRIPTS / script, plan],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_plan_becomes_one_note_which_the_next_plan_replaces(gitlab, tmp_path):
    done = note(gitlab, tmp_path, f"{MARK}### 계획 하나\n")
    assert (done.returncode, done.stdout) == (0, "Wrote the note.\n")
    done = note(gitlab, tmp_path, f"{MARK}### 계획 둘\n")
    assert (done.returncode, done.stdout) == (0, "Replaced the note.\n")
    assert [one["body"] for one in gitlab.notes] == [f"{MARK}### 계획 둘\n"]


@pytest.mark.parametrize("before", [0, NOTES - 1, NOTES, NOTES + 1, 2 * NOTES])
def test_its_own_note_is_found_behind_any_number_of_others(gitlab, tmp_path, before):
    for number in range(before):
        gitlab.add(8, f"comment {number}")
    gitlab.add(ME, f"{MARK}old")
    done = note(gitlab, tmp_path, f"{MARK}new")
    assert done.stdout == "Replaced the note.\n"
    assert len(gitlab.notes) == before + 1
    assert gitlab.notes[-1]["body"] == f"{MARK}new"


def test_the_mark_in_a_note_of_somebody_else_is_not_theirs_to_lend(gitlab, tmp_path):
    gitlab.add(8, f"{MARK}forged")
    gitlab.add(ME, "a note of the same token, about something else")
    assert note(gitlab, tmp_path, f"{MARK}plan").stdout == "Wrote the note.\n"
    assert gitlab.notes[0]["body"] == f"{MARK}forged"
    assert len(gitlab.notes) == 3


@pytest.mark.parametrize(
    ("token", "status", "code", "said"),
    [
        ("", 200, 0, "No FTCTL_NOTE_TOKEN: the plan is an artifact of this job.\n"),
        ("wrong", 200, 1, "The note could not be written: HTTP Error 401"),
        (TOKEN, 500, 1, "The note could not be written: HTTP Error 500"),
        (TOKEN, DROPPED, 1, "The note could not be written: "),
        (TOKEN, NO_JSON, 1, "The note could not be written: Expecting value"),
    ],
)
def test_without_an_answer_the_plan_is_still_an_artifact(
    gitlab, tmp_path, token, status, code, said
):
    gitlab.status = status
    done = note(gitlab, tmp_path, f"{MARK}plan", token)
    assert (done.returncode, gitlab.notes) == (code, [])
    assert (done.stdout + done.stderr).startswith(said)
    assert "Traceback" not in done.stderr
    assert "glpat" not in done.stdout + done.stderr


def test_a_server_that_is_down_is_no_traceback(tmp_path):
    class Nowhere:
        url = "http://127.0.0.1:9/api/v4"

    done = note(Nowhere, tmp_path, f"{MARK}plan")
    assert done.returncode == 1
    assert done.stderr.startswith("The note could not be written: <urlopen error")
    assert "Traceback" not in done.stderr


def test_a_job_that_made_no_plan_leaves_the_last_note(gitlab, tmp_path):
    gitlab.add(ME, f"{MARK}old")
    done = note(gitlab, tmp_path, None)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "There is no plan to show: the job's script says why.\n"
    assert gitlab.notes[0]["body"] == f"{MARK}old"


def test_forgejo_is_not_asked_without_a_plan(tmp_path):
    environment = {"PATH": os.environ["PATH"], "TOKEN": "t", "PULL": "3", "HEAD": "0" * 40}
    done = run("forgejo_comment.py", tmp_path / "plan.md", environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "There is no plan to show: the steps before this one say why.\n"
