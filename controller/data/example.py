"""An example, and its one canonical spelling. Pure.

The canonical line is `controller.canonical.canonical_json` of `{"messages": …, "tools": …}`, put
together from the spelling of each message so that the common message is spelt without a detour.
"""

from json.encoder import encode_basestring
from typing import NamedTuple, TypeAlias

from backends.base import Json
from controller.canonical import canonical_json

Message: TypeAlias = dict[str, Json]


class Example(NamedTuple):
    """One training conversation. A tuple, because millions are made."""

    messages: list[Message]
    """Of a preference pair: the conversation with the preferred answer."""
    tools: list[Json] | None = None
    rejected: Message | None = None
    """The answer of a preference pair that is not preferred."""
    graded: dict[str, Json] | None = None
    """For reinforcement: what a grader reads beside the answer."""

    @property
    def is_plain(self) -> bool:
        """Whether it is a conversation and nothing else."""
        return self.rejected is None and self.graded is None

    def as_json(self) -> dict[str, Json]:
        """Return the example as it stands in a canonical line, in the protocol's form."""
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


def spell_message(message: Message) -> str:
    """Return the canonical spelling of one message.

    Raises:
        ValueError: A number in it is not finite.
    """
    content, role = message["content"], message["role"]
    if len(message) == 2 and type(content) is str and type(role) is str:  # noqa: PLR2004
        return f'{{"content":{encode_basestring(content)},"role":{encode_basestring(role)}}}'
    return canonical_json(message).decode()


def spell_line(messages: list[str], tools: list[Json] | None) -> bytes:
    """Return the canonical line of an example, from its messages' spellings, with a line end.

    Raises:
        ValueError: A number in the tools is not finite.
    """
    line = f'{{"messages":[{",".join(messages)}]'
    if tools is not None:
        line += f',"tools":{canonical_json(tools).decode()}'
    return f"{line}}}\n".encode()
