"""Text of an answer, decoded while tokens arrive, split into its parts, up to a stop text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tokenizers import Tokenizer

from backends.local_gpu.templates.answers import Answer, AnswerReader

_TORN: Final = "\ufffd"
"""Replacement character, to which half a character decodes."""
_BYTE: Final = re.compile("<0x([0-9A-F]{2})>")
"""Token of a single byte, in tokenizers that have no token for each character."""
_BEGINNING: Final = 3
"""Most bytes of a character that is not complete."""


@dataclass(slots=True, kw_only=True)
class StreamingText:
    """The text of an answer, released piece by piece while its tokens arrive.

    A piece never ends within a character, nor within a possible stop text. Stop texts count only in
    the answer's text, not in its thinking or its calls.
    """

    tokenizer: Tokenizer
    control: frozenset[str]
    """Control tokens to drop, as the tokenizer writes them."""
    reader: AnswerReader
    """Splits the text into the parts of an answer."""
    stop: Sequence[str]
    stopped: bool = False
    """True after a stop text; neither it nor later text is released."""

    _ids: list[int] = field(default_factory=list, init=False)
    _window: int = field(default=0, init=False)
    """First token to decode again: a tokenizer may write a word's first token differently."""
    _told: int = field(default=0, init=False)
    """Number of tokens whose text was released to the reader, a whole number of characters."""
    _held: str = field(default="", init=False)

    def add(self, token: int) -> Answer:
        """Take a token and return the text that may be shown now."""
        written = self.tokenizer.id_to_token(token)
        # A model may have more tokens than its tokenizer: those that are not in it have no text.
        if written is None or written in self.control:
            return Answer()
        self._ids.append(token)
        told = len(self._ids)
        before, now = self._decode(self._window, self._told), self._decode(self._window, told)
        if now.endswith(_TORN):
            if self._is_begun():
                return Answer()
            # The text before the newest token may be complete, or impossible to complete.
            told -= 1
            earlier = self._decode(self._window, told)
            if earlier + self._decode(told, told + 1) != now:
                return Answer()
            now = earlier
        if len(now) <= len(before):
            return Answer()
        self._window, self._told = self._told, told
        return self._shown(self.reader.feed(now[len(before) :]), last=False)

    def end(self) -> Answer:
        """Return the rest, including incomplete characters."""
        before = self._decode(self._window, self._told)
        now = self._decode(self._window, len(self._ids))
        rest = joined(self.reader.feed(now[len(before) :]), self.reader.end())
        return self._shown(rest, last=True)

    def _is_begun(self) -> bool:
        """Return True if the newest tokens are bytes that begin a character.

        Such tokenizers write each byte of it as a character of its own until it is complete.
        """
        tail = b""
        for token in reversed(self._ids[-_BEGINNING:]):
            found = _BYTE.fullmatch(self.tokenizer.id_to_token(token) or "")
            if found is None:
                return False
            tail = bytes.fromhex(found[1]) + tail
            try:
                tail.decode()
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data":
                    return True
        return False

    def _decode(self, start: int, end: int) -> str:
        text: str = self.tokenizer.decode(self._ids[start:end], skip_special_tokens=False)
        return text

    def _shown(self, said: Answer, *, last: bool) -> Answer:
        if self.stopped:
            return Answer()
        text = self._release(said.text, last=last)
        return Answer(text=text, thinking=said.thinking, calls=() if self.stopped else said.calls)

    def _release(self, new: str, *, last: bool) -> str:
        text = self._held + new
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self.stop if stop]
        # Use the stop text that ends first, so that token boundaries do not matter.
        ends = [one for one in found if one[1] >= 0]
        if ends:
            self.stopped = True
            return text[: min(ends)[1]]
        begun = 0 if last else max((_begun(text, stop) for stop in self.stop), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]


def joined(first: Answer, rest: Answer) -> Answer:
    """Return two pieces of an answer as a single piece."""
    return Answer(
        text=first.text + rest.text,
        thinking=first.thinking + rest.thinking,
        calls=(*first.calls, *rest.calls),
    )


def _begun(text: str, stop: str) -> int:
    """Return the length of the longest end of the text that may begin a stop text."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
