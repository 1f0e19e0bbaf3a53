"""Questions whose answers are compared: of the held-out set, or else plain ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backends.contract.errors import BackendError
from backends.local_gpu.json_files import read_lines
from backends.local_gpu.templates.messages import Conversation, plain_conversation
from backends.local_gpu.tokens.chat_tokens import Chat, open_tokenizer

COUNT: Final = 3
MOST_TOKENS: Final = 32
"""Longest answer, in tokens."""
_PLAIN: Final = ("Hello!", "What can you do for me?", "안녕하세요, 무엇을 도와줄 수 있나요?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question in the forms that programs take it."""

    ids: Sequence[int]
    conversation: Conversation | None = None
    """None for the beginning of a plain text."""
    text: str
    """The prompt as text."""


def probes_of(
    held_out: Path, chat: Chat | None, base: Path, longest: int | None
) -> tuple[list[Probe], str]:
    """Return the questions, and their origin for people.

    Args:
        held_out: File of the held-out set; may be empty.
        chat: Chat of the model; None for a model of plain texts.
        base: Folder of the base model.
        longest: Longest text that the model reads, in tokens, if it has a limit.
    """
    room = (longest or 4096) - MOST_TOKENS
    found = []
    for probe in _held_out(held_out, chat, base):
        if 0 < len(probe.ids) <= room:
            found.append(probe)
        if len(found) == COUNT:
            return found, "held-out questions"
    plain = [probe for probe in _plain(chat, base) if 0 < len(probe.ids) <= room]
    origin = "held-out and plain questions" if found else "plain questions"
    return [*found, *plain][:COUNT], origin


def _held_out(path: Path, chat: Chat | None, base: Path) -> Iterator[Probe]:
    if chat is None:
        for example in read_lines(path):
            text = str(example.get("text", ""))
            yield _text(text[: len(text) // 2], base)
        return
    for example in read_lines(path):
        # Pairs of answers have their question in `input`.
        messages = (example.get("input") or example).get("messages") or []
        while messages and messages[-1].get("role") == "assistant":
            messages = messages[:-1]
        yield from _conversation(chat, {"messages": messages, "tools": example.get("tools") or []})


def _plain(chat: Chat | None, base: Path) -> Iterator[Probe]:
    for text in _PLAIN:
        if chat is None:
            yield _text(text, base)
        else:
            yield from _conversation(
                chat, {"messages": [{"role": "user", "content": text}], "tools": []}
            )


def _conversation(chat: Chat, conversation: Mapping[str, Any]) -> Iterator[Probe]:
    if not conversation["messages"]:
        return
    try:
        plain = plain_conversation(conversation)
        ids, text = chat.prompt(plain), chat.template.prompt(plain)
    except BackendError:
        # The template refuses it: another question will do.
        return
    # Other programs take a control token in a message for one of the template.
    if ids == chat.tokenizer.encode(text, add_special_tokens=False).ids:
        yield Probe(ids=ids, text=text, conversation=plain)


def _text(text: str, base: Path) -> Probe:
    return Probe(ids=open_tokenizer(base).encode(text).ids, text=text)
