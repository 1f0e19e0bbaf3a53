"""Prompts of a completion request, as conversations and texts. Pure."""

from collections.abc import Mapping
from typing import Any

from backends.local_gpu.templates.messages import Conversation


def wants_answer(prompt: Mapping[str, Any]) -> bool:
    """Return True if an answer is wanted, even to no messages; False for a text to measure."""
    reference = prompt["reference"]
    return bool(prompt["messages"]) or (reference is not None and "text" not in reference)


def conversation_of(prompt: Mapping[str, Any]) -> Conversation:
    """Return a prompt as a conversation."""
    return {"messages": prompt["messages"], "tools": prompt["tools"]}


def with_reference(prompt: Mapping[str, Any]) -> Conversation:
    """Return a prompt with its reference as the last answer, the only one that counts."""
    before = [
        {**message, "weight": 0} if message["role"] == "assistant" else message
        for message in prompt["messages"]
    ]
    # A perfect model gives this answer, whether training used it or not.
    last = {key: value for key, value in prompt["reference"].items() if key != "weight"}
    return {"messages": [*before, last], "tools": prompt["tools"]}


def text_of(prompt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the text that a prompt without messages measures."""
    text: Mapping[str, Any] = prompt["reference"]
    return text
