"""An example, and its one canonical spelling. Pure.

The canonical line is `controller.canonical.canonical_json` of what `as_json` returns, put together
from the spelling of each message so that the common message is spelt without a detour.
"""

import json
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, NamedTuple, TypeAlias

from backends.base import Json
from controller.canonical import canonical_json

Message: TypeAlias = dict[str, Json]


class Example(NamedTuple):
    """One training conversation, preference pair or text. A tuple, because millions are made."""

    messages: list[Message]
    """Of a preference pair: the conversation with the preferred answer. Empty for a text."""
    tools: list[Json] | None = None
    rejected: Message | None = None
    """The answer of a preference pair that is not preferred."""
    graded: dict[str, Json] | None = None
    """For reinforcement: what a grader reads beside the answer."""
    text: str | None = None
    """For continued pretraining: all of it."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a conversation and nothing else."""
        return self.rejected is None and self.graded is None and self.text is None

    def as_json(self) -> dict[str, Json]:
        """Return the example as it stands in a canonical line, in the protocol's form."""
        if self.text is not None:
            return {"text": self.text}
        asked: dict[str, Json] = {"messages": self.messages}
        if self.tools is not None:
            asked["tools"] = self.tools
        if self.rejected is None:
            return {**(self.graded or {}), **asked}
        asked["messages"] = self.messages[:-1]
        return {
            "input": asked,
            "preferred_output": [self.messages[-1]],
            "non_preferred_output": [self.rejected],
        }


Spelt: TypeAlias = tuple[bytes, bytes]
"""An example as bytes: its canonical line, with its line end, and what it asks, which decides its
side of the split. No named tuple: those take longer to make than to fill."""


def spell(example: Example) -> Spelt:
    """Return an example as bytes.

    Raises:
        ValueError: A number in it is not finite.
        RecursionError: A value in it is nested too deeply.
    """
    messages = [spell_message(message) for message in example.messages]
    question = _question(example, messages).encode()
    if not example.is_plain:
        return canonical_json(example.as_json()) + b"\n", question
    line = f'{{"messages":[{",".join(messages)}]'
    if example.tools is not None:
        line += f',"tools":{canonical_json(example.tools).decode()}'
    return f"{line}}}\n".encode(), question


def parse(line: bytes) -> Example:
    """Return the example that a canonical line spells."""
    value: dict[str, Any] = json.loads(line)
    if "text" in value and "messages" not in value:
        return Example([], text=value["text"])
    if "preferred_output" in value:
        asked = value["input"]
        messages = [*asked["messages"], *value["preferred_output"]]
        return Example(messages, asked.get("tools"), rejected=value["non_preferred_output"][0])
    graded = {key: item for key, item in value.items() if key not in {"messages", "tools"}}
    answered = value["messages"][-1]["role"] == "assistant"
    rest = graded if graded or not answered else None
    return Example(value["messages"], value.get("tools"), graded=rest)


def spell_message(message: Message) -> str:
    """Return the canonical spelling of one message.

    Raises:
        ValueError: A number in it is not finite.
    """
    content, role = message["content"], message["role"]
    if len(message) == 2 and type(content) is str and type(role) is str:  # noqa: PLR2004
        return f'{{"content":{encode_basestring(content)},"role":{encode_basestring(role)}}}'
    return canonical_json(message).decode()


def _question(example: Example, spelt: list[str]) -> str:
    if example.text is not None:
        return example.text
    # A prompt for reinforcement has no answer to leave out.
    end = None if example.graded is not None else -1
    # Without the system prompt, so that another wording of it moves nothing.
    asked = [
        text
        for message, text in zip(example.messages[:end], spelt, strict=False)
        if message["role"] not in ("system", "developer")
    ]
    # A conversation that only a system prompt opens has nothing else to go by.
    return ",".join(asked or spelt[:end])


def map_texts(example: Example, change: Callable[[str], str]) -> Example:
    """Return the example with every text that people wrote changed; the same object when none is.

    That is the contents of messages, text parts among them, the answer not preferred and a plain
    text; not names, tool calls, tool definitions or what a grader reads.
    """
    messages = example.messages
    for index, message in enumerate(example.messages):
        new = _with_text(message, change)
        if new is not message:
            if messages is example.messages:
                messages = messages.copy()
            messages[index] = new
    rejected = example.rejected and _with_text(example.rejected, change)
    text = example.text and change(example.text)
    if messages is example.messages and rejected is example.rejected and text == example.text:
        return example
    return example._replace(messages=messages, rejected=rejected, text=text)


def texts_of(example: Example) -> list[str]:
    """Return what people wrote in an example, system prompts left out, for comparing examples."""
    if example.text is not None:
        return [example.text]
    said = example.messages if example.rejected is None else [*example.messages, example.rejected]
    return [
        text
        for message in said
        if message.get("role") not in ("system", "developer")
        for text in _contents(message)
    ]


def _contents(message: Message) -> list[str]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return [text for text in parts if isinstance(text, str)]
    return []


def _with_text(message: Message, change: Callable[[str], str]) -> Message:
    content = message["content"]
    new: Json = content
    if isinstance(content, str):
        new = change(content)
    elif isinstance(content, list):
        new = [_with_part(part, change) for part in content]
    return message if new is content or new == content else {**message, "content": new}


def _with_part(part: Json, change: Callable[[str], str]) -> Json:
    if isinstance(part, dict) and isinstance(text := part.get("text"), str):
        return {**part, "text": change(text)}
    return part
