"""Truncate an example that is too long at its end, as trainers do. Pure.

The rest always ends with an answer: whole turns are removed first; if only one answer is left, its
text is truncated. Otherwise the model would learn answers to questions it never saw.
"""

from collections.abc import Callable
from dataclasses import dataclass

from controller.data.examples.example import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A truncated example."""

    example: Example
    tokens: int
    reason: str
    """`2 turns left off`, `the answer cut from 900 to 412 characters`."""


def truncate(example: Example, most: int, count: Callable[[Example], int]) -> Cut | None:
    """Return an example's longest beginning that fits.

    Returns:
        None if the question alone is too long, and for a preference pair, whose answers would be
        cut in different places.
    """
    if example.text is not None:
        return _cut_text(example.text, most, count)
    if example.rejected is not None or example.graded is not None:
        return None
    if example.label is not None:
        # The answer that is marked is the last: earlier turns are its question.
        return _cut_answer(example, most, count)
    ends = [
        index + 1
        for index, message in enumerate(example.messages)
        if message["role"] == "assistant" and message.get("weight") != 0
    ]
    for end in reversed(ends[:-1]):
        shorter = example._replace(messages=example.messages[:end])
        if (tokens := count(shorter)) <= most:
            left = len(example.messages) - end
            return Cut(example=shorter, tokens=tokens, reason=f"{left} turns left off")
    return _cut_answer(example._replace(messages=example.messages[: ends[0]]), most, count)


def _cut_answer(example: Example, most: int, count: Callable[[Example], int]) -> Cut | None:
    *before, answer = example.messages
    text = answer["content"]
    if not isinstance(text, str) or "tool_calls" in answer:
        return None

    def cut_to(length: int) -> Example:
        content = text[:length].rstrip()
        return example._replace(messages=[*before, {**answer, "content": content}])

    return _longest(cut_to, "the answer", len(text), most, count)


def _cut_text(text: str, most: int, count: Callable[[Example], int]) -> Cut | None:
    return _longest(
        lambda length: Example([], text=text[:length].rstrip()), "the text", len(text), most, count
    )


def _longest(
    cut_to: Callable[[int], Example],
    what: str,
    length: int,
    most: int,
    count: Callable[[Example], int],
) -> Cut | None:
    fits, too_long = 0, length
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if count(cut_to(middle)) <= most:
            fits = middle
        else:
            too_long = middle
    if not fits:
        return None
    example = cut_to(fits)
    left = example.text or (example.messages[-1]["content"] if example.messages else None)
    if not isinstance(left, str) or not left:
        return None
    reason = f"{what} cut from {length:,} to {len(left):,} characters"
    return Cut(example=example, tokens=count(example), reason=reason)
