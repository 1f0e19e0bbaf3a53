"""Prepared examples of one batch and one side, with a column for every fact.

Pages are what workers hand back and what lies on the disk: examples by the million are joined,
added up and copied a page at a time, never one by one.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from backends.encoder import Feature

TRAIN: Final = 0
HELD_OUT: Final = 1
DROPPED: Final = 2
"""Verdicts on an example: a byte each."""

DIGEST: Final = 16
"""Bytes of a line's digest: among ten million lines, two that differ look equal once in 10²⁴."""

SHARDS: Final = 64
"""Parts that digests are divided into, so that one at a time fits into memory: of four million
examples, one holds some 6 MB."""

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
)
"""What stands in a canonical line with a feature, and in no text: there, quotes are escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Examples of one batch, in the order of their source."""

    verdict: int
    """`TRAIN` or `HELD_OUT`: where they go unless something else is decided."""
    examples: int
    lines: bytes
    """The canonical lines, one after the other."""
    features: frozenset[Feature]
    """What at least one example has."""
    columns: Mapping[Column, bytes]
    """Each column's values, one after the other; only the columns that somebody wants."""
    shards: list[tuple[bytes, bytes]]
    """For each of the `SHARDS`, digests, and the numbers in this page of their examples."""


@dataclass(slots=True)
class Draft:
    """A page while it is written."""

    lines: list[bytes] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    side: list[int] = field(default_factory=list)
    stratum: list[bytes] = field(default_factory=list)
    bands: list[bytes] = field(default_factory=list)

    def finish(self, verdict: int, wanted: frozenset[Column], *, in_shards: bool) -> Page:
        """Return the page.

        Args:
            verdict: Of all its examples.
            wanted: Columns that somebody wants, besides size and line.
            in_shards: Whether equal examples are looked for.
        """
        digests = []
        if in_shards or "digest" in wanted:
            digests = [blake2b(line, digest_size=DIGEST).digest() for line in self.lines]
        columns: dict[Column, bytes] = {
            "size": array("I", map(len, self.lines)).tobytes(),
            "line": array("I", self.line).tobytes(),
        }
        for name in ("tokens", "question", "side"):
            if name in wanted:
                columns[name] = array(NUMBERS[name], getattr(self, name)).tobytes()
        if "digest" in wanted:
            columns["digest"] = b"".join(digests)
        if "stratum" in wanted:
            hashed = (blake2b(one, digest_size=_STRATUM).digest() for one in self.stratum)
            columns["stratum"] = b"".join(hashed)
        if "bands" in wanted:
            columns["bands"] = b"".join(self.bands)
        lines = b"".join(self.lines)
        return Page(
            verdict=verdict,
            examples=len(self.lines),
            lines=lines,
            features=frozenset(name for name, sign in _SIGNS if sign in lines),
            columns=columns,
            shards=_shards(digests) if in_shards else [],
        )


def _shards(digests: list[bytes]) -> list[tuple[bytes, bytes]]:
    numbers: list[list[int]] = [[] for _ in range(SHARDS)]
    for number, digest in enumerate(digests):
        numbers[digest[0] % SHARDS].append(number)
    return [
        (b"".join([digests[number] for number in shard]), array("I", shard).tobytes())
        for shard in numbers
    ]
