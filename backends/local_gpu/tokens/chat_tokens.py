"""Conversations as token IDs, with the tokens that are learned.

Plans count tokens with this module, and child processes train and answer with it, so the counts are
those of the training. Needs `tokenizers` and `jinja2`, but not torch or transformers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tokenizers import Encoding, Tokenizer, processors

from backends.contract.errors import BackendError
from backends.contract.inspector import Piece
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.model_files import special_text
from backends.local_gpu.templates.answers import Answer, AnswerReader, read_answer
from backends.local_gpu.templates.chat_templates import NEWEST, Template, load_template
from backends.local_gpu.templates.learnable import learned as learned_of
from backends.local_gpu.templates.learnable import missing_end_of_turn, text_of
from backends.local_gpu.templates.messages import Conversation
from backends.local_gpu.templates.turns import Span
from backends.local_gpu.templates.verbatim import least_ids, prompt_ids
from backends.local_gpu.tokens.token_pieces import pieces

BATCH: Final = 512
"""Conversations tokenised at once."""
_PROBE: Final = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One conversation as the model sees it."""

    ids: Sequence[int]
    learned: Sequence[bool]
    """For every token, True if it is in the loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A tokenizer with a chat template."""

    tokenizer: Tokenizer
    template: Template
    special: frozenset[str]
    """Texts that the tokenizer reads as control tokens, wherever they occur."""
    stops: frozenset[int]
    """Tokens at which generation stops."""

    @property
    def silent(self) -> frozenset[str]:
        """Control tokens that are dropped from an answer; the reader needs the others."""
        marks = "".join(self.template.form.marks)
        return frozenset(token for token in self.special if token not in marks)

    def prompt(self, conversation: Conversation, *, thinking: bool | None = None) -> list[int]:
        """Return the ids of a prompt; a control token in a message is plain text.

        Args:
            conversation: The conversation so far.
            thinking: True if the model may think first; None uses the setting of its training.
        """
        render = partial(self.template.prompt, thinking=thinking)
        return prompt_ids(self.tokenizer, self.special, conversation, render)

    def is_beyond(self, conversation: Conversation, most: int) -> bool:
        """Return True if a prompt certainly has more than `most` ids, reading only what is needed."""
        return least_ids(self.tokenizer, conversation, self.template.asked, most) > most

    def reader(self, conversation: Conversation, *, thinking: bool | None = None) -> AnswerReader:
        """Return a reader that splits the answer to this prompt while it arrives.

        Feed it decoded text up to the first of `stops`: all tokens but the `silent`, control tokens
        included (`skip_special_tokens=False`). The arguments are as for `prompt`.
        """
        return self.template.reader(conversation, thinking=thinking)

    def parse(
        self, ids: Sequence[int], conversation: Conversation, *, thinking: bool | None = None
    ) -> Answer:
        """Return the parts of a whole answer; tokens after its end are ignored."""
        return read_answer(self.reader(conversation, thinking=thinking), self.decode(ids))

    def decode(self, ids: Sequence[int]) -> str:
        """Return an answer's text in the form that its `reader` expects."""
        end = next((place for place, token in enumerate(ids) if token in self.stops), None)
        silent = {self.tokenizer.token_to_id(token) for token in self.silent}
        told = [token for token in ids[:end] if token not in silent]
        text: str = self.tokenizer.decode(told, skip_special_tokens=False)
        return text

    def counts(self, conversations: Sequence[Conversation]) -> list[int]:
        """Return each conversation's number of tokens in training.

        Raises:
            BackendError: The template refuses a conversation.
        """
        texts = [text_of(self.template, conversation) for conversation in conversations]
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def encode(self, conversations: Iterable[Conversation]) -> Iterator[Encoded | BackendError]:
        """Yield each conversation's tokens, or the error for a conversation that cannot be used."""
        batch: list[Conversation] = []
        for conversation in conversations:
            batch.append(conversation)
            if len(batch) == BATCH:
                yield from self._encode(batch)
                batch = []
        yield from self._encode(batch)

    def blocks(self, one: Encoded) -> list[Encoded]:
        """Return a conversation as the only block: the model reads it whole."""
        return [one]

    def show(self, conversation: Conversation) -> list[Piece]:
        """Return a conversation as the model sees it.

        Raises:
            BackendError: The conversation cannot be learned from.
        """
        (encoded,) = self.encode([conversation])
        if isinstance(encoded, BackendError):
            raise encoded
        text = self.template.render(conversation).text
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return pieces(text, encoding, encoded.learned)

    def _encode(self, batch: Sequence[Conversation]) -> Iterator[Encoded | BackendError]:
        rendered = []
        problems: dict[int, BackendError] = {}
        for place, conversation in enumerate(batch):
            try:
                self._refuse_control_tokens(conversation)
                rendered.append(learned_of(self.template, conversation))
            except BackendError as error:
                problems[place] = error
        texts = [one.text for one in rendered]
        encodings = iter(self.tokenizer.encode_batch(texts, add_special_tokens=False))
        answers = iter(one.answers for one in rendered)
        for place in range(len(batch)):
            yield (
                problems[place] if place in problems else self._mask(next(encodings), next(answers))
            )

    def _mask(self, encoding: Encoding, answers: Sequence[Span]) -> Encoded | BackendError:
        learned = [False] * len(encoding.ids)
        place = 0
        offsets = encoding.offsets
        for span in answers:
            while place < len(offsets) and offsets[place][0] < span.start:
                place += 1
            while place < len(offsets) and offsets[place][0] < span.end:
                learned[place] = True
                place += 1
            if not learned[place - 1] or encoding.ids[place - 1] not in self.stops:
                return missing_end_of_turn(self.template)
        # The first token is never predicted.
        learned[:1] = [False]
        if not any(learned):
            return BackendError(
                "nothing is learned from this example: it has no answer of the assistant",
                "Remove it, or end it with a message of the assistant.",
            )
        return Encoded(ids=encoding.ids, learned=learned)

    def _refuse_control_tokens(self, conversation: Conversation) -> None:
        for message in conversation["messages"]:
            content = message.get("content") or ""
            found = held_control_token(str(content), self.special)
            if found is not None:
                raise BackendError(
                    f"the {message['role']}'s text contains the control token {found!r}",
                    "Remove it from the text (for HTML: `prepare: {strip_html: true}`).",
                )


