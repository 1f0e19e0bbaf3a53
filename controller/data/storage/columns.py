"""Prepared examples of one batch and one side, with a column for every fact.

Pages are what workers hand back; the lines themselves other processes leave on the disk. Examples by the
million are joined, added up and copied a page at a time, never one by one.
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
"""Verdicts on an example: a byte each."""

DIGEST: Final = 16
"""Bytes of a line's digest: among ten million lines, two that differ look equal once in 10²⁴.

Samples are drawn by BLAKE2b, since what is drawn is recorded. What is equal is found by XXH3,
which takes a fifth of the time and is forgotten with the build.
"""

SHARDS: Final = 32
"""Parts that digests are divided into, so that one at a time fits into memory: of four million
examples, one holds some 12 MB."""

Column: TypeAlias = Literal[
    "size", "line", "tokens", "question", "side", "digest", "stratum", "bands"
]
NUMBERS: Final[Mapping[Column, str]] = {
    "size": "I",
    "line": "I",
    "tokens": "I",
    "question": "Q",
    "side": "Q",
}
"""Columns of numbers: bytes of the canonical line, its line in the source, its tokens, the hashes
of what it asks and of what decides its side. The value is the type code of `array`."""

NO_KEY: Final = bytes(8)
"""Stands where an example has no band key."""

_STRATUM: Final = 8

_SIGNS: Final[tuple[tuple[Feature, bytes], ...]] = (
    ("system", b'"role":"system"'),
    ("developer", b'"role":"developer"'),
    ("tools", b',"tools":'),
    ("tools", b'"tool_calls":'),
    ("parallel_tool_calls", b',"parallel_tool_calls":'),
)
"""What stands in a canonical line with a feature, and in no text: there, quotes are escaped."""


class FileRange(NamedTuple):
    """Where in the spool's folder some lines lie, one after the other."""

    file: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleBlock:
    """Examples of one batch, in the order of their source."""

    split: int
    """`TRAIN` or `HELD_OUT`: where they go unless something else is decided."""
    examples: int
    lines: FileRange | bytes
    """The canonical lines, or where they lie."""
    features: frozenset[Feature]
    """What at least one example has."""
    columns: Mapping[Column, bytes]
    """Each column's values, one after the other; only the columns that somebody wants."""
    shards: list[tuple[bytes, bytes]]
    """For each of the `SHARDS`, digests, and the numbers in this page of their examples."""


@dataclass(slots=True)
class BlockBuilder:
    """A page while it is written."""

    lines: list[bytes] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    side: list[int] = field(default_factory=list)
    stratum: list[bytes] = field(default_factory=list)
    bands: list[bytes] = field(default_factory=list)
    is_plain: bool = True
    """Whether no example is known to be more than messages of system, user and assistant."""

    def add(self, line: int, text: bytes, question: int) -> None:
        """Add an example; what else is wanted of it is added by the caller."""
        self.lines.append(text)
        self.line.append(line)
        self.question.append(question)
        # At once, while the processor has it at hand.
        self.digests.append(xxh3_128_digest(text))

    def extend(self, other: "BlockBuilder", chosen: Sequence[bool]) -> None:
        """Add what was added to another draft, where chosen."""
        self.lines += compress(other.lines, chosen)
        self.line += compress(other.line, chosen)
        self.question += compress(other.question, chosen)
        self.digests += compress(other.digests, chosen)

    def clear(self) -> None:
        """Forget what `extend` took."""
        for column in (self.lines, self.line, self.question, self.digests):
            column.clear()

    def finish(
        self,
        split: int,
        text: bytes,
        folder: Path | None,
        wanted: frozenset[Column],
        *,
        in_shards: bool,
    ) -> ExampleBlock:
        """Return the page, with the lines or after writing them into the spool's folder.

        Args:
            split: Of all its examples.
            text: The lines, joined.
            folder: The folder, where every process has a file of its own; None to have the lines in
                the page, which costs more where it is handed to another process.
            wanted: Columns that somebody wants, besides size and line.
            in_shards: Whether equal examples are looked for.
        """
        columns: dict[Column, bytes] = {
            "size": array("I", map(len, self.lines)).tobytes(),
            "line": array("I", self.line).tobytes(),
        }
        for name in ("tokens", "question", "side"):
            if name in wanted:
                columns[name] = array(NUMBERS[name], getattr(self, name)).tobytes()
        if "digest" in wanted:
            hashed = (blake2b(one, digest_size=DIGEST).digest() for one in self.lines)
            columns["digest"] = b"".join(hashed)
        if "stratum" in wanted:
            hashed = (blake2b(one, digest_size=_STRATUM).digest() for one in self.stratum)
            columns["stratum"] = b"".join(hashed)
        if "bands" in wanted:
            columns["bands"] = b"".join(self.bands)
        signs = _SIGNS[:1] if self.is_plain else _SIGNS
        return ExampleBlock(
            split=split,
            examples=len(self.lines),
            lines=text if folder is None else _write(text, folder),
            features=frozenset(name for name, sign in signs if sign in text),
            columns=columns,
            shards=_shards(self.digests) if in_shards else [],
        )


def _write(lines: bytes, folder: Path) -> FileRange:
    path = folder / f"lines-{os.getpid()}"
    with path.open("ab") as file:
        offset = file.seek(0, os.SEEK_END)
        file.write(lines)
    return FileRange(path.name, offset, len(lines))


def _shards(digests: list[bytes]) -> list[tuple[bytes, bytes]]:
    numbers: list[list[int]] = [[] for _ in range(SHARDS)]
    for number, digest in enumerate(digests):
        numbers[digest[0] % SHARDS].append(number)
    return [
        (b"".join([digests[number] for number in shard]), array("I", shard).tobytes())
        for shard in numbers
    ]
