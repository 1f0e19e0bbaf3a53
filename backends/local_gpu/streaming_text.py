"""The text of an answer while its tokens come: whole characters, taken apart, up to a stop text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tokenizers import Tokenizer

from backends.local_gpu.answers import Answer, AnswerReader

_TORN: Final = "\ufffd"
"""What half a character decodes to."""


@dataclass(slots=True, kw_only=True)
class StreamingText:
    """What one answer says, given out piece by piece while its tokens come.

    A piece never ends within a character, nor within what may become a stop text. Stop texts are
    looked for in what the model says, not in its thinking or its calls.
    """

    tokenizer: Tokenizer
    control: frozenset[str]
    """Tokens that say nothing, as the tokenizer writes them."""
    reader: AnswerReader
    """Takes the text apart."""
    stop: Sequence[str]
    stopped: bool = False
    """Whether a stop text was met; it and what follows is never given out."""

    _ids: list[int] = field(default_factory=list, init=False)
    _window: int = field(default=0, init=False)
    """First token that is decoded again: a tokenizer may write a word's first token otherwise."""
    _told: int = field(default=0, init=False)
    """Tokens whose text was handed to `_release`; always ends between two characters."""
    _held: str = field(default="", init=False)

    def add(self, token: int) -> Answer:
        """Take a token and return what may be shown now."""
        if self.tokenizer.id_to_token(token) in self.control:
            return Answer()
        self._ids.append(token)
        told = len(self._ids)
        before, now = self._decode(self._window, self._told), self._decode(self._window, told)
        if now.endswith(_TORN):
            # What stands before the newest token may still be whole, or beyond repair.
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
        """Return the rest, characters that were never completed included."""
        before = self._decode(self._window, self._told)
        now = self._decode(self._window, len(self._ids))
        rest = joined(self.reader.feed(now[len(before) :]), self.reader.end())
        return self._shown(rest, last=True)

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
        # The one that is complete first: then it does not matter how tokens cut the text.
        ends = [one for one in found if one[1] >= 0]
        if ends:
            self.stopped = True
            return text[: min(ends)[1]]
        begun = 0 if last else max((_begun(text, stop) for stop in self.stop), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]


def joined(first: Answer, rest: Answer) -> Answer:
    """Return two pieces of an answer as one."""
    return Answer(
        text=first.text + rest.text,
        thinking=first.thinking + rest.thinking,
        calls=(*first.calls, *rest.calls),
    )


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a stop."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
