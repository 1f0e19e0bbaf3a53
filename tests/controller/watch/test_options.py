"""The command line of the service, and the files that run it on a machine."""

import re
import shlex
import shutil
import subprocess
import sys

import click
import pytest

from backends.atomic_files import locked
from controller.cli import cli, run
from controller.project.project import current_commit
from tests.watched import Remote, git


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "finetunes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--git", "URL"], "--git needs --watch"),
        (["--interval", "5s"], "--interval needs --watch"),
        (["--port", "9464"], "--port needs --watch"),
        (["--watch", "--branch", "main"], "--branch needs --git URL"),
        (["--watch", "--folder", "ml"], "--folder needs --git URL"),
        (["--watch", "--wait"], "--wait ends with the jobs"),
        (["--watch", "--interval", "soon"], "is not an interval such as 60s"),
        (["--watch", "--interval", "0"], "shorter than 0.1s"),
    ],
)
@pytest.mark.usefixtures("root")
def test_options_that_would_mean_nothing_are_refused(capsys, options, said):
    assert run(["reconcile", *options]) == 64
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said", "remedy"),
    [
        (
            ["--git", "https://me:t0ken@h.example/a"],
            "https://***@h.example/a holds a user",
            "Remove",
        ),
        (["--git", "file:///nowhere.git"], "does not appear to be a git repository", "Check --git"),
        (["--git", "ORIGIN", "--branch", "release"], "couldn't find remote ref", "Check --git and"),
        (["--git", "ORIGIN", "--branch", "-x"], "-x is not a name of a branch", "Check --branch"),
        (["--git", "ORIGIN", "--folder", "../x"], "is not a folder of the repo", "Name the folder"),
        (
            ["--git", "ORIGIN", "--host", "256.0.0.1"],
            "cannot listen on 256.0.0.1",
            "Choose another",
        ),
    ],
)
@pytest.mark.usefixtures("root")
def test_a_service_that_cannot_begin_says_why(tmp_path, capsys, options, said, remedy):
    remote = Remote(tmp_path / "remote")
    remote.merge({"README.md": "모델"})
    options = [remote.url if word == "ORIGIN" else word for word in options]
    assert run(["reconcile", "--watch", "--port", "0", *options]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert remedy in told
    assert "t0ken" not in told


def test_a_second_service_and_a_folder_without_finetunes_are_refused(root, capsys):
    with locked(root / ".ftctl/watch/lock"):
        assert run(["reconcile", "--watch", "--port", "0"]) == 7
    assert "another service already uses" in capsys.readouterr().err
    (root / "finetunes").rmdir()
    assert run(["reconcile", "--watch"]) == 1
    assert "is not a repository of fine-tunes" in capsys.readouterr().err


def test_a_service_is_written_and_its_commands_are_commands(tmp_path, capsys):
    assert run(["init", "--service", str(tmp_path / "deploy")]) == 0
    written = sorted(path.name for path in (tmp_path / "deploy").iterdir())
    assert written == ["Containerfile", "ftctl.env", "ftctl.service"]
    unit = (tmp_path / "deploy/ftctl.service").read_text()
    started = re.search(r"^ExecStart=\S*/ftctl (.*)$", unit, re.MULTILINE)[1]
    container = (tmp_path / "deploy/Containerfile").read_text()
    entry = re.search(r'^ENTRYPOINT \["ftctl", (.*)\]$', container, re.MULTILINE)[1]
    for words in (shlex.split(started), shlex.split(entry.replace(",", ""))):
        assert words[:2] == ["--json", "reconcile"]
        command = cli.get_command(click.Context(cli), "reconcile")
        command.make_context("reconcile", words[2:], obj={"json": True})
    variables = set(re.findall(r"\$\{(\w+)\}", unit))
    assert variables <= set(
        re.findall(r"^(\w+)=", (tmp_path / "deploy/ftctl.env").read_text(), re.MULTILINE)
    )
    # What people filled in stays.
    assert run(["init", "--service", str(tmp_path / "deploy")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert run(["init", "--service", "--demo", str(tmp_path / "other")]) == 1
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path):
    assert run(["init", "--service", str(tmp_path)]) == 0
    unit = tmp_path / "ftctl.service"
    # The program that it names, and its settings, are those of a machine with the service.
    unit.write_text(unit.read_text().replace("/opt/ftctl/bin/ftctl", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = [line for line in done.stderr.splitlines() if "ftctl.service" in line]
    assert (done.returncode, told) == (0, [])


def test_a_recorded_lockfile_is_no_change_of_what_is_declared(tmp_path):
    remote = Remote(tmp_path)
    commit = remote.merge({"finetunes/a.yaml": "x", "finetunes/ftctl.lock": "{}"})
    (remote.person / "finetunes/ftctl.lock").write_text("{ }")
    assert current_commit(remote.person) == commit[:12]
    git(remote.person, "add", "--all")
    assert current_commit(remote.person) == commit[:12]
    (remote.person / "finetunes/a.yaml").write_text("y")
    assert current_commit(remote.person) == f"{commit[:12]}-dirty"
