"""A row as a line of a file, and the record of a planted problem."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One planted problem."""

    kind: str
    form: str
    """How it is written, or what was edited."""
    text: str = ""
    """For personal data: what must be found, and no more than it."""


def line(question: str, answer: str) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages}, ensure_ascii=False)
