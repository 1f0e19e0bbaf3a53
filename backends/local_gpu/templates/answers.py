"""Split a model's answer into thinking, text and tool calls. Pure.

Only this module knows how model families write these parts. `Chat.reader(conversation)` of
`tokens` makes an `AnswerReader`. Feed it decoded text as it arrives; it returns what may be shown:

    reader = chat.reader(conversation, thinking=False)
    for piece in pieces:
        part = reader.feed(piece)        # part.thinking, part.text, part.calls
    part = reader.end()

`Chat.parse(ids, conversation)` does the same for a whole answer. Both give the same result, since
a whole answer is read by feeding it once. Undecided text is held back: the beginning of a mark, an
open call, blanks before either. Text that turns out not to be a call is shown: nothing is lost.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from backends.local_gpu.templates.call_forms import (
    CHANNEL_MARKS,
    Called,
    Form,
    Malformed,
    Types,
    Unfinished,
)

_MESSAGE, _START, *_ENDED = CHANNEL_MARKS
_ENDS: Final = (*_ENDED, _START)
_TO_FUNCTION: Final = "to=functions."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or the part that one piece of text adds to it."""

    text: str = ""
    """Text of the answer, without thinking and tool calls."""
    thinking: str = ""
    """Thinking before the answer; empty where the model family has no place for it."""
    calls: Sequence[Mapping[str, Any]] = ()
    """Tool calls in the protocol's form; a piece contains only complete calls."""


def call_of(name: str, arguments: Mapping[str, Any], place: int) -> dict[str, Any]:
    """Return a call in the protocol's form, with an ID derived from place, name and arguments.

    The ID has nine letters and digits: some templates refuse any other.
    """
    text = json.dumps(arguments, ensure_ascii=False)
    number = hashlib.sha256(json.dumps([place, name, text]).encode()).hexdigest()[:9]
    return {"id": number, "type": "function", "function": {"name": name, "arguments": text}}


