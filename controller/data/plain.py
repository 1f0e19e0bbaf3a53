"""The common case in one loop: a conversation of plain messages that needs no change. Pure.

What `prepare.normalise`, `prepare.check` and `example.spell` do one after the other for every
example, done at once where all of them have nothing to do; most of a large dataset is like that,
and goes through here three times as fast. A test holds both ways against each other.
"""

from json.encoder import encode_basestring
from unicodedata import is_normalized

from controller.data.example import Example

_ASKING = frozenset({"user", "system", "developer"})


def spell_plain(example: Example) -> tuple[bytes, list[str]] | None:
    """Return what `spell` does, for an example that is plain, normal and can be learnt from.

    None where any of that is in doubt: then the long way says what is the matter.
    """
    if example.tools is not None or not example.is_plain:
        return None
    spelt: list[str] = []
    asked, role = False, None
    for message in example.messages:
        role, content = message.get("role"), message["content"]
        if len(message) != 2 or type(content) is not str:  # noqa: PLR2004 - role and content
            return None
        if role in _ASKING:
            asked = True
        elif role != "assistant" or not asked:
            return None
        if not content.isascii() and not is_normalized("NFC", content):
            return None
        if not content or content.isspace() or "\r" in content:
            return None
        spelt.append(f'{{"content":{encode_basestring(content)},"role":"{role}"}}')
    if role != "assistant":
        return None
    try:
        return f'{{"messages":[{",".join(spelt)}]}}\n'.encode(), spelt
    except UnicodeEncodeError:
        return None
