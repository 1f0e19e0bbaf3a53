"""The common case in one loop: a conversation of plain messages that needs no change. Pure.

What `prepare.normalise`, `prepare.check` and `example.spell` do one after the other for every
example, done at once where all of them have nothing to do; most of a large dataset is like that,
and goes through here several times as fast. A test holds both ways against each other.
"""

from collections.abc import Mapping
from unicodedata import is_normalized

from pydantic_core import to_json

from backends.base import Json
from controller.data.example import Spelt


def spell_plain(row: Mapping[str, Json]) -> Spelt | None:
    """Return what `spell` does, for an example that is plain, normal and can be learnt from.

    None where any of that is in doubt: then the long way says what is the matter.
    """
    messages = row.get("messages")
    if len(row) != 1 or type(messages) is not list:
        return None
    said: list[dict[str, str]] = []
    system, role = "", None
    for message in messages:
        if type(message) is not dict or len(message) != 2:  # noqa: PLR2004 - role and content
            return None
        role, content = message.get("role"), message.get("content")
        if type(content) is not str or not content or content.isspace() or "\r" in content:
            return None
        if not content.isascii() and not is_normalized("NFC", content):
            return None
        if role == "system" and not said and not system:
            system = content
        elif role == "user" or (role == "assistant" and said):
            said.append({"content": content, "role": role})
        else:
            return None
    if role != "assistant":
        return None
    answer = said.pop()
    try:
        question, last = _spell(said), _spell([answer])
        first = _spell([{"content": system, "role": "system"}]) + b"," if system else b""
    except ValueError:
        # Half of a surrogate pair.
        return None
    return Spelt(b'{"messages":[%b%b,%b]}\n' % (first, question, last), question)


def _spell(messages: list[dict[str, str]]) -> bytes:
    # The keys are in order already, and both encoders escape the same characters the same way.
    return to_json(messages)[1:-1]
