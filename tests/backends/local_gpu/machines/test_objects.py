"""What a listing of a store tells of a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local_gpu.machines.objects import (
    CANCEL,
    HEARTBEAT,
    LOG,
    PART,
    PAUSE,
    PROGRESS,
    REQUEST,
    RESULT,
    StoredRun,
    checkpoint_name,
    claim_name,
    halvings_name,
    key_of,
    node_call_name,
    part_name,
    placed_name,
    released_name,
    silent_name,
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


@pytest.mark.parametrize(
    ("objects", "generation", "placements", "is_unclaimed"),
    [
        ({}, 0, 0, True),
        ({placed_name(1): 1.0, placed_name(12): 1.0}, 0, 12, True),
        ({placed_name(1): 1.0, claim_name(1): 2.0}, 1, 1, False),
        ({claim_name(9): 2.0, claim_name(10): 2.0, released_name(9): 2.0}, 10, 0, False),
        ({claim_name(1): 2.0, released_name(1): 3.0}, 1, 0, True),
        # What others have put there counts for nothing.
        (
            {"claims/notes.txt": 1.0, "placed/x.json": 1.0, "claims/000003.json.tmp": 1.0},
            0,
            0,
            True,
        ),
    ],
)
def test_the_newest_claim_and_the_newest_submission_count(
    objects, generation, placements, is_unclaimed
):
    run = stored(**objects)
    assert (run.generation, run.placements, run.is_unclaimed) == (
        generation,
        placements,
        is_unclaimed,
    )


def test_what_happened_with_a_checkpoint_was_before_it():
    # A store dates objects to the second: a start of the same second led to the checkpoint.
    run = stored(**{claim_name(1): 3.0, placed_name(1): 3.0, checkpoint_name(5, 1): 3.0})
    assert (run.failed_starts, run.failed_workers) == (0, 0)


def test_the_newest_of_several_checkpoints_counts_as_progress():
    marks = {checkpoint_name(5, 1): 3.0, checkpoint_name(9, 1): 6.0}
    assert stored(**marks, **{claim_name(1): 2.0, claim_name(2): 5.0}).failed_starts == 0
    assert stored(**marks, **{claim_name(1): 2.0, claim_name(2): 7.0}).failed_starts == 1


def test_an_object_without_content_is_no_worker_that_was_asked_to_stop():
    # Marks of other kinds are empty too.
    run = stored(**{claim_name(1): 1.0, "silent/000001-000001": (2.0, 0), "pause": (2.0, 0)})
    assert run.failed_starts == 1


def test_names_of_objects_are_those_of_workers_that_still_run():
    # A worker of the version before meets the objects of this one.
    run = stored(**{claim_name(2): 1.0, placed_name(3): 1.0})
    assert [
        claim_name(7),
        placed_name(7),
        released_name(7),
        node_call_name(7),
        part_name(PROGRESS, 7, 3),
        part_name(LOG, 7, 3),
        checkpoint_name(120, 7),
        halvings_name(2),
        silent_name(run),
        key_of(RUN, REQUEST),
        key_of(RUN, CANCEL),
        key_of(RUN, PAUSE),
        key_of(RUN, RESULT),
        key_of(RUN, HEARTBEAT),
    ] == [
        "claims/000007.json",
        "placed/000007.json",
        "released/000007.json",
        "nodes/000007.json",
        "progress/000007-000003",
        "log/000007-000003",
        "checkpoints/000000120-000007.json",
        "halvings/002",
        "silent/000002-000003",
        f"runs/{RUN}/request.json",
        f"runs/{RUN}/cancel",
        f"runs/{RUN}/pause",
        f"runs/{RUN}/result.json",
        f"runs/{RUN}/heartbeat.json",
    ]
    # The file that grows is cut at the same places by whoever continues.
    assert PART == 1_048_576


@pytest.mark.parametrize("name", ["checkpoints/x-1.json", "checkpoints/5.json", "claims/5-1.json"])
def test_what_is_no_mark_of_a_checkpoint_has_no_step(name):
    assert step_of(name) == -1
    assert stored(**{name: 1.0}).checkpoints == []


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
