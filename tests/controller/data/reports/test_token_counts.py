"""Token counts of a part: right, in order, counted once."""

import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from backends.contract.errors import BackendError
from backends.contract.inspector import Limits
from backends.testing.words import WordInspector
from controller.data.examples.conversation_view import read_blocks
from controller.data.reports.token_counts import histogram, length_stats, token_lengths


@dataclass(frozen=True)
class Watched(WordInspector):
    """Remembers what it was asked to count."""

    asked: list[int] = field(default_factory=list, hash=False)
    broken: bool = False

    def count(self, examples: Sequence[Mapping]) -> list[int]:
        if self.broken:
            raise BackendError("counting tokens needs the package tokenizers", "pip install x")
        self.asked.append(len(examples))
        return [len(example["messages"][0]["content"].split()) for example in examples]


@pytest.fixture
def part(parts):
    return parts(*(parts.chat("말 " * (n % 7 + 1), "네") for n in range(2_500)))


def test_every_example_is_counted_in_order_and_once(part, tmp_path):
    inspector = Watched()
    expected = [n % 7 + 1 for n in range(2_500)]
    assert list(token_lengths(part, inspector, tmp_path)) == expected
    assert sum(inspector.asked) == 2_500
    part.path.unlink()
    assert list(token_lengths(part, inspector, tmp_path)) == expected
    assert sum(inspector.asked) == 2_500


def test_another_inspector_counts_anew(part, tmp_path):
    first, second = Watched(), Watched(method="dpo")
    token_lengths(part, first, tmp_path)
    token_lengths(part, second, tmp_path)
    assert sum(second.asked) == 2_500


@pytest.mark.parametrize("damage", [b"", b"\0" * 10, b"\0" * 4096])
def test_a_damaged_file_is_counted_anew(part, tmp_path, damage: bytes):
    inspector = Watched()
    counted = token_lengths(part, inspector, tmp_path)
    (cached_bytes,) = (tmp_path / "lengths").iterdir()
    cached_bytes.write_bytes(damage)
    assert token_lengths(part, inspector, tmp_path) == counted
    assert sum(inspector.asked) == 5_000


def test_a_missing_package_is_the_backends_to_say(part, tmp_path):
    with pytest.raises(BackendError, match="needs the package"):
        token_lengths(part, Watched(broken=True), tmp_path)
    assert not (tmp_path / "lengths").exists()


def test_lengths_are_the_same_on_all_cores(parts, tmp_path, monkeypatch):
    part = parts(*(parts.chat("말 " * (n % 7 + 1), "네") for n in range(200)))
    here = token_lengths(part, WordInspector(), tmp_path / "one")
    monkeypatch.setattr("controller.data.pipeline.process_pool.WORTH", 0)
    assert token_lengths(part, WordInspector(), tmp_path / "two") == here


def test_blocks_are_whole_lines_whatever_their_length(tmp_path, monkeypatch):
    monkeypatch.setattr("controller.data.examples.conversation_view.CHUNK", 16)
    path = tmp_path / "lines"
    lines = [
        bytes([97 + n % 26]) * length + b"\n" for n, length in enumerate([1, 40, 15, 16, 0, 3])
    ]
    path.write_bytes(b"".join(lines))
    found = list(read_blocks(path))
    assert b"".join(found) == b"".join(lines)
    assert all(block.endswith(b"\n") for block in found)
    assert len(found) > 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], (0, 0, 0, 0, 0)),
        ([7], (7, 7, 7, 7, 7)),
        (range(1, 101), (5050, 50, 90, 99, 100)),
        ([1] * 98 + [5, 1000], (1103, 1, 1, 5, 1000)),
    ],
)
def test_percentiles_are_lengths_that_occur(given, expected):
    found = length_stats(array("I", given))
    assert (found.total, found.p50, found.p90, found.p99, found.longest) == expected


@given(some.lists(some.integers(0, 5_000), max_size=200), some.lists(some.integers(0, 5_000)))
def test_every_example_is_in_one_bin(train: list[int], held_out: list[int]):
    bins = histogram({"train": train, "held_out": held_out})
    assert sum(one.counts["train"] for one in bins) == len(train)
    assert sum(one.counts["held_out"] for one in bins) == len(held_out)
    assert len(bins) <= 13
    for before, after in pairwise(bins):
        assert before.high is not None
        assert after.low == before.high + 1


def test_one_giant_does_not_flatten_the_rest():
    chance = random.Random(1)
    lengths = [*(chance.randint(20, 80) for _ in range(999)), 50_000]
    bins = histogram({"train": lengths, "held_out": []})
    assert len(bins) > 5
    assert (bins[-1].high, bins[-1].counts["train"]) == (None, 1)


def test_a_held_out_example_longer_than_the_model_reads_is_refused_where_it_stands(repository):
    """Else the evaluation would refuse it, after training."""
    rows = "".join(f"question {n},answer\n" for n in range(20))
    repository.write("train.csv", f"user,assistant\n{rows}")
    repository.write("held.csv", f"user,assistant\nshort,yes\n{'long ' * 60},yes\n")
    inspector = WordInspector(limits=Limits(max_tokens=50))
    columns = {"user": "user", "assistant": "assistant"}
    (found,) = repository.problems(
        {"path": "train.csv", "columns": columns},
        held_out=[{"path": "held.csv", "columns": columns}],
        inspector=inspector,
    )
    assert (found.file, found.line) == ("finetunes/held.csv", 3)
    assert "the base model reads at most 50" in found.message
