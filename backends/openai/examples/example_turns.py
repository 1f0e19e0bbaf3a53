"""An example of any method as turns of text, for people to look at. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

OUTPUTS: Final = ("preferred_output", "non_preferred_output")
OFFERED: Final = ("tools", "functions")
"""Keys that list the tools or functions that a model may call."""
_OUTPUT_NAMES: Final = ("assistant (preferred)", "assistant (not preferred)")


def turns(example: Mapping[str, Any]) -> Iterator[tuple[str, list[str], bool]]:
    """Yield the speaker, the texts, and True if training learns from them.

    Learnt from are answers without `weight: 0`; of a preference pair both, and nothing before
    them; of a prompt for reinforcement nothing, since the answer is sampled.
    """
    source = example.get("input", example)
    for key in (*OFFERED, "parallel_tool_calls"):
        if source.get(key) not in (None, []):
            yield key, [compact(source[key])], False
    messages = source["messages"]
    supervised = source is example and messages[-1]["role"] == "assistant"
    for message in messages:
        role, weight = message["role"], message.get("weight", 1)
        of = message.get("name") or message.get("tool_call_id")
        heading = f"{role} {of}" if of else role
        yield heading, list(_texts(message)), supervised and role == "assistant" and weight != 0
    for name, key in zip(_OUTPUT_NAMES, OUTPUTS, strict=True):
        for message in example.get(key, ()):
            yield name, list(_texts(message)), True


def part_text(part: Mapping[str, Any]) -> str:
    """Return one part of a message's content as text."""
    kind = str(part.get("type"))
    text = part.get(kind)
    return text if isinstance(text, str) else f"[{kind}]"


def compact(value: object) -> str:
    """Return JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from map(part_text, content)
    for key, value in message.items():
        if key not in {"role", "content", "name", "tool_call_id", "weight"} and value is not None:
            yield value if isinstance(value, str) else compact(value)
