"""Propose columns for question and answer by common names: the line to type. Pure."""

from collections.abc import Iterable
from typing import Final

_CONTEXTS: Final = ("context", "passage", "paragraph", "document", "input", "지문", "본문")
_QUESTIONS: Final = (
    *("instruction", "question", "query", "prompt", "user", "text", "sentence", "utterance"),
    *("질문", "문의", "발화", "문장", "q", "input"),
)
_PAIRS: Final = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("text1", "text2"))
_ANSWERS: Final = (
    *("response", "answer", "output", "completion", "assistant", "reply", "target", "summary"),
    *(
        "label",
        "intent",
        "category",
        "gold_label",
        "답변",
        "응답",
        "정답",
        "답",
        "라벨",
        "의도",
        "a",
    ),
)
_OPEN: Final = "{user: ..., assistant: ...}"


def proposed_columns(names: Iterable[str]) -> str:
    """Return `columns` as written in a spec, with gaps where no name is recognised."""
    known = {name.lower(): name for name in names}
    answer = _first(known, _ANSWERS)
    columns = next(([known[a], known[b]] for a, b in _PAIRS if a in known and b in known), [])
    if not columns and (question := _first(known, _QUESTIONS)) is not None:
        rest = {key: name for key, name in known.items() if name != question}
        context = _first(rest, _CONTEXTS)
        columns = [question] if context is None else [context, question]
    if not columns or answer is None:
        return _OPEN
    if any(set(name) & _NEEDS_QUOTES for name in (*columns, answer)):
        return _OPEN
    user = columns[0]
    if columns[1:]:
        joined = "\\n".join(f"{{{name}}}" for name in columns)
        user = f'"{joined}"'
    return f"{{user: {user}, assistant: {answer}}}"


def _first(known: dict[str, str], names: Iterable[str]) -> str | None:
    return next((known[name] for name in names if name in known), None)


_NEEDS_QUOTES: Final = frozenset("\"'{}[],:#&*!|>%@`\\\n")
