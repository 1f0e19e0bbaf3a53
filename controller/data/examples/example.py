"""An example, and its one canonical form. Pure.

The keys of an example, of its messages and of their calls are sorted, as `canonical_json` sorts
them. Content that belongs to the author keeps the order as written, since a model reads and learns
it in this order: tool definitions, arguments that are objects, values that a grader reads. The line
is joined from the JSON of each message so that the common message takes a fast path.
"""

import json
from collections.abc import Callable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, TypeAlias

from backends.contract.inspector import Json
from backends.contract.methods import MARKED, PREFERENCE, TEXT, form_of
from controller.canonical import canonical_json, written_json
from controller.data.recipes import FIRST, NEWEST

Message: TypeAlias = dict[str, Json]

OPTIONS: Final = frozenset({"parallel_tool_calls"})
"""Keys next to `messages` and `tools` that the protocol defines for training files."""

ROLE_AND_CONTENT: Final = 2
"""Number of keys of a message that has only a role and content."""

PROSE: Final = ("reasoning_content", "reasoning", "thinking", "refusal")
"""Keys of a message, besides its content, that hold thinking or speech."""


class Example(NamedTuple):
    """One conversation, preference pair, marked answer or text. A tuple: millions are made."""

    messages: list[Message]
    """Of a preference pair and a marked answer: with that answer, the preferred one. Empty for a
    text."""
    tools: list[Json] | None = None
    rejected: Message | None = None
    """The answer of a preference pair that is not preferred."""
    graded: dict[str, Json] | None = None
    """For reinforcement: the values that a grader reads."""
    text: str | None = None
    """For continued pretraining: the text."""
    options: dict[str, Json] | None = None
    """Keys of `OPTIONS` with their values."""
    unread: tuple[str, ...] = ()
    """Keys of its row that are not read: `id`, `input.metadata`."""
    label: bool | None = None
    """For `kto`: True if the answer is good, False if it is bad."""

    @property
    def is_plain(self) -> bool:
        """True for a conversation and nothing else."""
        return (
            self.rejected is None
            and self.graded is None
            and self.text is None
            and self.label is None
        )

    def as_json(self) -> dict[str, Json]:
        """Return the example in the protocol's form, as in a canonical line."""
        if self.text is not None:
            return {"text": self.text}
        source: dict[str, Json] = {"messages": self.messages, **(self.options or {})}
        if self.tools is not None:
            source["tools"] = self.tools
        if self.rejected is None and self.label is None:
            return {**(self.graded or {}), **source}
        source["messages"] = self.messages[:-1]
        if self.rejected is None:
            return {"input": source, "output": [self.messages[-1]], "label": self.label}
        return {
            "input": source,
            "preferred_output": [self.messages[-1]],
            "non_preferred_output": [self.rejected],
        }


CanonicalExample: TypeAlias = tuple[bytes, bytes]
"""An example as bytes: its canonical line with its line end, and its question, which decides its
split. Not a named tuple, which takes longer to make than to fill."""


def to_canonical(example: Example, recipe: int = NEWEST) -> CanonicalExample:
    """Return an example as bytes.

    Args:
        example: Any example.
        recipe: Version of the canonical form: the first sorts all keys.

    Raises:
        ValueError: A number in it is not finite.
        RecursionError: A value in it is nested too deeply.
    """
    to_text = _sorted_message if recipe == FIRST else canonical_message
    messages = [to_text(message) for message in example.messages]
    question = _question(example, messages).encode()
    if example.is_plain and example.tools is None and not example.options:
        return f'{{"messages":[{",".join(messages)}]}}\n'.encode(), question
    if recipe == FIRST or example.text is not None:
        return canonical_json(example.as_json()) + b"\n", question
    return f"{_whole_line(example, messages)}\n".encode(), question


def parse(line: bytes) -> Example:
    """Return the example in a canonical line."""
    value: dict[str, Any] = json.loads(line)
    form = form_of(value)
    if form is TEXT:
        return Example([], text=value["text"])
    if form is PREFERENCE or form is MARKED:
        asked = value["input"]
        answer = value["output" if form is MARKED else "preferred_output"]
        return Example(
            [*asked["messages"], *answer],
            asked.get("tools"),
            rejected=None if form is MARKED else value["non_preferred_output"][0],
            options={key: asked[key] for key in sorted(OPTIONS & asked.keys())} or None,
            label=value["label"] if form is MARKED else None,
        )
    rest = {key: item for key, item in value.items() if key not in {"messages", "tools"}}
    answered = bool(value["messages"]) and value["messages"][-1]["role"] == "assistant"
    if answered and rest.keys() <= OPTIONS:
        return Example(value["messages"], value.get("tools"), options=rest or None)
    return Example(value["messages"], value.get("tools"), graded=rest)


