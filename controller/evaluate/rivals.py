"""Prompts of rivals: a system prompt of their own, and training examples before each question."""

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from backends.contract.completions import Prompt
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.methods import form_of
from controller.canonical import digest

_MOST_COPIES: Final = 100
"""Most copies of an example among the training examples, which its source's `weight` makes."""
Turns = tuple[Mapping[str, Json], Mapping[str, Json]]
"""A question and its answer."""


def few_shot_turns(train: Path, count: int, train_digest: str) -> list[Turns]:
    """Return training examples to show before a prompt, the same ones in every run.

    Only one question with an answer in words is shown, since calls need the tools of their example.

    Args:
        train: The training examples, canonical JSONL.
        count: Number of examples.
        train_digest: Digest of the training examples, which seeds the choice.

    Raises:
        BackendError: There are fewer such examples.
    """
    # The smallest digests are a sample that does not depend on the order of the examples.
    keyed = ((digest([train_digest, turns]), turns) for turns in _single_turns(train))
    smallest = heapq.nsmallest(count * _MOST_COPIES, keyed, key=lambda one: one[0])
    chosen = list(dict(smallest).values())[:count]
    if len(chosen) < count:
        message = f"few_shot asks for {count} training examples of one question, of {len(chosen)}"
        raise BackendError(message, "Lower `few_shot`, or remove it.")
    return chosen


def with_prompt(prompt: Prompt, system: str | None, shots: Sequence[Turns]) -> Prompt:
    """Return a prompt with another system prompt, and with examples before its question."""
    first = prompt.messages[:1]
    own = [one for one in first if one.get("role") in {"system", "developer"}]
    head: list[Mapping[str, Json]] = [*own]
    if system is not None:
        head = [{"role": "system", "content": system}]
    turns = [message for pair in shots for message in pair]
    return replace(prompt, messages=[*head, *turns, *prompt.messages[len(own) :]])


def _single_turns(train: Path) -> Iterator[Turns]:
    with train.open("rb") as file:
        for line in file:
            example = json.loads(line)
            form = form_of(example)
            asked = [one for one in form.question(example) if one.get("role") != "system"]
            answer = form.reference(example) or {}
            if (
                len(asked) == 1
                and asked[0].get("role") == "user"
                and isinstance(answer.get("content"), str)
                and not answer.get("tool_calls")
            ):
                yield (
                    {"role": "user", "content": asked[0]["content"]},
                    {"role": "assistant", "content": answer["content"]},
                )
