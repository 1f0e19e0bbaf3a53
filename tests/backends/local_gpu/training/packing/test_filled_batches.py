import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.training.batching import Batches, by_length
from backends.local_gpu.training.packing.fill import Budget, fill

pytestmark = pytest.mark.torch

LENGTHS = np.random.default_rng(0).integers(3, 200, size=1000)
PADDED, PACKED = (Budget(tokens=512, packed=packed) for packed in (False, True))


def padded(lengths, batches):
    return sum(int(lengths[batch].max()) * len(batch) for batch in batches)


@given(
    lengths=st.lists(st.integers(1, 100), max_size=80),
    room=st.integers(100, 400),
    packed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_example_is_in_one_batch_and_no_batch_exceeds_the_budget(lengths, room, packed, seed):
    lengths = np.asarray(lengths, dtype=np.int64)
    batches = fill(lengths, Budget(tokens=room, packed=packed), seed)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        used = lengths[batch].sum() if packed else lengths[batch].max() * len(batch)
        assert used <= room


@given(lengths=st.lists(st.integers(1, 100), min_size=1, max_size=80), seed=st.integers(0, 99))
def test_first_fit_decreasing_leaves_no_two_batches_that_would_fit_into_one(lengths, seed):
    lengths = np.asarray(lengths, dtype=np.int64)
    batches = fill(lengths, Budget(tokens=100, packed=True), seed)
    sums = sorted(int(lengths[batch].sum()) for batch in batches)
    assert len(sums) == 1 or sums[0] + sums[1] > 100


def test_packed_batches_are_full_and_padded_ones_hold_similar_lengths():
    packed = fill(LENGTHS, PACKED, 1)
    assert len(packed) <= 1.02 * LENGTHS.sum() / 512
    in_groups = fill(LENGTHS, PADDED, 1)
    assert padded(LENGTHS, in_groups) < 1.05 * LENGTHS.sum()


@pytest.mark.parametrize("budget", [PADDED, PACKED])
def test_batches_follow_from_the_seed_and_only_their_order_from_the_epoch(budget):
    first, again, other = (Batches(LENGTHS, 1, 4, seed, budget=budget) for seed in (1, 1, 2))
    assert list(first) == list(again) != list(other)
    kept = list(first)
    first.epoch = 1
    later = list(first)
    assert kept != later
    assert sorted(kept) == sorted(later)
    assert len(first) == len(kept)


def test_the_largest_batch_comes_first():
    lengths = np.array([10, 200, 11, 12])
    for seed in range(5):
        batches = Batches(lengths, 1, 1, seed, budget=Budget(tokens=210, packed=False))
        assert 1 in next(iter(batches))


def test_held_out_examples_are_measured_within_the_budget():
    batches = by_length(LENGTHS, 8, PACKED)
    assert sorted(place for batch in batches for place in batch) == list(range(1000))
    assert max(LENGTHS[batch].max() * len(batch) for batch in batches) <= 512