def canonical_message(message: Message) -> str:
    """Return the canonical JSON of one message.

    Raises:
        ValueError: A number in it is not finite.
    """
    content, role = message["content"], message["role"]
    if len(message) == ROLE_AND_CONTENT and type(content) is str and type(role) is str:
        return f'{{"content":{encode_basestring(content)},"role":{encode_basestring(role)}}}'
    return _written({key: _in_order(key, message[key]) for key in sorted(message)})


def _sorted_message(message: Message) -> str:
    """Return the JSON of a message under the first recipe."""
    return canonical_json(message).decode()


def _in_order(key: str, value: Json) -> Json:
    """Return a message's value with the protocol's keys sorted."""
    if key == "content":
        return value if isinstance(value, str) else _sorted(value)
    if key == "tool_calls" and isinstance(value, list):
        return [_call_in_order(call) for call in value]
    return value


def _call_in_order(call: Json) -> Json:
    if not isinstance(call, dict):
        return call
    new = {key: call[key] for key in sorted(call)}
    if isinstance(function := call.get("function"), dict):
        new["function"] = {key: function[key] for key in sorted(function)}
    return new


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _whole_line(example: Example, messages: list[str]) -> str:
    """Return the line of an example that has more than messages."""
    beside = {key: _written(value) for key, value in (example.options or {}).items()}
    if example.tools is not None:
        beside["tools"] = _written(example.tools)
    if example.rejected is None and example.label is None:
        graded = {key: _written(value) for key, value in (example.graded or {}).items()}
        return _object({**graded, **beside, "messages": f"[{','.join(messages)}]"})
    *asked, answer = messages
    source = _object({**beside, "messages": f"[{','.join(asked)}]"})
    if example.rejected is None:
        label = _written(example.label)
        return _object({"input": source, "output": f"[{answer}]", "label": label})
    return _object(
        {
            "input": source,
            "preferred_output": f"[{answer}]",
            "non_preferred_output": f"[{canonical_message(example.rejected)}]",
        }
    )


def _object(parts: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{encode_basestring(key)}:{parts[key]}' for key in sorted(parts))}}}"


def _written(value: Json) -> str:
    return written_json(value).decode()


def _question(example: Example, messages: list[str]) -> str:
    if example.text is not None:
        return example.text
    # A prompt for reinforcement has no answer to leave out.
    end = None if example.graded is not None else -1
    # Without the system prompt, so that another wording of it moves nothing.
    asked = [
        text
        for message, text in zip(example.messages[:end], messages, strict=False)
        if message["role"] not in ("system", "developer")
    ]
    # A conversation with only a system prompt has nothing else.
    return ",".join(asked or messages[:end])


def map_texts(example: Example, change: Callable[[str], str], recipe: int = NEWEST) -> Example:
    """Return the example with every human-written text changed; the same object if none changes.

    Changed are the contents of messages (including text parts), thinking and refusals (`PROSE`),
    the rejected answer and a plain text. Names, tool calls, tool definitions and values that a
    grader reads stay unchanged.
    """
    prose = () if recipe == FIRST else PROSE
    messages = example.messages
    for index, message in enumerate(example.messages):
        new = _with_text(message, change, prose)
        if new is not message:
            if messages is example.messages:
                messages = messages.copy()
            messages[index] = new
    rejected = example.rejected and _with_text(example.rejected, change, prose)
    text = example.text and change(example.text)
    if messages is example.messages and rejected is example.rejected and text == example.text:
        return example
    return example._replace(messages=messages, rejected=rejected, text=text)


def _with_text(message: Message, change: Callable[[str], str], prose: tuple[str, ...]) -> Message:
    content = message["content"]
    new: Json = content
    if isinstance(content, str):
        new = change(content)
    elif isinstance(content, list):
        new = [_with_part(part, change) for part in content]
    changed = message if new is content or new == content else {**message, "content": new}
    if len(message) > ROLE_AND_CONTENT:
        for key in prose:
            if isinstance(text := message.get(key), str) and (other := change(text)) != text:
                changed = {**changed, key: other}
    return changed


def _with_part(part: Json, change: Callable[[str], str]) -> Json:
    if isinstance(part, dict) and isinstance(text := part.get("text"), str):
        return {**part, "text": change(text)}
    return part
