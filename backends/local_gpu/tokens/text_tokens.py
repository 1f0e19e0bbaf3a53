"""Plain texts as token IDs, for continued pre-training: every token is learned.

A text ends with the tokenizer's end of text, so that a model learns where texts end. A text that is
longer than a block is read in several blocks. Each begins with the last token of the block before,
so that no token is left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from backends.contract.errors import BackendError
from backends.contract.inspector import Piece
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.model_files import special_text
from backends.local_gpu.tokens.chat_tokens import (
    BATCH,
    Encoded,
    held_control_token,
    open_tokenizer,
    specials,
)
from backends.local_gpu.tokens.token_pieces import pieces

_ENDS: Final = ("<|endoftext|>", "<|end_of_text|>")
"""Tokens that end a text; `eos_token` of a model for chats is its end of turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """A tokenizer that reads plain texts."""

    tokenizer: Tokenizer
    end: int
    """The token after each text."""
    end_text: str
    special: frozenset[str]
    """Texts that the tokenizer reads as control tokens, wherever they occur."""
    block: int
    """Most tokens that are read at once."""

    def counts(self, examples: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return each text's number of tokens in training, in all of its blocks."""
        texts = [_text(example) for example in examples]
        encodings = self.tokenizer.encode_batch_fast(texts)
        lengths = [len(self._ended(encoding.ids)) for encoding in encodings]
        return [length + len(self._starts(length)) - 1 for length in lengths]

    def encode(self, examples: Iterable[Mapping[str, Any]]) -> Iterator[Encoded | BackendError]:
        """Yield each text's tokens, or the error for a text that cannot be used."""
        waiting = iter(examples)
        while batch := list(islice(waiting, BATCH)):
            texts = [_text(example) for example in batch]
            encodings = self.tokenizer.encode_batch_fast(texts)
            for text, encoding in zip(texts, encodings, strict=True):
                yield self._encoded(text, encoding.ids)

    def blocks(self, one: Encoded) -> list[Encoded]:
        """Return a text in pieces that are read at once."""
        starts = self._starts(len(one.ids))
        if len(starts) == 1:
            return [one]
        return [
            Encoded(
                ids=(ids := one.ids[start : start + self.block]),
                learned=[False] + [True] * (len(ids) - 1),
            )
            for start in starts
        ]

    def show(self, example: Mapping[str, Any]) -> list[Piece]:
        """Return a text as the model sees it.

        Raises:
            BackendError: The text cannot be learned from.
        """
        text = _text(example)
        encoding = self.tokenizer.encode(text)
        encoded = self._encoded(text, encoding.ids)
        if isinstance(encoded, BackendError):
            raise encoded
        shown = pieces(text, encoding, encoded.learned)
        if len(encoded.ids) > len(encoding.ids):
            shown.append(Piece(text=self.end_text, trained=True))
        return shown

    def _encoded(self, text: str, ids: list[int]) -> Encoded | BackendError:
        found = held_control_token(text, self.special)
        if found is not None:
            return BackendError(
                f"the text contains the control token {found!r}", "Remove it from the text."
            )
        ids = self._ended(ids)
        if len(ids) == 1:
            return BackendError("nothing is learned from an empty text", "Remove it.")
        # The first token is never predicted.
        return Encoded(ids=ids, learned=[False] + [True] * (len(ids) - 1))

    def _ended(self, ids: list[int]) -> list[int]:
        return ids if ids[-1:] == [self.end] else [*ids, self.end]

    def _starts(self, length: int) -> range:
        return range(0, max(length - 1, 1), self.block - 1)


def load_documents(folder: Path, block: int) -> Documents:
    """Open a model's tokenizer for plain texts.

    Args:
        folder: The model's folder.
        block: Most tokens that are read at once.

    Raises:
        BackendError: The tokenizer cannot be read, or has no token that ends a text.
    """
    tokenizer = open_tokenizer(folder)
    named = special_text(read_json(folder / "tokenizer_config.json") or {}, "eos_token")
    ends = [
        (number, text)
        for text in (*_ENDS, named)
        if text is not None and (number := tokenizer.token_to_id(text)) is not None
    ]
    if not ends:
        raise BackendError(
            f"the tokenizer in {folder} has no token that ends a text",
            "Name one as `eos_token` in its tokenizer_config.json.",
        )
    special = frozenset(specials(tokenizer).values())
    end, end_text = ends[0]
    return Documents(tokenizer=tokenizer, end=end, end_text=end_text, special=special, block=block)


def _text(example: Mapping[str, Any]) -> str:
    return str(example["text"])
