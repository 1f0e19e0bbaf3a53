"""Questions and answers of an evaluation's file as people read them in sheets. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.contract.completions import text_of
from controller.evaluate.answers import shown_calls


def question_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation as text: the question alone, or every turn after the role's name."""
    if len(messages) == 1:
        return _turn(messages[0])
    return "\n\n".join(f"{one.get('role')}: {_turn(one)}" for one in messages)


def answer_text(line: Mapping[str, Any], role: str) -> str:
    """Return a model's answer: its text and its calls."""
    return _joined(line["answers"][role], line.get("calls", {}).get(role, []))


def reference_text(line: Mapping[str, Any]) -> str:
    """Return the expected answer: its text and its calls."""
    return _joined(line.get("reference") or "", line.get("reference_calls") or [])


def _turn(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    others = [
        f"({part.get('type')})"
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict) and part.get("type") not in {"text", None}
    ]
    return _joined(" ".join([text_of(message), *others]).strip(), message.get("tool_calls") or [])


def _joined(text: str, calls: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(part for part in (text, shown_calls(calls) if calls else "") if part)
