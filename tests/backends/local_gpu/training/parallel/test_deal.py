"""Batches that are dealt to several processes."""

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.hardware import share_of
from backends.local_gpu.training.batching import Batches
from backends.local_gpu.training.packing.fill import Budget
from backends.local_gpu.training.parallel.deal import Dealt, Idle, counting
from backends.local_gpu.training.parallel.world import World

pytestmark = pytest.mark.torch


def dealt(batches, examples, share, size):
    return [Dealt(batches, examples, share, World(rank=rank, size=size)) for rank in range(size)]


@given(
    count=st.integers(1, 60),
    size=st.integers(1, 8),
    accumulation=st.integers(1, 6),
    gpus=st.integers(1, 6),
    budget=st.booleans(),
)
def test_each_step_has_the_examples_that_it_has_on_one_device(
    count, size, accumulation, gpus, budget
):
    settings = {"gradient_accumulation_steps": accumulation}
    settings |= {} if budget else {"per_device_train_batch_size": size}
    share = share_of("supervised", settings, gpus)
    if share is None:
        return
    lengths = np.random.default_rng(count).integers(3, 40, size=count)
    limit = Budget(tokens=80, packed=True) if budget else None
    batches = Batches(lengths, size, accumulation, 1, budget=limit)
    batches.epoch = 2
    alone = list(batches)
    steps = [
        sorted(chain.from_iterable(alone[at : at + accumulation]))
        for at in range(0, len(alone), accumulation)
    ]
    ranks = [list(one) for one in dealt(batches, count, share, gpus)]
    # Every process computes as many batches as the others, and knows how many before.
    assert {len(one) for one in ranks} == {len(dealt(batches, count, share, gpus)[0])}
    each = share.accumulation
    assert -(-len(ranks[0]) // each) == len(steps)
    for number, step in enumerate(steps):
        mine = [one for rank in ranks for one in rank[number * each : (number + 1) * each]]
        assert sorted(place for one in mine for place in one if place >= 0) == step
        # What counts nothing is an example of the same step.
        assert {-1 - place for one in mine for place in one if place < 0} <= set(step)


def test_a_batch_that_counts_nothing_is_marked():
    collate = counting(lambda places: {"places": list(places)})
    assert not isinstance(collate([0, 3]), Idle)
    assert collate([-1 - 3]) == {"places": [3]}
    assert isinstance(collate([-1 - 3]), Idle)
