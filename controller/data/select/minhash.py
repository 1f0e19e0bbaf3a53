"""Similarity of texts, and keys that similar texts share. Pure.

A text's shingles are sequences of its characters: three if the first is Korean, Chinese or
Japanese, five otherwise, which is about one word either way. Case, blanks and the
marks of a sentence do not count, since people differ in them and mean the same; operators do,
since code and sums differ by them. So one definition serves Korean (where endings and spacing
vary), English, and code; the similarity of two texts is the share of common shingles (Jaccard).

MinHash makes a short list of numbers from the shingles, in which two texts agree as often as
their shingles do; runs of these are the keys. A text has the same keys on every machine.
"""

from functools import cache, lru_cache
from hashlib import blake2b
from math import ceil, log
from struct import pack

from rensa import RMinHash

_MARKS = ".,!?;:~'\"…·“”\u2018\u2019。、\uff0c\uff01\uff1f"
"""Marks of a sentence, also those of East Asia."""
_WIDE = "\u1100"
"""First character that is about two letters of the alphabet, or more."""
_WIDE_LENGTH = 3
_NARROW_LENGTH = 5
"""With three, unrelated English pages share a third of their shingles."""

_MISSED = 0.01
"""Chance that two texts of exactly the given similarity share no key; less for more similar texts."""
_ROWS = 4
"""Numbers in a key: with fewer, different texts share keys too often; with more, more keys are
needed."""
_MAX_KEYS = 40
_SHINGLE_KEYS = 128
"""If only two texts share 3 % of their shingles, 98 of 100 such pairs share a key."""
_SEED = 1
_KEY_BYTES = 8


def lsh_keys(text: str, similarity: float, rest: bytes = b"") -> list[bytes]:
    """Return a text's keys, of eight bytes each; texts that share a key may be near duplicates.

    Two texts of at least this similarity share a key in 99 of 100 cases or more. `jaccard` decides
    whether two texts that share a key are near duplicates. There are 9 keys for a similarity of
    0.8, 5 for 0.9, 34 for 0.6.

    Args:
        text: A text; without a letter, digit or operator, it has no keys.
        similarity: From 0.5 to below 1.
        rest: Data that must be equal, so that texts with another `rest` share no key.
    """
    return _keys(text, *_bands_and_rows(similarity), rest)


def shingle_keys(text: str, rest: bytes = b"") -> list[bytes]:
    """Return more keys of a text, each of one shingle: they tell texts of a template apart.

    If nine tenths of two texts are boilerplate, most long keys are of the boilerplate. Among many
    short keys, some are of the rest.
    """
    return _keys(text, _SHINGLE_KEYS, 1, rest)


def _keys(text: str, bands: int, rows: int, rest: bytes) -> list[bytes]:
    shingles = _shingles(text)
    if not shingles:
        if not rest:
            return []
        # Calls without text: compare them as they are.
        shingles = [""]
    mixed = blake2b(rest, digest_size=_KEY_BYTES).digest() if rest else b""
    sketch = RMinHash(num_perm=bands * rows, seed=_SEED)
    sketch.update(shingles)
    packed = pack(f"<{bands * rows}I", *sketch.digest())
    width = len(packed) // bands
    return [
        blake2b(
            packed[at : at + width] + mixed, digest_size=_KEY_BYTES, salt=at.to_bytes(2)
        ).digest()
        for at in range(0, len(packed), width)
    ]


def key_count(similarity: float) -> int:
    """Return the number of keys of a text that has keys."""
    return _bands_and_rows(similarity)[0]


def jaccard(a: str, b: str) -> float:
    """Return the share of common shingles, from 0 to 1.

    Two texts without any shingle are alike only if they are equal.
    """
    of_a, of_b = _shingle_set(a), _shingle_set(b)
    if not of_a and not of_b:
        return float(a == b)
    common = len(of_a & of_b)
    return common / (len(of_a) + len(of_b) - common)


# A text is mostly compared with several others; more than two would take much memory.
@lru_cache(maxsize=2)
def _shingle_set(text: str) -> frozenset[str]:
    return frozenset(_shingles(text))


def _shingles(text: str) -> list[str]:
    # As many shingles as characters: the last ones are shorter, so that the last word counts as
    # much as any other, and a text of one character has a shingle.
    folded = "".join(text.lower().split())
    for mark in _MARKS:
        folded = folded.replace(mark, "")
    if folded.isascii():
        return [folded[at : at + _NARROW_LENGTH] for at in range(len(folded))]
    return [
        folded[at : at + (_WIDE_LENGTH if first >= _WIDE else _NARROW_LENGTH)]
        for at, first in enumerate(folded)
    ]


@cache
def _bands_and_rows(similarity: float) -> tuple[int, int]:
    for rows in range(_ROWS, 1, -1):
        bands = ceil(log(_MISSED) / log(1 - similarity**rows))
        if bands <= _MAX_KEYS:
            return bands, rows
    raise ValueError(f"a similarity of {similarity} needs too many keys; from 0.5 on is possible")
