"""Question and answer of a canonical line. Pure."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.data.examples.example import Message, parse
from controller.data.sources.source_file import CHUNK

_SYSTEM = ("system", "developer")


class ExampleView(NamedTuple):
    """An example of any method, as one conversation or one text."""

    messages: list[Message]
    """Messages with the learned answer, if there is one. Empty for a text."""
    answered: bool
    """True if the last message is the answer."""
    tools: list[Json]
    text: str | None

    @property
    def question(self) -> str | None:
        """Question as canonical JSON, without the system prompt; None for a text."""
        if self.text is not None:
            return None
        asked = self.messages[:-1] if self.answered else self.messages
        users = [message for message in asked if message["role"] not in _SYSTEM]
        return canonical_json(cast("list[Json]", users or asked)).decode()

    @property
    def answer(self) -> str | None:
        """Answer as text; None if there is none, or one without words."""
        return text_of(self.messages[-1]) or None if self.answered else None


def view_example(line: bytes) -> ExampleView:
    """Return the view of a canonical line."""
    example = parse(line)
    return ExampleView(
        messages=example.messages,
        answered=bool(example.messages) and example.messages[-1]["role"] == "assistant",
        tools=example.tools or [],
        text=example.text,
    )


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
