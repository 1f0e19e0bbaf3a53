"""Positions of the assistant's answers in a rendered conversation, and the prompts for them.

An answer is the text that a template writes after the prompt, and the text before it is prompt, in
training as in use. Most templates write the beginning of a conversation the same, whatever follows,
so rendering the beginnings finds the answers. Other templates write an answer differently once more
messages follow (without its thinking, or with another mark). There, each answer is taken from the
rendering in which it is the last, and the pieces are joined. The model sees the same text when it
answers, and no model family needs a second template.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from backends.contract.errors import BackendError
from backends.local_gpu.templates.messages import with_thought
from backends.local_gpu.templates.rendering import (
    CLOSE,
    OPEN,
    REFUSALS,
    Jinja,
    Messages,
    Tools,
    Turns,
)

_QUESTION: Final = {"role": "user", "content": "1"}
_ANSWER: Final = {"role": "assistant", "content": "2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of rendered text, in characters."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A conversation rendered as text."""

    text: str
    answers: Sequence[Span]
    """Texts of the assistant that the model learns, end of turn included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """A rendered conversation: pairs of the text before an answer and the answer, then the rest."""

    pieces: Sequence[tuple[str, str]]
    rest: str

    def rendered(self) -> Rendered:
        """Join the pieces."""
        text, answers = "", []
        for before, answer in self.pieces:
            text += before
            # Do not learn a line break that a template puts after its end of turn.
            answers.append(Span(start=len(text), end=len(text) + len(answer.rstrip())))
            text += answer
        return Rendered(text=text + self.rest, answers=answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """A template's way of writing answers, with thinking on or off."""

    jinja: Jinja
    thinking: bool
    ends: tuple[str, ...]
    """Texts at which generation stops."""
    cut: str = ""
    """Text to remove from a prompt's end: it would begin a block of thinking."""
    lead: Mapping[bool, str] = field(default_factory=dict)
    """Text before every answer, which belongs to the prompt, by whether tools are offered."""
    after: Mapping[bool, str] = field(default_factory=dict)
    """Token that ends an answer but is written with the next turn, by whether it has calls."""
    marked: bool = False
    """True if the template's own marks show the assistant's text."""

    def text(self, messages: Messages, tools: Tools, *, asks: bool = False) -> str:
        """Render messages as one text.

        Raises:
            BackendError: The template refuses them.
        """
        text = rendered_text(self.jinja, messages, tools, self._told(asks=asks))
        return text.replace(OPEN, "").replace(CLOSE, "") if self.jinja.marked else text

    def turns(self, messages: Messages, tools: Tools, *, asks: bool = False) -> Turns:
        """Render messages one by one; raises as `text` does."""
        try:
            return self.jinja.turns(messages, tools, self._told(asks=asks))
        except REFUSALS as error:
            _refuse(error)

    def prompt(self, messages: Messages, tools: Tools) -> str:
        """Return the prompt for an answer to these messages."""
        if not messages:
            # No message asks: use the start of the turn of an answer without a question.
            answered = self.rendered([self._any_answer], tools)
            return answered.text[: answered.answers[0].start]
        lead = self.lead.get(bool(tools), "")
        text = self.text(messages, tools, asks=True).removesuffix(self.cut)
        places = _answers(messages)
        if self.marked or self._whole(messages, tools, places, text, asks=True) is not None:
            return text + lead
        apart = self._turn_by_turn(messages, tools, places, asks=True)
        return apart.rendered().text.removesuffix(self.cut) + lead

    def opening(self, messages: Messages, tools: Tools) -> str:
        """Return the part of a prompt that opens the answer's turn."""
        asked = messages or [_QUESTION]
        behind = self.turns(asked, tools, asks=True).behind.removesuffix(self.cut)
        return behind + self.lead.get(bool(tools), "")

    def rendered(self, messages: Messages, tools: Tools) -> Rendered:
        """Render a conversation and find its answers.

        Raises:
            BackendError: The template refuses it, or does not show an answer apart.
        """
        if self.marked:
            told = self._told(asks=False)
            return by_marks(rendered_text(self.jinja, messages, tools, told))
        places = _answers(messages)
        text = self.text(messages, tools)
        apart = self._whole(messages, tools, places, text, asks=False)
        if apart is None:
            apart = self._turn_by_turn(messages, tools, places, asks=False)
        calls = [bool(messages[place].get("tool_calls")) for place in places]
        return self._led(self._ended(apart, calls), offered=bool(tools)).rendered()

    def _told(self, *, asks: bool) -> dict[str, object]:
        return {
            "add_generation_prompt": asks,
            "enable_thinking": self.thinking,
            "thinking": self.thinking,
        }

    def _whole(
        self,
        messages: Messages,
        tools: Tools,
        places: Sequence[int],
        text: str,
        *,
        asks: bool,
    ) -> Apart | None:
        """Find answers if the text begins with the rendering of every beginning; None otherwise."""
        pieces, reached = [], 0
        for place in places:
            if place == 0:
                return None
            before = self.text(messages[:place], tools, asks=True).removesuffix(self.cut)
            last = place + 1 == len(messages) and not asks
            after = text if last else self.text(messages[: place + 1], tools)
            if not (text.startswith(after) and after.startswith(before) and len(before) >= reached):
                return None
            pieces.append((text[reached : len(before)], after[len(before) :]))
            reached = len(after)
        return Apart(pieces=pieces, rest=text[reached:])

    def _turn_by_turn(
        self, messages: Messages, tools: Tools, places: Sequence[int], *, asks: bool
    ) -> Apart:
        """Take every answer from the rendering in which it is the last."""
        pieces: list[tuple[str, str]] = []
        reached = -1
        for place in places:
            answered = self.turns(messages[: place + 1], tools)
            between, opening = self._before(messages[:place], tools, answered, reached)
            own = answered.texts.get(place, "")
            if not own.startswith(opening) or place not in answered.texts:
                raise self._unclear()
            is_last = place + 1 == len(messages) and not asks
            answer = own[len(opening) :] + (answered.behind if is_last else "")
            pieces.append((between + opening, answer))
            reached = place
        if reached + 1 == len(messages) and not asks:
            return Apart(pieces=pieces, rest="")
        whole = self.turns(messages, tools, asks=asks)
        return Apart(pieces=pieces, rest=_between(whole, reached, len(messages)) + whole.behind)

    def _unclear(self) -> BackendError:
        if self.thinking:
            return BackendError(
                "an answer has no thinking, and the base model's chat template begins every "
                "answer with some",
                "Give every answer its `reasoning_content`, or set `thinking: off`.",
            )
        return BackendError(
            "the base model's chat template writes an answer differently once more "
            "messages follow, so it is not clear which tokens are the answer",
            "Train on conversations with one answer each.",
        )

    def _before(
        self, messages: Messages, tools: Tools, answered: Turns, reached: int
    ) -> tuple[str, str]:
        """Return the text between two answers, and the text that opens the second answer's turn.

        Raises:
            BackendError: The opening of the turn cannot be determined.
        """
        if not messages:
            return answered.before, self._usual_opening(tools)
        asked = self.turns(messages, tools, asks=True)
        opening = self._behind(asked, answered, len(messages))
        if opening is not None:
            return _between(answered, reached, len(messages)), opening
        opening = asked.behind.removesuffix(self.cut)
        if not opening and self._usual_opening(tools):
            # The opening is within the message before, at a position that cannot be determined.
            raise self._unclear()
        return _between(asked, reached, len(messages)), opening

    def _behind(self, asked: Turns, answered: Turns, count: int) -> str | None:
        """Return the text that a prompt adds to messages, wherever a template writes it.

        None where the template writes the messages differently once they are answered.
        """
        texts = [answered.texts.get(place, "") for place in range(count)]
        head = answered.before + "".join(texts)
        prompt = asked.before + "".join(asked.texts.values()) + asked.behind
        prompt = prompt.removesuffix(self.cut)
        return prompt[len(head) :] if prompt.startswith(head) else None

    @property
    def _any_answer(self) -> Mapping[str, Any]:
        return with_thought(_ANSWER, "3" if self.thinking else "")

    def _usual_opening(self, tools: Tools) -> str:
        """Return the text that opens the answer to a question."""
        asked = self.turns([_QUESTION], tools, asks=True)
        answered = self.turns([_QUESTION, self._any_answer], tools)
        opening = self._behind(asked, answered, 1)
        return asked.behind.removesuffix(self.cut) if opening is None else opening

    def _ended(self, apart: Apart, calls: Sequence[bool]) -> Apart:
        """End each answer with the token that stops generation, where the next turn has it."""
        pieces = list(apart.pieces)
        rest = apart.rest
        for place, (before, answer) in enumerate(pieces):
            if answer.rstrip().endswith(self.ends):
                continue
            follows = pieces[place + 1][0] if place + 1 < len(pieces) else rest
            if follows:
                end = next((one for one in self.ends if follows.startswith(one)), "")
            else:
                end = self.after.get(calls[place], "")
            pieces[place] = (before, answer + end)
            if place + 1 < len(pieces):
                pieces[place + 1] = (follows.removeprefix(end), pieces[place + 1][1])
            else:
                rest = rest.removeprefix(end)
        return Apart(pieces=pieces, rest=rest)

    def _led(self, apart: Apart, *, offered: bool) -> Apart:
        """Move the text before every answer to its prompt."""
        lead = self.lead.get(offered, "")
        if not lead:
            return apart
        if not all(answer.startswith(lead) for _, answer in apart.pieces):
            raise BackendError(
                "an answer does not begin as this model's answers do where no tools are offered",
                "Give the example its `tools`.",
            )
        return Apart(
            pieces=[(before + lead, answer[len(lead) :]) for before, answer in apart.pieces],
            rest=apart.rest,
        )


def rendered_text(
    jinja: Jinja, messages: Messages, tools: Tools, told: Mapping[str, object]
) -> str:
    """Render messages, with the template's marks.

    Raises:
        BackendError: The template refuses them.
    """
    try:
        return jinja.text(messages, tools, told)
    except REFUSALS as error:
        _refuse(error)


def by_marks(text: str) -> Rendered:
    """Find answers by the marks that a template puts around them."""
    first, *pieces = text.split(OPEN)
    found, answers = first, []
    for piece in pieces:
        answer, _, rest = piece.partition(CLOSE)
        answers.append(Span(start=len(found), end=len(found) + len(answer.rstrip())))
        found += answer + rest
    return Rendered(text=found, answers=answers)


def _between(turns: Turns, reached: int, place: int) -> str:
    """Return the text between two messages, including any text before the first message."""
    texts = [turns.texts.get(one, "") for one in range(reached + 1, place)]
    return ("" if reached >= 0 else turns.before) + "".join(texts)


def _answers(messages: Messages) -> list[int]:
    return [place for place, message in enumerate(messages) if message["role"] == "assistant"]


def _refuse(error: Exception) -> NoReturn:
    raise BackendError(
        f"the chat template refuses this conversation: {error}", "Change the conversation."
    ) from error
