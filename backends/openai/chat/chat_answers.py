"""Parsing of servers' chat answers into the contract's form. Pure.

A server that knows the model's template returns thinking and tool calls in fields of their own.
Other servers leave the thinking in the text, between `<think>` and `</think>`. This module splits
it off, so that an answer is scored and shown without its thinking.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from backends.contract.completions import Chunk, Completion
from backends.contract.inspector import Json
from backends.openai.api.protocol import Body, OutcomeUnknown, mapping_in, number, text_of

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"
_THINKING: Final = ("reasoning_content", "reasoning", "thinking")
"""Fields in which servers return a model's thinking."""


def first_choice(answer: Body) -> Mapping[str, Any] | None:
    """Return the first choice of an answer or of a streamed piece; None if it has no choices."""
    choices = answer.get("choices")
    return mapping_in(choices[0]) if isinstance(choices, list) and choices else None


def completion_of(answer: Body, stops: Sequence[str], *, splits: bool) -> Completion:
    """Return an answer in the contract's form.

    Args:
        answer: The server's answer.
        stops: Stop texts beyond the number that a request can hold; the answer ends there.
        splits: True to split thinking off the text.
    """
    choice = first_choice(answer) or {}
    message = mapping_in(choice, "message")
    text, thinking = _parts_of(message)
    if splits and not thinking:
        thinking, text = split_thinking(text)
    calls = _calls_of(message)
    reason = finish_reason(choice.get("finish_reason"))
    cuts = [at for stop in stops if (at := text.find(stop)) >= 0]
    if cuts:
        text, calls, reason = text[: min(cuts)], (), "stop"
    logprobs = () if cuts else _logprobs_of(choice)
    usage = mapping_in(answer, "usage")
    return Completion(
        text=text,
        finish_reason=reason,
        thinking=thinking,
        tool_calls=calls,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        logprobs=logprobs,
    )


def finish_reason(reason: object) -> str:
    """Return the contract's finish reason; a tool call ends the model's turn."""
    if not isinstance(reason, str) or reason in {"tool_calls", "function_call"}:
        return "stop"
    return reason


def split_thinking(text: str) -> tuple[str, str]:
    """Return the thinking at the start of a text, and the answer after it.

    If the template ends the prompt with `<think>`, the text has only the end mark.
    """
    if not text.lstrip().startswith(_OPEN):
        before, mark, after = text.partition(_CLOSE)
        return (before.strip(), after.lstrip()) if mark and _OPEN not in before else ("", text)
    thinking, answer = _certain_parts(text, is_end=True)
    return thinking.strip(), answer


