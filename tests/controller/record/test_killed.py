"""`kill -9` at random moments: nothing is lost, and only what was under way is asked twice."""

import os
import signal
import subprocess
import sys

import pytest

from backends.atomic_files import locked
from tests.benchmarks.record_kills import UNDER_WAY, kill_rounds
from tests.children import ROOT, child, until


@pytest.mark.slow
def test_a_killed_record_continues(tmp_path, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOSTED_KEY", "HOME_KEY"):
        monkeypatch.setenv(name, "")
    found = kill_rounds(tmp_path / "repository", rounds=4, count=600, seed=3)
    assert found.lost == 0
    assert found.kept == found.committed == found.wanted
    assert found.asking >= 3
    assert 0 < found.twice == found.given - found.wanted <= UNDER_WAY * found.asking


def test_after_ctrl_c_the_answers_so_far_can_be_committed(hosted):
    hosted.train(count=400)
    hosted.hosted.hold_s = 0.1
    before = len(hosted.chats())
    command = [sys.executable, "-m", "controller", "--dir", str(hosted.shell.root)]
    command += ["record", "triage", "--train", "300", "--yes"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with child(command, env=environment, stderr=subprocess.PIPE, text=True) as recording:
        until(lambda: len(hosted.chats()) >= before + 100, 60)
        recording.send_signal(signal.SIGINT)
        told = recording.stderr.read()
        assert recording.wait(timeout=30) == 130
    assert "What was answered is kept. Type the same command again to continue." in told
    hosted.hosted.hold_s = 0.0
    (path,) = hosted.files()
    committed = len(path.read_text("utf-8").splitlines())
    assert 1 < committed < 300
    code, text = hosted.shell("record", "triage", "--train", "300", "--yes")
    assert code == 0, text


def test_two_at_a_time_do_not_ask_the_same(hosted):
    hosted.train()
    with locked(hosted.shell.root / ".ftctl/record.lock"):
        code, text = hosted.shell("record", "triage", "--yes")
    assert code == 7
    assert "another `ftctl record` is asking in this repository" in text
    assert hosted.shell("record", "triage", "--yes")[0] == 0
