"""Preference pairs and marked answers as conversations, one for each answer. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from backends.contract.methods import form_of
from backends.local_gpu.templates.messages import Conversation


def conversations_of(example: Mapping[str, Any]) -> list[Conversation]:
    """Return an example as one conversation for each answer, the preferred one first."""
    form = form_of(example)
    question, tools = form.question(example), form.tools(example)
    return [answered(question, answer, tools) for answer in form.answers(example)]


def headings_of(example: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what each of these answers is, for people."""
    if "label" in example:
        return ("good",) if example["label"] else ("bad",)
    return "preferred", "not preferred"


def answered(
    question: Sequence[Mapping[str, Any]],
    answer: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]],
) -> Conversation:
    """Return a question with an answer, the only one that counts."""
    before = [
        {**message, "weight": 0} if message["role"] == "assistant" else message
        for message in question
    ]
    # It counts here, whether supervised training used it or not.
    last = {key: value for key, value in answer.items() if key != "weight"}
    return {"messages": [*before, last], "tools": tools}
