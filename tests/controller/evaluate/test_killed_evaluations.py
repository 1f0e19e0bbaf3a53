"""A killed evaluation continues with the answers that it had."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import ROOT, child, until
from tests.servers.chat_server import ChatServer
from tests.tiny_base import make_base

CHILD = Path(__file__).parent / "ask_child.py"
PROMPTS = 1000
LINE = (
    '{{"messages":[{{"content":"q{0}","role":"user"}},{{"content":"a{0}","role":"assistant"}}]}}\n'
)


@pytest.fixture
def held_out(tmp_path):
    path = tmp_path / "held_out.jsonl"
    path.write_text("".join(LINE.format(number) for number in range(PROMPTS)))
    return path


def command(backend, state, held_out, *models):
    return [sys.executable, str(CHILD), backend, str(state), str(held_out), *models]


def kept(state):
    """Return the number of whole answers in the files."""
    files = (state / "answers").glob("*.jsonl")
    return sum(max(0, path.read_bytes().count(b"\n") - 1) for path in files)


def finished(arguments, environment):
    """Run to the end and return the numbers of asked and of kept answers."""
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    asked, had, *_ = map(int, done.stdout.split())
    return asked, had


@pytest.mark.slow
def test_a_server_is_asked_only_for_what_is_missing_after_a_kill(tmp_path, held_out):
    with ChatServer() as server:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "sk-test",
        }
        state = tmp_path / "state"
        arguments = command("openai", state, held_out, "gpt-x", "ft:gpt-x:1")
        with child(arguments, env=environment) as asking:
            until(lambda: kept(state) >= 300, 60)
            asking.send_signal(signal.SIGKILL)
            asking.wait(timeout=20)
        before, had = server.count, kept(state)
        assert 300 <= had < 2 * PROMPTS
        # What was under way is asked again, and nothing else.
        assert before - had <= 2 * 64
        assert finished(arguments, environment) == (2 * PROMPTS - had, had)
        assert server.count - before == 2 * PROMPTS - had
        assert max(server.asked.values()) <= 2
        assert sum(number == 2 for number in server.asked.values()) == before - had
        assert finished(arguments, environment) == (0, 2 * PROMPTS)
        assert server.count - before == 2 * PROMPTS - had


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.timeout(300)
def test_local_models_are_asked_only_for_what_is_missing_after_a_kill(tmp_path, held_out):
    base = make_base(tmp_path / "base")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    state = tmp_path / "state"
    arguments = command("local-gpu", state, held_out, str(base))
    with child(arguments, env=environment) as asking:
        until(lambda: kept(state) >= 200, 90)
        asking.send_signal(signal.SIGKILL)
        asking.wait(timeout=20)
    # The process with the model ends with the one that asked.
    until(lambda: not any((state / "engines").iterdir()), 30)
    had = kept(state)
    assert 200 <= had < PROMPTS
    assert finished(arguments, environment) == (PROMPTS - had, had)
    assert finished(arguments, environment) == (0, PROMPTS)
