"""What a listing of a store tells of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.machines.objects import (
    LOG,
    PROGRESS,
    StoredRun,
    checkpoint_name,
    claim_name,
    halvings_name,
    key_of,
    part_name,
    placed_name,
    released_name,
    step_of,
    stored_runs,
)
from backends.stores.objects import StoredObject

RUN = "0123456789abcdef-1"
LOST_S = 90.0


def stored(now_s=1000.0, **seconds):
    """Return a run whose objects were changed at some times; a pair also has its size."""
    listed = []
    for name, value in seconds.items():
        changed, size = value if isinstance(value, tuple) else (value, 1)
        listed.append(StoredObject(key=key_of(RUN, name), bytes=size, modified_s=changed))
    listed.append(StoredObject(key="runs/clock", bytes=0, modified_s=now_s))
    return stored_runs(listed).get(RUN, StoredRun(name=RUN, objects={}, now_s=now_s))


@pytest.mark.parametrize(
    ("objects", "is_held"),
    [
        ({}, False),
        ({claim_name(1): 950.0}, True),
        ({claim_name(1): 900.0}, False),
        ({claim_name(1): 500.0, "heartbeat.json": 990.0}, True),
        ({claim_name(1): 500.0, "heartbeat.json": 910.0}, False),
        ({claim_name(1): 990.0, released_name(1): 995.0}, False),
        ({claim_name(1): 500.0, released_name(1): 600.0, claim_name(2): 990.0}, True),
        ({claim_name(1): 990.0, "result.json": 995.0}, False),
    ],
)
def test_a_run_is_held_by_a_worker_that_shows_signs_of_life(objects, is_held):
    assert stored(**objects).is_held(LOST_S) is is_held


@pytest.mark.parametrize(
    ("objects", "starts"),
    [
        ({}, 0),
        ({placed_name(1): 1.0}, 1),
        ({placed_name(1): 1.0, placed_name(2): 2.0}, 2),
        ({placed_name(1): 1.0, claim_name(1): 2.0, claim_name(2): 3.0}, 2),
        # One that was asked to stop counts for nothing, one that failed does.
        ({placed_name(1): 1.0, claim_name(1): 2.0, released_name(1): (3.0, 0)}, 0),
        ({placed_name(1): 1.0, claim_name(1): 2.0, released_name(1): (3.0, 9)}, 1),
        # A checkpoint is progress.
        ({placed_name(1): 1.0, claim_name(1): 2.0, checkpoint_name(5, 1): 3.0}, 0),
        ({placed_name(1): 1.0, checkpoint_name(5, 1): 3.0, placed_name(2): 4.0}, 1),
        # So are smaller batches, which the memory may do for.
        ({claim_name(1): 2.0, halvings_name(1): 3.0, released_name(1): (4.0, 9)}, 0),
        ({claim_name(1): 2.0, halvings_name(1): 3.0, claim_name(2): 4.0}, 1),
    ],
)
def test_starts_are_counted_since_the_newest_checkpoint(objects, starts):
    assert stored(**objects).failed_starts == starts


def test_a_submission_without_a_worker_is_no_failed_worker():
    placements = {placed_name(number): 1.0 for number in (1, 2, 3)}
    run = stored(**placements, **{claim_name(1): 2.0, released_name(1): (3.0, 9)})
    assert (run.failed_starts, run.failed_workers) == (3, 1)


def test_the_most_halvings_count():
    assert stored().halvings == 0
    assert stored(**{halvings_name(count): 1.0 for count in (2, 10, 1)}).halvings == 10


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 999)), unique=True))
def test_checkpoints_are_listed_newest_first(found):
    run = stored(**{checkpoint_name(step, generation): 1.0 for step, generation in found})
    assert [step_of(name) for name in run.checkpoints] == sorted(
        (step for step, _ in found), reverse=True
    )


def test_parts_are_in_order_of_workers_and_kinds_are_apart():
    names = [part_name(PROGRESS, 2, 0), part_name(PROGRESS, 1, 1), part_name(PROGRESS, 1, 0)]
    run = stored(**dict.fromkeys([*names, part_name(LOG, 1, 0)], 1.0))
    assert [one.key for one in run.parts(PROGRESS)] == [key_of(RUN, name) for name in names[::-1]]
    assert len(run.parts(LOG)) == 1


def test_runs_are_told_apart_and_strangers_ignored():
    keys = [key_of(RUN, "request.json"), "runs/notes.txt", "runs/abc/request.json", "files/a/b"]
    listed = [StoredObject(key=key, bytes=1, modified_s=1.0) for key in keys]
    assert list(stored_runs(listed)) == [RUN]
    # The newest clock counts, of the store or of the run.
    clocks = [("runs/clock", 5.0), (key_of(RUN, "clock"), 7.0)]
    listed += [StoredObject(key=key, bytes=0, modified_s=now) for key, now in clocks]
    assert stored_runs(listed)[RUN].now_s == 7.0
    assert not stored_runs(listed)[RUN].has("clock")
