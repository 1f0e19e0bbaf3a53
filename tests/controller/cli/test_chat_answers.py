"""`ftctl chat` and `ftctl show`: answers without thinking, calls as calls, errors in words."""

import sys

import pytest

PLUGIN = """
import json

from backends.contract.completions import Completion
from backends.contract.errors import ModelMissing, PromptRefused
from backends.testing import ScriptedBackend

CALL = {"id": "call_1", "type": "function",
        "function": {"name": "book", "arguments": json.dumps({"day": "Monday"})}}


def answer(model, prompt):
    said = prompt.messages[-1]["content"]
    if len(prompt.messages) > 1:
        said = " ".join(str(one.get("content")) for one in prompt.messages)
    if said == "too long":
        raise PromptRefused("the prompt has 2000 tokens; the base model reads 1024", "shorten it")
    if said == "gone":
        raise ModelMissing("the weights are gone", "train it again")
    calls = (CALL,) if said == "book" else ()
    return Completion(text=f"<think>hidden</think>heard: {said}", thinking="Hm.",
                      tool_calls=calls, finish_reason="stop",
                      reference_loss=1.0 if model else 2.0, reference_tokens=4)


def create(state, endpoint):
    return ScriptedBackend(state, answer=answer)
"""


@pytest.fixture
def talk(shell, tmp_path, monkeypatch):
    """Return a repository with a model that can be talked to."""
    packages = tmp_path / "chatty"
    info = packages / "ftctl_chatty-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "chatty.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-chatty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftctl.backends]\nscripted = chatty:create\n")
    monkeypatch.delitem(sys.modules, "chatty", raising=False)
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    shell.declare()
    code, text = shell("apply", "--auto-approve")
    assert code == 0, text
    return shell


def test_thinking_is_shown_on_request_only(talk):
    assert talk("chat", "faq", "-m", "hello") == (0, "heard: hello\n")
    assert talk("chat", "faq", "-m", "hello", "--thinking") == (0, "(Hm.)\nheard: hello\n")
    assert talk.json("chat", "faq", "-m", "hello") == (0, {"tuned": "heard: hello"})
    assert talk.json("chat", "faq", "-m", "hello", "--thinking")[1]["thinking"] == {"tuned": "Hm."}


def test_calls_are_shown_as_calls(talk):
    assert talk("chat", "faq", "-m", "book") == (0, 'heard: book book({"day": "Monday"})\n')
    found = talk.json("chat", "faq", "-m", "book")[1]
    assert found["tool_calls"]["tuned"][0]["function"]["name"] == "book"


@pytest.mark.parametrize(
    ("said", "words"), [("too long", "the base model reads 1024"), ("gone", "weights are gone")]
)
def test_what_a_backend_refuses_is_no_defect(talk, said: str, words: str):
    code, text = talk("chat", "faq", "-m", said)
    assert code == 1
    assert words in text
    assert "defect" not in text
    assert "Traceback" not in text


def test_held_out_answers_are_shown_without_thinking(talk):
    plain = talk("show", "faq")[1]
    assert "heard: q" in plain
    assert "hidden" not in plain
    assert "Hm." not in plain
    assert "candidate  (Hm.)" in talk("show", "faq", "--thinking")[1]


def test_a_conversation_goes_on_without_the_thinking(talk, monkeypatch):
    lines = iter(["hello\n", "again\n", "\n"])
    monkeypatch.setattr(
        sys,
        "stdin",
        type("Typed", (), {"readline": lambda _self: next(lines), "isatty": lambda _self: False})(),
    )
    code, text = talk("chat", "faq")
    assert code == 0
    assert "heard: hello heard: hello again" in text
