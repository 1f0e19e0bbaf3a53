"""Equal lines, found by their digests."""

from contextlib import closing

import pytest

from controller.data.storage.columns import DROPPED, HELD_OUT, SHARDS, TRAIN, BlockBuilder
from controller.data.storage.exact_duplicates import DigestShards


@pytest.fixture
def equal(tmp_path):
    with closing(DigestShards(tmp_path)) as shards:
        yield shards


def block(tmp_path, *lines: bytes):
    builder = BlockBuilder()
    for number, line in enumerate(lines):
        builder.add(number, line, 0)
    return builder.finish(TRAIN, b"".join(lines), tmp_path, frozenset(), in_shards=True)


def test_equal_lines_are_found_over_pages(tmp_path, equal):
    equal.add(0, block(tmp_path, b"a", b"b", b"c"))
    equal.add(3, block(tmp_path, b"d", b"a", b"a"))
    assert sorted(equal.duplicates(bytearray(6))) == [(4, 0), (5, 0)]
    # Held-out ones count as the earlier ones; dropped ones for nothing.
    splits = bytearray([DROPPED, TRAIN, TRAIN, TRAIN, TRAIN, HELD_OUT])
    assert sorted(equal.duplicates(splits)) == [(4, 5)]


def test_digests_of_which_only_half_is_equal_are_not(tmp_path, equal, monkeypatch):
    halves = {b"a": b"12345678abcdefgh", b"b": b"12345678ABCDEFGH", b"c": b"12345678abcdefgh"}
    monkeypatch.setattr("controller.data.storage.columns.xxh3_128_digest", halves.__getitem__)
    equal.add(0, block(tmp_path, b"a", b"b"))
    assert list(equal.duplicates(bytearray(2))) == []
    equal.add(2, block(tmp_path, b"c"))
    assert list(equal.duplicates(bytearray(3))) == [(2, 0)]


def test_every_shard_is_looked_into(tmp_path, equal):
    lines = [b"%d" % number for number in range(SHARDS * 50)]
    equal.add(0, block(tmp_path, *lines))
    equal.add(len(lines), block(tmp_path, *lines))
    again = list(equal.duplicates(bytearray(2 * len(lines))))
    assert sorted(again) == [(len(lines) + number, number) for number in range(len(lines))]