def load_chat(
    folder: Path, chat_template: str | None, *, thinking: bool = False, recipe: int = NEWEST
) -> Chat:
    """Open a model's tokenizer and chat template.

    Args:
        folder: The model's folder.
        chat_template: A shipped template to use instead of the model's own.
        thinking: True if the model is trained to think before it answers.
        recipe: Recipe by which examples are rendered; prompts always use the newest.

    Raises:
        BackendError: The tokenizer cannot be read, or does not fit the template.
    """
    tokenizer = open_tokenizer(folder)
    # For exact offsets: a trimmed line break would seem to belong to the next word.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    special = specials(tokenizer)
    template = load_template(
        folder, chat_template, special=special, thinking=thinking, recipe=recipe
    )
    try:
        text = template.ways[False].rendered(_PROBE, None)
    except BackendError as error:
        # A question and an answer: no change of the data would help.
        raise BackendError(error.message, template.instead) from error
    ids = tokenizer.encode(text.text[: text.answers[-1].end], add_special_tokens=False).ids
    # A special token at the end of the answer is this template's end of turn.
    turn_end = {ids[-1]} & special.keys()
    return Chat(
        tokenizer=tokenizer,
        template=template,
        special=frozenset(special.values()),
        stops=frozenset(_eos(folder, tokenizer) | turn_end),
    )


def open_tokenizer(folder: Path) -> Tokenizer:
    """Open a model's tokenizer, without truncation and padding.

    Raises:
        BackendError: The tokenizer cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises bare exceptions
        raise BackendError(
            f"{folder / 'tokenizer.json'} cannot be read: {error}", "Download the model again."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def specials(tokenizer: Tokenizer) -> dict[int, str]:
    """Return a tokenizer's control tokens."""
    added = tokenizer.get_added_tokens_decoder()
    return {number: token.content for number, token in added.items() if token.special}


def held_control_token(text: str, special: Iterable[str]) -> str | None:
    """Return a control token that a text contains, if any."""
    return next((token for token in special if token in text), None)


def _eos(folder: Path, tokenizer: Tokenizer) -> set[int]:
    """Return the end tokens that the model's own files name."""
    found: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        named = (read_json(folder / name) or {}).get("eos_token_id")
        for number in named if isinstance(named, list) else [named]:
            # Some files have a number in quotes; what is no number names no token.
            if isinstance(number, int) or (isinstance(number, str) and number.isdecimal()):
                found.add(int(number))
    text = special_text(read_json(folder / "tokenizer_config.json") or {}, "eos_token")
    if text is not None and (number := tokenizer.token_to_id(text)) is not None:
        found.add(number)
    return found
