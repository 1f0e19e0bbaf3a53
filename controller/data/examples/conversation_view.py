"""Question and answer of an example of any method; blocks of a file of examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.data.examples.example import Example, Message
from controller.data.sources.source_file import CHUNK

_SYSTEM = ("system", "developer")


def is_answered(example: Example) -> bool:
    """Return whether the last message is an answer."""
    return bool(example.messages) and example.messages[-1]["role"] == "assistant"


def question_of(example: Example) -> str | None:
    """Return the question as canonical JSON, without the system prompt; None for a text."""
    if example.text is not None:
        return None
    asked = example.messages[:-1] if is_answered(example) else example.messages
    users = [message for message in asked if message["role"] not in _SYSTEM]
    return canonical_json(cast("list[Json]", users or asked)).decode()


def answer_of(example: Example) -> str | None:
    """Return the answer as text; None without an answer, or if it has no words."""
    return text_of(example.messages[-1]) or None if is_answered(example) else None


def text_of(message: Message) -> str:
    """Return the text of a message, without images and tool calls."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def read_blocks(path: Path) -> Iterator[bytes]:
    """Yield a file of lines in blocks of whole lines, each about a megabyte."""
    rest: list[bytes] = []
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            whole, end, after = chunk.rpartition(b"\n")
            if end:
                yield b"".join([*rest, whole, end])
                rest = [after] if after else []
            else:
                rest.append(chunk)
    if rest:
        yield b"".join(rest)
