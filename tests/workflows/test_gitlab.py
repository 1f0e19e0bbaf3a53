"""The scripts of another repository at GitLab, as its jobs start them."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from string import Template

import pytest

from tests.controller.server.serve_helpers import serving
from tests.workflows.harness.machine import Machine
from tests.workflows.harness.second import BASE, KEY, ROOT, SPEC, publish_own, rows
from tests.workflows.repositories import ENVIRONMENT, LOCKFILE, git, read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
    ),
]


def test_gitlab_runs_the_same_scripts(tmp_path, image, trainer):
    """The jobs' own lines in real clones, with GitLab's variables and a stand-in for its notes."""
    with serving(trainer) as server, _notes() as (api, notes):
        source = tmp_path / "ftctl"
        commit = publish_own(source, tmp_path / "ftctl.git")
        work, origin = _gitlab_repository(
            tmp_path, server.url, f"{(tmp_path / 'ftctl.git').as_uri()}@{commit}"
        )
        jobs = read(work / ".gitlab/fine-tunes.yml")

        def job(name, ref, expected=0, **variables):
            clone = tmp_path / f"clone-{name}-{ref}"
            git(tmp_path, "clone", "--quiet", origin.as_uri(), str(clone))
            git(clone, "checkout", "--quiet", "--detach", f"origin/{ref}")
            machine = Machine(tmp_path / f"machine-{name}-{ref}", image)
            given = machine.variables() | {
                "CI_PROJECT_DIR": str(clone),
                "CI_DEFAULT_BRANCH": "main",
                "CI_SERVER_URL": "https://gitlab.example",
                "CI_API_V4_URL": api,
                "CI_PROJECT_ID": "7",
                "CI_MERGE_REQUEST_IID": "3",
                **variables,
            }
            base, own = jobs[".fine-tunes"], jobs[f"{name} fine-tunes"]
            for key, value in base["variables"].items():
                given[key] = Template(value).safe_substitute(given)
            lines = [*base["before_script"], *own["script"], *own.get("after_script", [])]
            code, said = machine.run("\n".join(lines), clone, given)
            assert code == expected, said
            return said

        assert "artifact" in job("plan", "new")
        assert "Wrote the note." in job("plan", "new2", FTCTL_NOTE_TOKEN="note")
        assert "1 to train" in notes[0]["body"]
        git(origin, "update-ref", "refs/heads/main", "refs/heads/new")
        said = job("apply", "main", expected=6, OWN_KEY=KEY)
        assert "Nobody approved this plan." in said
        assert LOCKFILE not in git(origin, "ls-tree", "-r", "--name-only", "main")
        shutil.rmtree(tmp_path / "clone-apply-main")
        shutil.rmtree(tmp_path / "machine-apply-main")
        (plan,) = re.findall(r"Plan ID: ([0-9a-f]{16})", said)
        job("apply", "main", OWN_KEY=KEY, PLAN_ID=plan)
        text = git(origin, "show", f"main:{LOCKFILE}")
        assert json.loads(text)["finetunes"]["hours"].keys() & {"job", "production"}
        git(tmp_path, "clone", "--quiet", origin.as_uri(), str(tmp_path / "later"))
        shutil.rmtree(tmp_path / "clone-apply-main")
        said = job("reconcile", "main", OWN_KEY=KEY)
        assert (
            "production"
            in json.loads(git(origin, "show", f"main:{LOCKFILE}"))["finetunes"]["hours"]
        )
        if "Nothing is open" in said:
            assert "Installed" not in said


def _gitlab_repository(tmp_path, url, uses):
    work, origin = tmp_path / "gitlab", tmp_path / "gitlab.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(tmp_path, "init", "--quiet", "--initial-branch=main", str(work))
    (work / "finetunes/data").mkdir(parents=True)
    (work / "ftctl.yaml").write_text(
        f"endpoints:\n  own: {{kind: compatible, base_url: {url}, api_key_env: OWN_KEY}}\n"
    )
    (work / "README.md").write_text("Fine-tunes.\n")
    (work / "finetunes/data/hours.jsonl").write_text(rows(24))
    done = subprocess.run(
        [sys.executable, "-m", "controller", "init", "--gitlab", ".", "--uses", uses],
        cwd=work,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "wrote .gitlab-ci.yml" in done.stdout, done.stdout + done.stderr
    for branch in ("main", "new"):
        git(work, "checkout", "--quiet", "-B", branch)
        if branch == "new":
            text = SPEC.format(base=BASE, data="data/hours.jsonl", epochs=1)
            (work / "finetunes/hours.yaml").write_text(text)
        git(work, "add", "--all")
        git(work, "commit", "--quiet", "--message", branch)
        git(work, "push", "--quiet", origin.as_uri(), branch)
    git(work, "push", "--quiet", origin.as_uri(), "new:new2")
    return work, origin


@contextlib.contextmanager
def _notes():
    """GitLab's notes of one merge request."""
    kept = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, value):
            raw = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def do_GET(self):
            assert self.headers["PRIVATE-TOKEN"] == "note"
            self.answer({"id": 5} if self.path == "/user" else kept)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept.append({"id": len(kept), "author": {"id": 5}, **body})
            self.answer(kept[-1])

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}", kept
    http.shutdown()
    http.server_close()
