"""Prompts of a completion request: read from a file, as conversations and texts."""

import json
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.local_gpu.templates.messages import Conversation
from backends.local_gpu.tokens.answer_rows import answered


def wants_answer(prompt: Mapping[str, Any]) -> bool:
    """Return True if an answer is wanted, even to no messages; False for a text to measure."""
    reference = prompt["reference"]
    return bool(prompt["messages"]) or (reference is not None and "text" not in reference)


def conversation_of(prompt: Mapping[str, Any]) -> Conversation:
    """Return a prompt as a conversation."""
    return {"messages": prompt["messages"], "tools": prompt["tools"]}


def with_reference(prompt: Mapping[str, Any]) -> Conversation:
    """Return a prompt with its reference as the last answer, the only one that counts."""
    return answered(prompt["messages"], prompt["reference"], prompt["tools"])


def with_rejected(prompt: Mapping[str, Any]) -> Conversation:
    """Return a prompt with the answer that is not wanted, the only one that counts."""
    return answered(prompt["messages"], prompt["rejected"], prompt["tools"])


def text_of(prompt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the text that a prompt without messages measures."""
    text: Mapping[str, Any] = prompt["reference"]
    return text


class PromptFile:
    """A file of prompts, one JSON object per line, read one by one: they need not fit memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offsets: array[int] | None = None

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        """Return the prompt on a line, from 0."""
        with self._path.open("rb") as file:
            if self._offsets is None:
                self._offsets = array("Q", [0])
                for line in file:
                    self._offsets.append(self._offsets[-1] + len(line))
            file.seek(self._offsets[number])
            prompt: Mapping[str, Any] = json.loads(file.readline())
            return prompt