@dataclass(slots=True, kw_only=True)
class _Out:
    """Parts of the answer that one call of `feed` or `end` returns."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def answer(self) -> Answer:
        return Answer(
            text="".join(self.text), thinking="".join(self.thinking), calls=tuple(self.calls)
        )


@dataclass(slots=True, kw_only=True)
class AnswerReader:
    """Splits an answer into its parts while it arrives."""

    form: Form
    types: Types
    """JSON types of the arguments of the offered tools."""
    offered: bool
    """True if tools are offered."""
    opening: str
    """Part of the prompt that opens the answer's turn; it may end inside a block of thinking."""

    _buffer: str = field(default="", init=False)
    _at: int = field(default=0, init=False)
    """Offset in the buffer before which everything is processed."""
    _state: str = field(default="text", init=False)
    """text, thinking, call, bare; with channels also header, between and body."""
    _blanks: str = field(default="", init=False)
    """Blanks that are shown only if text follows."""
    _fresh: bool = field(default=False, init=False)
    """True if nothing but blanks followed the last mark, so that blanks are dropped."""
    _said: bool = field(default=False, init=False)
    _broken: bool = field(default=False, init=False)
    """True if a mark came after text, so that further text starts on a new line."""
    _header: str = field(default="", init=False)
    _count: int = field(default=0, init=False)
    _sought: int = field(default=0, init=False)
    """Offset in the buffer where the next search for the end of a call starts."""
    _blank_left: str = field(default="", init=False)
    """Blanks that the template puts before an answer and that are not yet removed."""
    _sure: int = field(default=0, init=False)
    """Offset in the buffer before which everything is known to be text."""

    def __post_init__(self) -> None:
        if self.form.channels:
            self._state = "body" if self.opening.endswith(_MESSAGE) else "header"
            self._header = self.opening.rpartition(_START)[2].removesuffix(_MESSAGE)
        elif self.form.thinking is not None:
            opens, closes = self.form.thinking
            if self.opening.rfind(opens) > self.opening.rfind(closes):
                self._state, self._fresh = "thinking", True
            else:
                self._fresh = closes in self.opening
        if self._state == "text" and not self._fresh:
            self._blank_left = self.form.blank

    def feed(self, piece: str) -> Answer:
        """Take a piece of decoded text and return what it adds."""
        self._buffer += piece
        out = _Out()
        self._run(out, last=False)
        return out.answer()

    def end(self) -> Answer:
        """Finish the answer and return the text that was held back."""
        out = _Out()
        self._run(out, last=True)
        return out.answer()

    def _run(self, out: _Out, *, last: bool) -> None:
        steps = {
            "text": self._in_text,
            "bare": self._in_bare,
            "thinking": self._in_thinking,
            "call": self._in_call,
            "header": self._in_header,
            "body": self._in_body,
            "between": self._in_between,
        }
        while steps[self._state](out, last=last):
            pass
        # Only now: cutting the head off for every mark would take quadratic time.
        self._buffer, self._sure, self._sought, self._at = (
            self._buffer[self._at :],
            max(0, self._sure - self._at),
            max(0, self._sought - self._at),
            0,
        )

    def _in_text(self, out: _Out, *, last: bool) -> bool:
        """Show text up to the next mark."""
        form = self.form
        if self._blank_left and self._at < len(self._buffer):
            if not last and self._blank_left.startswith(self._buffer[self._at :]):
                return False
            if self._buffer.startswith(self._blank_left, self._at):
                self._at += len(self._blank_left)
            self._blank_left = ""
        if self._may_be_bare():
            self._state = "bare"
            return True
        thinks = form.thinking[0] if form.thinking is not None else ""
        calls = form.call.opens if form.call is not None else ""
        marks = [mark for mark in (thinks, calls, *form.wraps) if mark]
        place, mark = _first(self._buffer, marks, max(self._at, self._sure))
        if not mark:
            kept = 0 if last else _begun(self._buffer, self._at, marks)
            self._say(out, self._take(place - kept), last=last)
            return False
        self._say(out, self._take(place), last=False)
        self._mark_met()
        if mark == calls:
            self._state = "call"
            return True
        self._at += len(mark)
        if mark == thinks:
            self._state = "thinking"
        return True

    def _may_be_bare(self) -> bool:
        form = self.form.call
        unsaid = not (self._said or self._sure > self._at)
        if form is None or form.opens or not self.offered or not unsaid:
            return False
        return self._buffer[self._at :].lstrip().startswith("{")

    def _in_bare(self, out: _Out, *, last: bool) -> bool:
        """Wait for the end of an answer that may consist of a single call."""
        if not last or self._at == len(self._buffer):
            return False
        if self._calls(out, self._buffer[self._at :]):
            self._at = len(self._buffer)
            return False
        return self._no_call(len(self._buffer))

    def _in_thinking(self, out: _Out, *, last: bool) -> bool:
        closes = self.form.thinking[1] if self.form.thinking is not None else ""
        place, mark = _first(self._buffer, [closes], self._at)
        kept = 0 if mark or last else _begun(self._buffer, self._at, [closes])
        self._think(out, self._take(place - kept))
        if not mark:
            return False
        self._at += len(closes)
        self._state, self._fresh, self._blanks = "text", True, ""
        return True

    def _in_call(self, out: _Out, *, last: bool) -> bool:
        """Wait for the end of a call; show it as text if it turns out not to be a call."""
        form = self.form.call
        if form is None:
            return self._no_call(self._at)
        start = self._at + len(form.opens)
        while (place := self._next_close(form.closes, start)) >= 0:
            try:
                calls = form.read(self._buffer[start:place], self.types)
            except Unfinished:
                self._sought = place + 1
                continue
            except Malformed:
                return self._no_call(place + len(form.closes))
            self._called(out, calls)
            self._at = place + len(form.closes)
            self._state = "text"
            return True
        if not last:
            return False
        # Ended without its closing mark, as by a token that ends the turn.
        alone = self._buffer.find(form.opens, start) < 0 or not form.closes
        if alone and form.ends_itself and self._calls(out, self._buffer[start:]):
            self._at, self._state = len(self._buffer), "text"
            return False
        return self._no_call(start)

    def _next_close(self, closes: str, start: int) -> int:
        """Find the closing mark, searching only new text: a call may come in many pieces."""
        if not closes:
            return -1
        place = self._buffer.find(closes, max(start, self._sought))
        if place < 0:
            self._sought = max(self._sought, len(self._buffer) - len(closes) + 1)
        return place

    def _no_call(self, end: int) -> bool:
        self._sure = end
        self._state = "text"
        return True

    def _in_header(self, out: _Out, *, last: bool) -> bool:
        place = self._buffer.find(_MESSAGE, self._at)
        if place >= 0:
            self._header += self._take(place)
            self._at += len(_MESSAGE)
            self._state, self._fresh = "body", False
            return True
        if last and self._buffer[self._at :].strip():
            # The body never began: show the header as text.
            out.text.append(self._take(len(self._buffer)))
        return False

    def _in_body(self, out: _Out, *, last: bool) -> bool:
        place, mark = _first(self._buffer, _ENDS, self._at)
        kept = 0 if mark or last else _begun(self._buffer, self._at, _ENDS)
        called = self._header.partition(_TO_FUNCTION)[2]
        if called:
            if not mark and not last:
                return False
            body = self._take(place)
            name = called.partition("<")[0].split()[:1]
            if not self._channel_call(out, name, body):
                self._say(out, body, last=True)
        elif "analysis" in self._header.partition("<|channel|>")[2].split()[:1]:
            self._think(out, self._take(place - kept))
        else:
            self._say(out, self._take(place - kept), last=last and not mark)
        if not mark:
            return False
        self._mark_met()
        if mark != _START:
            self._at += len(mark)
        self._state = "between"
        return True

    def _in_between(self, out: _Out, *, last: bool) -> bool:
        """Between two messages: read the next header, or text without a header."""
        rest = self._buffer[self._at :].lstrip()
        place = len(self._buffer) - len(rest)
        if self._buffer.startswith(_START, place):
            self._at = place + len(_START)
            self._header, self._state, self._blanks = "", "header", ""
            return True
        if not rest or (_START.startswith(rest) and not last):
            return False
        self._say(out, self._take(len(self._buffer)), last=last)
        return False

    def _channel_call(self, out: _Out, name: Sequence[str], body: str) -> bool:
        try:
            arguments = json.loads(body)
        except (ValueError, RecursionError):
            return False
        if not name or not isinstance(arguments, dict):
            return False
        self._called(out, [(name[0], arguments)])
        return True

    def _calls(self, out: _Out, body: str) -> bool:
        try:
            calls = self.form.call.read(body, self.types) if self.form.call is not None else []
        except Malformed:
            return False
        self._called(out, calls)
        return bool(calls)

    def _called(self, out: _Out, calls: Sequence[Called]) -> None:
        for name, arguments in calls:
            out.calls.append(call_of(name, arguments, self._count))
            self._count += 1

    def _take(self, end: int) -> str:
        taken = self._buffer[self._at : end]
        self._at = max(self._at, end)
        return taken

    def _mark_met(self) -> None:
        self._broken, self._blanks, self._fresh = self._said, "", True

    def _think(self, out: _Out, text: str) -> None:
        """Show thinking, without the blanks around it."""
        text = self._blanks + text
        if self._fresh:
            text = text.lstrip()
        shown = text.rstrip()
        self._blanks = text[len(shown) :]
        if shown:
            out.thinking.append(shown)
            self._fresh = False

    def _say(self, out: _Out, text: str, *, last: bool) -> None:
        """Show text, without the blanks between it and a mark."""
        text = self._blanks + text
        self._blanks = ""
        if self._fresh:
            text = text.lstrip()
        # Where no mark can follow, show blanks without waiting for more text.
        last = last or not (self.form.marks or self.form.call)
        shown = text if last else text.rstrip()
        if not shown:
            self._blanks = text
            return
        if self._broken:
            shown = "\n" + shown
        self._blanks = text[len(text.rstrip()) :] if not last else ""
        out.text.append(shown)
        self._said, self._fresh, self._broken = True, False, False


def read_answer(reader: AnswerReader, text: str) -> Answer:
    """Read a whole answer with a fresh reader."""
    first, rest = reader.feed(text), reader.end()
    return Answer(
        text=first.text + rest.text,
        thinking=first.thinking + rest.thinking,
        calls=(*first.calls, *rest.calls),
    )


def _first(text: str, marks: Sequence[str], start: int) -> tuple[int, str]:
    """Return the position of the first mark, and the mark; an empty mark if no mark occurs."""
    found = _any_of(tuple(marks)).search(text, start) if marks else None
    return (found.start(), found[0]) if found else (len(text), "")


@cache
def _any_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))))


def _begun(text: str, start: int, marks: Sequence[str]) -> int:
    """Return the length of the longest end of the text, from `start` on, that may begin a mark."""
    longest = max(map(len, marks), default=1) - 1
    tail = text[max(start, len(text) - longest) :]
    return next(
        (
            len(tail) - place
            for place in range(len(tail))
            if any(mark.startswith(tail[place:]) for mark in marks)
        ),
        0,
    )
