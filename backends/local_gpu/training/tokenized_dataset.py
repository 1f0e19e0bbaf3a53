"""Canonical JSONL as token arrays, checked before any training.

The tokens of all examples are in one flat array, and so are their marks: a token takes a few bytes
instead of a Python object.
"""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.tokens.inspector import BATCH_HAS
from backends.local_gpu.tokens.tokenizers import ExampleTokenizer, OneT

IGNORED: Final = -100
"""Label of tokens that are not learned; torch's loss functions leave it out."""
SHOWN: Final = 20
"""Largest number of problems in a message; further problems are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A set of encoded examples."""

    ids: npt.NDArray[np.int32]
    """Tokens of all examples, one after the other."""
    learned: npt.NDArray[np.bool_]
    """For every token, True if it is in the loss."""
    offsets: npt.NDArray[np.int64]
    """Start of each example, and the end of the last example."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        span = slice(self.offsets[place], self.offsets[place + 1])
        return self.ids[span], self.learned[span]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each example."""
        return np.diff(self.offsets)

    @property
    def count(self) -> int:
        """Number of tokens of all examples."""
        return len(self.ids)

    @property
    def labels(self) -> int:
        """Number of tokens in the loss."""
        return int(self.learned.sum())

    @property
    def labels_by_row(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each example that are learned and follow another."""
        after = self.learned.copy()
        after[self.offsets[:-1]] = False
        return np.diff(np.concatenate([[0], np.cumsum(after)])[self.offsets])

    def some(self, places: Sequence[int]) -> "Tokens":
        """Return some of the examples."""
        rows = [self[place] for place in places]
        return Tokens(
            ids=np.concatenate([ids for ids, _ in rows]),
            learned=np.concatenate([learned for _, learned in rows]),
            offsets=np.cumsum([0, *(len(ids) for ids, _ in rows)], dtype=np.int64),
        )

    def part(self, places: Sequence[int]) -> tuple[int, int]:
        """Return the number of tokens of some examples, and how many of them are in the loss."""
        return (
            int(self.lengths[list(places)].sum()),
            sum(int(self[place][1].sum()) for place in places),
        )


def encode_file(
    reader: ExampleTokenizer[OneT],
    path: Path,
    origins: Path | None,
    longest: int | None,
    batch: int | None = None,
) -> Tokens:
    """Encode a canonical JSONL file.

    Args:
        reader: Tokenizer, and template if there is one.
        path: The examples.
        origins: One `file:line` per example, for messages; None names the line of `path`.
        longest: Most tokens of an example that the model can read, if it has a limit.
        batch: Most tokens of a batch, if it has a limit.

    Raises:
        BackendError: Examples cannot be learned from; the error names the first.
    """
    problems: list[tuple[int, BackendError]] = []

    def usable() -> Iterator[Encoded]:
        for place, one in enumerate(reader.encode(_examples(path))):
            found = (
                one
                if isinstance(one, BackendError)
                else _too_long(reader.blocks(one), longest, batch)
            )
            if isinstance(found, BackendError):
                problems.append((place, found))
            else:
                yield from found

    tokens = flatten(usable())
    if problems:
        raise _report(problems, path, origins)
    return tokens


def flatten(encoded: Iterable[Encoded]) -> Tokens:
    """Join encoded examples to arrays."""
    ids, learned, lengths = array("i"), array("b"), array("q", [0])
    for one in encoded:
        ids.extend(one.ids)
        learned.extend(one.learned)
        lengths.append(len(one.ids))
    return Tokens(
        ids=np.frombuffer(ids, dtype=np.int32),
        learned=np.frombuffer(learned, dtype=np.bool_),
        offsets=np.cumsum(np.frombuffer(lengths, dtype=np.int64)),
    )


def _examples(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _too_long(
    blocks: Sequence[Encoded], longest: int | None, batch: int | None
) -> Sequence[Encoded] | BackendError:
    length = max(len(block.ids) for block in blocks)
    limits = [(longest, "the base model reads"), (batch, BATCH_HAS)]
    known = [(limit, of) for limit, of in limits if limit is not None]
    limit, of = min(known, default=(length, ""))
    if length <= limit:
        return blocks
    return BackendError(
        f"{length} tokens, and {of} at most {limit}",
        f"Set `prepare: {{max_tokens: {limit}}}` with `over_length: drop` or `truncate`.",
    )


def _report(
    problems: Sequence[tuple[int, BackendError]], path: Path, origins: Path | None
) -> BackendError:
    """Return one error for all problems, with each remedy once."""
    shown = problems[:SHOWN]
    names = _origins([place for place, _ in shown], origins)
    lines = [f"{name}: {error.message}" for name, (_, error) in zip(names, shown, strict=True)]
    if len(problems) > SHOWN:
        lines.append(f"… and {len(problems) - SHOWN} more")
    remedies = dict.fromkeys(error.remedy for _, error in shown if error.remedy)
    noun = "example" if len(problems) == 1 else "examples"
    message = f"{len(problems)} {noun} of {path.name} cannot be used:\n" + "\n".join(lines)
    return BackendError(message, "\n".join(remedies))


def _origins(places: Sequence[int], origins: Path | None) -> list[str]:
    if origins is None or not origins.exists():
        return [f"line {place + 1}" for place in places]
    with origins.open(encoding="utf-8", errors="replace") as file:
        known = [line.strip() for line in islice(file, places[-1] + 1)]
    return [known[place] if place < len(known) else f"line {place + 1}" for place in places]
