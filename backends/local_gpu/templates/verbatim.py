"""Prompts in which control tokens in people's text are read as plain letters.

After rendering, a template's own control tokens and the same words in a message look alike. So
these words are first written as numbers, in which template and tokenizer see no control token.
After rendering they become words again, and the text around them is encoded as plain text.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Final, cast

from tokenizers import Tokenizer

from backends.local_gpu.templates.messages import Conversation, plain_conversation

_OPEN: Final = "\ufdd2"
_CLOSE: Final = "\ufdd3"
"""Marks around a letter's number: noncharacters, like a template's marks."""
_LETTERS: Final = 8
"""Upper estimate of the letters per token."""
_ENDS: Final = 16
"""Tokens that a text may have in addition where it is cut."""
_HIDDEN: Final = re.compile(f"{_OPEN}([0-9a-f]+){_CLOSE}", re.IGNORECASE)
_FOREIGN: Final = re.compile("[\ufdd0-\ufdd3]")
"""Marks of this module and of templates, which other texts must not contain."""


def prompt_ids(
    tokenizer: Tokenizer,
    special: Collection[str],
    conversation: Conversation,
    render: Callable[[Conversation], str],
) -> list[int]:
    """Return the ids of a prompt in which only the template's control tokens count.

    Args:
        tokenizer: Tokenizer of the model.
        special: Texts that the tokenizer reads as control tokens.
        conversation: Messages and tools of people.
        render: Function that renders a conversation with the chat template.
    """
    plain = plain_conversation(conversation)
    control = {tokenizer.token_to_id(token) for token in special}
    texts = [text for part in ("messages", "tools") for text in _texts(plain.get(part))]
    if not _any_forged(tokenizer, control, texts):
        ids: list[int] = tokenizer.encode(render(plain), add_special_tokens=False).ids
        return ids
    hidden = _mapped(plain, lambda text: _hidden(tokenizer, control, text))
    return list(_encoded(tokenizer, control, render(cast("Conversation", hidden))))


def least_ids(
    tokenizer: Tokenizer,
    conversation: Conversation,
    render: Callable[[Conversation], str],
    most: int,
) -> int:
    """Return a lower bound for a prompt's number of ids, without reading more than needed.

    Args:
        tokenizer: Tokenizer of the model.
        conversation: Messages and tools of people.
        render: Function that renders a conversation with the chat template.
        most: Number of ids after which counting stops.
    """
    plain = plain_conversation(conversation)
    step = _LETTERS * most
    if sum(len(text) for part in ("messages", "tools") for text in _texts(plain.get(part))) <= step:
        return 0
    text, found = render(plain), 0
    for start in range(0, len(text), step):
        # At its ends, a stretch may have more tokens than the same part of the whole text.
        stretch = text[start : start + step]
        found += max(0, len(tokenizer.encode(stretch, add_special_tokens=False)) - _ENDS)
        if found > most:
            break
    return found


def _any_forged(tokenizer: Tokenizer, control: AbstractSet[int | None], texts: list[str]) -> bool:
    if any(_FOREIGN.search(text) for text in texts):
        return True
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return any(not control.isdisjoint(encoding.ids) for encoding in encodings)


def _texts(value: object) -> Iterator[str]:
    """Yield every text within a value, including keys of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _mapped(value: object, change: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(inner, change) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(inner, change) for inner in value]
    return value


def _hidden(tokenizer: Tokenizer, control: AbstractSet[int | None], text: str) -> str:
    """Write letters as numbers where they would be read as a control token, or as a mark."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    places = {found.start() for found in _FOREIGN.finditer(text)}
    for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if number in control:
            places.update(range(start, end))
    return "".join(
        f"{_OPEN}{ord(letter):x}{_CLOSE}" if place in places else letter
        for place, letter in enumerate(text)
    )


def _encoded(
    tokenizer: Tokenizer, control: AbstractSet[int | None], rendered: str
) -> Iterator[int]:
    """Yield the ids of a text in which control tokens of people are written as numbers."""
    encoding = tokenizer.encode(rendered, add_special_tokens=False)
    between: list[int] = []
    begun = 0
    ends = zip(encoding.ids, encoding.offsets, strict=True)
    for number, (start, end) in [*ends, (None, (len(rendered), len(rendered)))]:
        if number is not None and number not in control:
            between.append(number)
            continue
        stretch = rendered[begun:start]
        if _OPEN in stretch:
            text = _HIDDEN.sub(lambda found: chr(int(found[1], 16)), stretch)
            between = _literal(tokenizer).encode(text, add_special_tokens=False).ids
        yield from between
        if number is not None:
            yield number
        between, begun = [], end


@lru_cache(maxsize=4)
def _literal(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy of the tokenizer that reads control tokens as plain text."""
    # A copy, because training data needs the original's control tokens at the same time.
    literal = Tokenizer.from_str(tokenizer.to_str())
    literal.encode_special_tokens = True
    return literal
