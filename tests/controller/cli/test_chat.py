"""`ftctl chat`: waits that are announced, and what is typed."""

import io
import sys
import unicodedata

import pytest

from controller.cli import chat

SLOW = """
import time
from backends.contract.completions import Completion
from backends.contract.errors import BackendError
from backends.testing import ScriptedBackend


def answer(model, prompt):
    last = prompt.messages[-1]["content"]
    if last == "slow":
        time.sleep(0.4)
    if last == "broken":
        raise BackendError("the adapter cannot be loaded", "Train it again.")
    return Completion(text=f"{len(last)}: {last}", finish_reason="stop")


def create(state, endpoint):
    return ScriptedBackend(state, answer=answer)
"""


@pytest.fixture
def talking(shell, installed, monkeypatch):
    del installed
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    (shell.root.parent / "slowly.py").write_text(SLOW)
    # Not `syspath_prepend`: undone, it would bring back what `installed` had put there.
    monkeypatch.setattr(sys, "path", [str(shell.root.parent), *sys.path])
    entries = shell.root.parent / "site-packages/ftctl_scripted-1.0.dist-info/entry_points.txt"
    entries.write_text("[ftctl.backends]\nscripted = slowly:create\n")
    monkeypatch.setattr(chat, "QUIET_S", 0.1)
    return shell


def test_a_long_wait_says_what_it_waits_for(talking):
    code, text = talking("chat", "faq", "-m", "slow")
    assert code == 0
    assert "4: slow\n" in text
    assert "Waiting for scripted:faq:" in text
    assert "at scripted …" in text
    assert "Waiting" not in talking("chat", "faq", "-m", "quick")[1]


def test_errors_of_the_backend_are_the_user_s_to_mend(talking, monkeypatch):
    expected = "the adapter cannot be loaded\n    Train it again.\n"
    assert talking("chat", "faq", "-m", "broken") == (1, expected)
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\nbroken\n"))
    code, text = talking("chat", "faq")
    assert code == 1
    assert text.endswith(expected)
    assert "Traceback" not in text


def test_korean_is_read_as_it_was_trained_on(talking, monkeypatch):
    assert talking("chat", "faq", "-m", unicodedata.normalize("NFD", "안녕")) == (0, "2: 안녕\n")
    typed = io.TextIOWrapper(io.BytesIO("영업 시간?\n\n".encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", typed)
    assert "6: 영업 시간?\n" in talking("chat", "faq")[1]


@pytest.mark.parametrize("given", ["option", "input"])
def test_text_that_is_not_utf_8_is_named(talking, monkeypatch, given):
    raw = "안녕".encode("cp949")
    if given == "option":
        code, text = talking("chat", "faq", "-m", raw.decode("utf-8", "surrogateescape"))
    else:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
        code, text = talking("chat", "faq")
    assert code == 1
    assert "the message is not UTF-8" in text
    assert "iconv -f cp949" in text
