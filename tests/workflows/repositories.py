"""Repositories with a remote, and the scripts that workflows run in them."""

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml

from controller.lockfile.model import dump_lockfile, parse_lockfile

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


COMMIT = GITHUB / "actions/commit-lockfile/commit.sh"
PLAN = GITHUB / "scripts/plan.sh"


LOCKFILE = "finetunes/ftctl.lock"


def read(path):
    """Read YAML with every value as text, so that `on:` stays `on`."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)


def jobs():
    return [
        pytest.param(path, name, job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    ]


def steps(path):
    value = read(path)
    if "runs" in value:
        return value["runs"]["steps"]
    return [step for job in value["jobs"].values() for step in job.get("steps", [])]


class Repository:
    """A clone of a bare repository, in which the lockfile is changed and committed."""

    def __init__(self, folder, name, *options):
        self.folder = folder / name
        self.origin = folder / "origin.git"
        if not self.origin.exists():
            git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
            git(folder, "clone", "--quiet", str(self.origin), str(folder / "first"))
            (folder / "first/finetunes").mkdir()
            (folder / "first/README.md").write_text("Fine-tunes.\n")
            git(folder / "first", "add", ".")
            git(folder / "first", "commit", "--quiet", "--message", "Begin")
            git(folder / "first", "push", "--quiet", "origin", "HEAD:main")
        url = self.origin.as_uri()  # a path would ignore --depth
        git(folder, "clone", "--quiet", *options, url, str(self.folder))

    def write(self, entries):
        text = json.dumps({"_": "", "format": 1, "finetunes": entries}).encode()
        (self.folder / LOCKFILE).parent.mkdir(exist_ok=True)
        (self.folder / LOCKFILE).write_bytes(dump_lockfile(parse_lockfile(text, LOCKFILE)))

    def commit(self, cwd=None, **environment):
        output = self.folder.parent / f"{self.folder.name}.output"
        output.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", str(COMMIT)],
            cwd=cwd or self.folder,
            env=ENVIRONMENT
            | {"BRANCH": "main", "MESSAGE": "Record fine-tunes", "GITHUB_OUTPUT": str(output)}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        said = output.read_text().split("\n", 1)[0] if output.exists() else ""
        return done.returncode, said, done.stdout + done.stderr

    def recorded(self):
        text = git(self.origin, "show", f"main:{LOCKFILE}").encode()
        lockfile = parse_lockfile(text, LOCKFILE)
        assert dump_lockfile(lockfile) == text, "not the form in which ftctl writes"
        return json.loads(text)["finetunes"]


ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
}
PEOPLE = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Someone"), ("EMAIL", "someone@example.com"))
}


def git(folder, *arguments):
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env=ENVIRONMENT | PEOPLE,
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    ).stdout


def build(number):
    part = {"digest": f"sha256:{number}", "examples": number}
    return {
        "fingerprint": fingerprint(number),
        "attempt": 1,
        "backend": "local-gpu",
        "job": f"run-{number}",
        "model_id": f"model-{number}",
        "inputs": {},
        "base_model": "../models/small-ko",
        "data": {"train": part, "held_out": part},
        "facts": {},
        "submitted": "2026-11-01T00:00:00Z",
        "finished": "2026-11-01T00:01:00Z",
    }


def fingerprint(number):
    return f"ft1:{number:064x}"


def entry(*numbers):
    return {
        "production": fingerprint(numbers[-1]),
        "builds": {fingerprint(number): build(number) for number in numbers},
    }


def plan(tmp_path, program):
    """Run plan.sh with an `ftctl` that is a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ftctl").write_text(f"#!/usr/bin/env bash\n{textwrap.dedent(program)}")
    (folder / "ftctl").chmod(0o755)
    out, summary = tmp_path / "plan", tmp_path / "summary"
    done = subprocess.run(
        ["bash", str(PLAN), "head", str(out)],
        env=ENVIRONMENT
        | {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert summary.read_text() == (out / "plan.md").read_text()
    return done, (out / "plan.md").read_text()