class StreamReader:
    """Reads one streamed answer: its texts, its thinking, its tool calls, its end."""

    def __init__(self, *, splits: bool) -> None:
        self._reason = ""
        self._usage: Mapping[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._splitter = _Splitter() if splits else None

    def read(self, piece: Body) -> Iterator[Chunk]:
        """Yield the chunks that one piece adds to the answer."""
        self._usage = mapping_in(piece, "usage") or self._usage
        choice = first_choice(piece) or {}
        self._reason = text_of(choice.get("finish_reason")) or self._reason
        delta = mapping_in(choice, "delta")
        text, thinking = _parts_of(delta)
        if self._splitter is not None:
            found, text = self._splitter.feed(text)
            thinking += found
        if text or thinking:
            yield Chunk(text=text, thinking=thinking)
        self._add_calls(delta)

    def end(self) -> Iterator[Chunk]:
        """Yield the text that was held back, and the last chunk.

        Raises:
            OutcomeUnknown: The answer broke off: no piece had a finish reason.
        """
        if not self._reason:
            raise OutcomeUnknown("the answer broke off before its end")
        if self._splitter and (rest := self._splitter.feed("", is_end=True)) != ("", ""):
            yield Chunk(text=rest[1], thinking=rest[0])
        yield Chunk(
            text="",
            tool_calls=tuple(self._calls[index] for index in sorted(self._calls)),
            finish_reason=finish_reason(self._reason),
            prompt_tokens=_count(self._usage, "prompt_tokens"),
            completion_tokens=_count(self._usage, "completion_tokens"),
        )

    def _add_calls(self, delta: Mapping[str, Any]) -> None:
        """Add pieces of tool calls to the calls that they belong to."""
        pieces = delta.get("tool_calls")
        for place, piece in enumerate(pieces if isinstance(pieces, list) else ()):
            given = mapping_in(piece)
            index = given.get("index")
            call = self._calls.setdefault(
                index if isinstance(index, int) else place,
                {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
            )
            function = mapping_in(given, "function")
            call["id"] = call["id"] or text_of(given.get("id"))
            call["function"]["name"] += text_of(function.get("name"))
            call["function"]["arguments"] += _arguments(function.get("arguments"))
        function = mapping_in(delta, "function_call")
        if function:
            self._add_calls({"tool_calls": [{"index": 0, "function": function}]})


class _Splitter:
    """Splits thinking off a streamed text."""

    def __init__(self) -> None:
        self._text = ""
        self._returned = (0, 0)

    def feed(self, text: str, *, is_end: bool = False) -> tuple[str, str]:
        """Return the thinking and the answer that a piece makes certain; hold the rest back."""
        self._text += text
        thinking, answer = _certain_parts(self._text, is_end=is_end)
        new = thinking[self._returned[0] :], answer[self._returned[1] :]
        self._returned = (len(thinking), len(answer))
        return new


def _certain_parts(text: str, *, is_end: bool) -> tuple[str, str]:
    """Return the thinking and the answer in the text so far, without what may begin a mark."""
    start = text.lstrip()
    if not start.startswith(_OPEN):
        return "", "" if _OPEN.startswith(start) and not is_end else text
    thinking, mark, after = start[len(_OPEN) :].partition(_CLOSE)
    if not mark and not is_end:
        thinking = thinking[: len(thinking) - _overlap(thinking, _CLOSE)]
    return thinking, after.lstrip()


def _overlap(text: str, mark: str) -> int:
    """Return the number of characters at the end of a text that may begin a mark."""
    return next((n for n in range(len(mark) - 1, 0, -1) if text.endswith(mark[:n])), 0)


def _count(usage: Mapping[str, Any], key: str) -> int:
    """Return a number of tokens; 0 where the server reports none."""
    return max(0, int(number(usage.get(key)) or 0))


def _parts_of(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text and the thinking of a message; a refusal counts as its text."""
    content = message.get("content")
    text = thinking = ""
    if isinstance(content, str):
        text = content
    elif isinstance(content, list):
        # Content in parts: some servers put the thinking into a part of its own.
        for part in map(mapping_in, content):
            text += text_of(part.get("text")) + text_of(part.get("refusal"))
            inner = part.get("thinking")
            thinking += text_of(inner)
            if isinstance(inner, list):
                thinking += "".join(text_of(mapping_in(part).get("text")) for part in inner)
    text = text or text_of(message.get("refusal"))
    said = next((found for key in _THINKING if (found := text_of(message.get(key)))), "")
    return text, thinking or said


def _logprobs_of(choice: Mapping[str, Any]) -> tuple[Mapping[str, Json], ...]:
    """Return the log-probabilities of an answer's tokens; see `Completion.logprobs`."""
    content = mapping_in(choice, "logprobs").get("content")
    found: list[Mapping[str, Json]] = []
    for token in map(mapping_in, content if isinstance(content, list) else ()):
        text, logprob, *rest = _token(token)
        top = token.get("top_logprobs")
        others = map(mapping_in, top if isinstance(top, list) else ())
        entry: dict[str, Json] = {"token": text, "logprob": logprob}
        if rest:
            entry["bytes"] = rest[0]
        found.append({**entry, "top": [_token(other) for other in others]})
    return tuple(found)


def _token(given: Mapping[str, Any]) -> list[Json]:
    """Return a token and its log-probability; and its bytes, if its text does not have them."""
    text, logprob = text_of(given.get("token")), number(given.get("logprob"))
    parts: list[Json] = [text, None if logprob is None else round(logprob, 4)]
    raw = given.get("bytes")
    if isinstance(raw, list) and raw != list(text.encode(errors="replace")):
        parts.append(raw)
    return parts


def _calls_of(message: Mapping[str, Any]) -> tuple[Mapping[str, Json], ...]:
    calls = message.get("tool_calls")
    found = [_call(mapping_in(call)) for call in calls] if isinstance(calls, list) else []
    function = mapping_in(message, "function_call")
    if not found and function:
        found = [_call({"function": function})]
    return tuple(found)


def _call(given: Mapping[str, Any]) -> Mapping[str, Json]:
    if "function" not in given:
        # Keep a call of an unknown kind as the server wrote it.
        return dict(given)
    function = mapping_in(given, "function")
    return {
        "id": text_of(given.get("id")),
        "type": "function",
        "function": {
            "name": text_of(function.get("name")),
            "arguments": _arguments(function.get("arguments")),
        },
    }


def _arguments(value: object) -> str:
    """Return arguments in the protocol's form: JSON in a text."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
