"""Prepared examples of one batch and one split, with one column for each fact about them.

Workers send blocks back; they write the lines to files. Blocks are joined and copied whole, since
handling millions of examples one by one would be slow.
"""

import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from xxhash import xxh3_128_digest

from backends.contract.inspector import Feature

TRAIN: Final = 0
HELD_OUT: Final = 1
DROPPED: Final = 2
"""Splits as bytes, one for each example; a dropped example is in neither."""

DIGEST: Final = 16
"""Bytes of a line's digest: two of ten million different lines have the same once in 10²⁴ builds.

Samples are drawn by BLAKE2b, since the draw is recorded. Duplicates are found by XXH3, which takes
a fifth of the time and is not recorded.
"""

SHARDS: Final = 32
"""Number of files over which digests are spread, so that one fits into memory: some 12 MB for four
million examples."""

Column: TypeAlias = Literal[
    "size", "line", "tokens", "question", "split_hash", "digest", "stratum", "bands"
]
NUMBERS: Final[Mapping[Column, str]] = {
    "size": "I",
    "line": "I",
    "tokens": "I",
    "question": "Q",
    "split_hash": "Q",
}
"""Columns of numbers, with the type code of `array`: bytes of the canonical line, line in the
source, tokens, hash of the question, hash that decides the split."""

NO_KEY: Final = bytes(8)
"""Band key of an example without text."""

_STRATUM: Final = 8

_SIGNS: Final[tuple[tuple[Feature, bytes], ...]] = (
    ("system", b'"role":"system"'),
    ("developer", b'"role":"developer"'),
    ("tools", b',"tools":'),
    ("tools", b'"tool_calls":'),
    ("parallel_tool_calls", b',"parallel_tool_calls":'),
)
"""Bytes that a canonical line has only if its example has the feature: texts escape quotes."""


class FileRange(NamedTuple):
    """Consecutive lines in a file of the store's folder."""

    file: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBlock:
    """Examples of one batch, in the order of their source."""

    split: int
    """`TRAIN` or `HELD_OUT`, unless a later step decides otherwise."""
    examples: int
    json_lines: FileRange | bytes
    """Canonical lines, or where a worker wrote them."""
    features: frozenset[Feature]
    """Features of at least one example."""
    columns: Mapping[Column, bytes]
    """Values of each requested column, one after the other."""
    shards: list[tuple[bytes, bytes]]
    """For each of the `SHARDS`: digests, and the numbers of their examples in this block."""
    row_columns: bytes = b""
    """A line of JSON for each example, with values of its row; empty if they are not wanted."""


@dataclass(slots=True)
class BlockBuilder:
    """A block to which examples are added, as parallel lists: a million records take too long."""

    json_lines: list[bytes] = field(default_factory=list)
    line_numbers: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    split_hash: list[int] = field(default_factory=list)
    stratum: list[bytes] = field(default_factory=list)
    bands: list[bytes] = field(default_factory=list)
    row_columns: list[bytes] = field(default_factory=list)
    is_plain: bool = True
    """True if all examples are messages of system, user and assistant and nothing else."""

    def add(self, line_number: int, json_line: bytes, question: int) -> None:
        """Add an example; the caller adds the requested columns."""
        self.json_lines.append(json_line)
        self.line_numbers.append(line_number)
        self.question.append(question)
        # At once, while the line is in the processor's cache.
        self.digests.append(xxh3_128_digest(json_line))

    def extend(self, other: "BlockBuilder", chosen: Sequence[bool]) -> None:
        """Add the chosen examples of another builder of plain examples."""
        self.json_lines += compress(other.json_lines, chosen)
        self.line_numbers += compress(other.line_numbers, chosen)
        self.question += compress(other.question, chosen)
        self.digests += compress(other.digests, chosen)

    def clear(self) -> None:
        """Remove the examples that `extend` has copied."""
        for column in (self.json_lines, self.line_numbers, self.question, self.digests):
            column.clear()

    def finish(
        self,
        split: int,
        json_lines: bytes,
        folder: Path | None,
        requested: frozenset[Column],
        *,
        in_shards: bool,
    ) -> ExampleBlock:
        """Return the block.

        Args:
            split: Split of all its examples.
            json_lines: The lines, joined.
            folder: Folder in which each process has a file for its lines; None to keep the lines in
                the block, which is slower if another process receives it.
            requested: Columns besides size and line.
            in_shards: True to add the digests.
        """
        columns: dict[Column, bytes] = {
            "size": array("I", map(len, self.json_lines)).tobytes(),
            "line": array("I", self.line_numbers).tobytes(),
        }
        for name in ("tokens", "question", "split_hash"):
            if name in requested:
                columns[name] = array(NUMBERS[name], getattr(self, name)).tobytes()
        if "digest" in requested:
            columns["digest"] = _hashed(self.json_lines, DIGEST)
        if "stratum" in requested:
            columns["stratum"] = _hashed(self.stratum, _STRATUM)
        if "bands" in requested:
            columns["bands"] = b"".join(self.bands)
        signs = _SIGNS[:1] if self.is_plain else _SIGNS
        return ExampleBlock(
            split=split,
            examples=len(self.json_lines),
            json_lines=json_lines if folder is None else _write(json_lines, folder),
            features=frozenset(name for name, sign in signs if sign in json_lines),
            columns=columns,
            shards=_shards(self.digests) if in_shards else [],
            row_columns=b"".join(self.row_columns),
        )


def _hashed(values: Sequence[bytes], size: int) -> bytes:
    return b"".join(blake2b(value, digest_size=size).digest() for value in values)


def _write(json_lines: bytes, folder: Path) -> FileRange:
    path = folder / f"lines-{os.getpid()}"
    with path.open("ab") as file:
        offset = file.seek(0, os.SEEK_END)
        file.write(json_lines)
    return FileRange(path.name, offset, len(json_lines))


def _shards(digests: list[bytes]) -> list[tuple[bytes, bytes]]:
    numbers: list[list[int]] = [[] for _ in range(SHARDS)]
    for number, digest in enumerate(digests):
        numbers[digest[0] % SHARDS].append(number)
    return [
        (b"".join([digests[number] for number in shard]), array("I", shard).tobytes())
        for shard in numbers
    ]
