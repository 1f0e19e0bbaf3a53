"""Trackers in child processes: one that is not installed, hangs, dies, chatters or leaves a child."""

import os
from pathlib import Path

import pytest

from controller.track.record import RunRecord
from controller.track.send import write_runs
from controller.track.targets import Target

RECORD = RunRecord(
    key="0" * 24,
    name="cafe 0123456789ab",
    parameters={"seed": 42},
    scores={"candidate/accuracy": 0.5},
    tags={"ftctl.verdict": "passed"},
    finished="2026-11-20T10:00:00Z",
    evaluated="2026-11-20T10:01:00Z",
)
LIBRARY = "class Api:\n    def runs(self, project):\n        raise ValueError\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return a function that writes to trackio, whose library is a given program."""

    def run(program: str, limit_s: float = 60.0, trackers=("trackio",)):
        libraries = tmp_path / "libraries"
        libraries.mkdir(exist_ok=True)
        (libraries / "trackio.py").write_text(program)
        path = os.pathsep.join([str(libraries), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setenv("PYTHONPATH", path.rstrip(os.pathsep))
        targets = [
            Target(tracker=one, settings={"project": "cafe"}, is_server=False) for one in trackers
        ]
        return write_runs(targets, lambda _: [RECORD], tmp_path, tmp_path / ".ftctl", limit_s)

    return run


def test_a_package_that_is_not_installed(write):
    (written,) = write("import absent_library_of_trackio\n")
    assert "writing to trackio needs the package absent_library_of_trackio" in str(written.problem)
    assert "[trackio]" in written.problem.remedy


def test_one_that_hangs_is_ended_with_its_children(write, tmp_path, eventually):
    mark = tmp_path / "pid"
    program = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"pathlib.Path({str(mark)!r}).write_text(str(child.pid))\n"
        "time.sleep(300)\n"
    )
    (written,) = write(program, limit_s=10.0)
    assert written.problem.message == "gave no answer within 10 s"
    pid = int(mark.read_text())

    def is_gone() -> bool:
        try:
            return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return True

    eventually(is_gone)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise RuntimeError('no\\nserver')", "RuntimeError: no server"),
        ("import os, sys; print('told', file=sys.stderr); sys.stderr.flush(); os._exit(3)", "told"),
        ("import os; os._exit(3)", "ended unexpectedly: exit code 3"),
        ("raise SystemExit(0)", "ended unexpectedly"),
        ("raise RuntimeError('http://me:hidden@host/ refused')", "http://…@host/ refused"),
        ("raise RuntimeError('x' * 9999)", "x…"),
    ],
)
def test_one_that_fails(write, program, message):
    (written,) = write(program + "\n")
    assert message in written.problem.message
    assert "hidden" not in str(written.problem)
    assert len(written.problem.message) <= 300
    assert written.links == {}


def test_what_a_library_prints_does_not_matter(write):
    program = (
        "print('* hello')\n"
        f"{LIBRARY}"
        "class Run:\n"
        "    def log(self, numbers, step):\n        print(numbers)\n"
        "    def finish(self):\n        print('{\"error\": 1}')\n"
        "def init(**_):\n    return Run()\n"
    )
    (written,) = write(program)
    assert written.problem is None
    assert list(written.links) == [RECORD.key]


def test_a_module_of_the_repository_does_not_become_the_library(write, tmp_path):
    (tmp_path / "trackio.py").write_text("raise RuntimeError('code of the repository')\n")
    (written,) = write("raise RuntimeError('the library')\n")
    assert written.problem.message == "RuntimeError: the library"


def test_all_run_at_once_and_each_has_its_own_result(write):
    written = write("raise RuntimeError('down')\n", trackers=("trackio", "trackio"))
    assert [one.problem.message for one in written] == ["RuntimeError: down"] * 2


def test_no_target_starts_nothing(tmp_path):
    assert write_runs([], lambda _: [RECORD], tmp_path, tmp_path, 1.0) == []
