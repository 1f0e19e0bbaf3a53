"""What was trained for a pull request, against what the repository has recorded."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.lockfile.early import (
    PullRecord,
    begin,
    early_builds,
    is_taken_over,
    joined,
    own_records,
)
from controller.lockfile.model import Entry, Lockfile

NAMES = ("alpha", "카페")
INPUTS = ("a", "b", "c")
"""Of trainings: few, so that two sides share some."""
EACH = settings(
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def fingerprints(keys):
    return st.sets(st.sampled_from(keys))


SIDES = st.dictionaries(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {
            "builds": fingerprints(INPUTS),
            "failures": fingerprints(INPUTS),
            "attempts": st.dictionaries(st.sampled_from(INPUTS), st.integers(1, 3)),
            "job": st.none() | st.sampled_from(INPUTS),
            "candidate": st.booleans(),
        }
    ),
)
"""Lockfiles of one side, in short."""


@pytest.fixture
def lockfile(make):
    """Return a function that makes a lockfile of what is written in short."""
    wanted = {
        (name, key): make.desired(name, seed=number)
        for number, key in enumerate(INPUTS)
        for name in NAMES
    }
    builds = {at: make.build(desired) for at, desired in wanted.items()}
    jobs = {at: make.open_job(desired) for at, desired in wanted.items()}
    failure = make.failure()

    def entry(name, *, builds_of=(), failures=(), attempts=None, job=None, candidate=False):
        trained = sorted(builds_of)
        return Entry(
            candidate=builds[name, trained[0]].fingerprint if candidate and trained else None,
            job=None if job is None else jobs[name, job],
            builds={builds[name, key].fingerprint: builds[name, key] for key in trained},
            failures={jobs[name, key].fingerprint: failure for key in failures},
            attempts={
                jobs[name, key].fingerprint: count for key, count in (attempts or {}).items()
            },
        )

    def made(side):
        entries = {
            name: entry(name, builds_of=short.pop("builds", ()), **short)
            for name, short in ((name, dict(short)) for name, short in side.items())
        }
        return Lockfile(finetunes=entries)

    return made


def kept(lockfile):
    """Return everything that a lockfile remembers of trainings."""
    return {
        (name, kind, key)
        for name, entry in lockfile.finetunes.items()
        for kind in ("builds", "failures")
        for key in getattr(entry, kind)
    }


@pytest.mark.parametrize(
    ("own", "recorded", "expected"),
    [
        ({"카페": {"builds": "a"}}, {"카페": {"builds": "ab"}}, True),
        ({"카페": {"builds": "ab"}}, {"카페": {"builds": "a"}}, False),
        ({"카페": {"builds": "a"}}, {}, False),
        # A build of the same inputs serves under any name.
        ({"카페": {"builds": "a"}, "alpha": {"builds": "b"}}, {"카페": {"builds": "a"}}, False),
        ({"카페": {"builds": "a", "job": "b"}}, {"카페": {"builds": "ab"}}, False),
        ({"카페": {"builds": "a", "failures": "b"}}, {"카페": {"builds": "a"}}, True),
        # Not merged: the next run has to know what failed, and how often.
        ({"카페": {"failures": "a"}}, {"카페": {"builds": "b"}}, False),
        ({"카페": {"attempts": {"a": 2}}}, {}, False),
        ({}, {"카페": {"builds": "a"}}, False),
    ],
)
def test_it_is_taken_over_when_the_repository_has_each_build(lockfile, own, recorded, expected):
    record = PullRecord(pull=12, lockfile=lockfile(own))
    assert is_taken_over(record, lockfile(recorded)) is expected


def test_of_equal_builds_that_of_the_first_request_counts(lockfile):
    records = [
        PullRecord(pull=30, lockfile=lockfile({"카페": {"builds": "ab"}})),
        PullRecord(pull=7, lockfile=lockfile({"카페": {"builds": "b"}})),
    ]
    found = early_builds(records)
    assert sorted(early.pull for early in found.values()) == [7, 30]
    assert all(early.build.fingerprint == key for key, early in found.items())
    assert {early.name for early in found.values()} == {"카페"}


def test_training_for_a_request_sees_no_open_job_of_the_repository(lockfile):
    """It would cancel it, as the job of inputs that are not declared any more."""
    recorded = lockfile({"카페": {"builds": "a", "job": "b", "candidate": True}})
    own = lockfile({"카페": {"job": "c"}, "alpha": {"builds": "a", "candidate": True}})
    working = begin(recorded, own)
    assert working.finetunes["카페"].job == own.finetunes["카페"].job
    assert working.finetunes["카페"].candidate == recorded.finetunes["카페"].candidate
    assert working.finetunes["alpha"].candidate is not None
    assert begin(recorded, Lockfile()).finetunes["카페"].job is None


def test_a_request_keeps_what_is_in_production(lockfile, make):
    build = make.build(make.desired("카페"))
    recorded = Lockfile(finetunes={"카페": make.entry(build, production=build, protect=True)})
    working = begin(recorded, lockfile({"카페": {"builds": "a"}}))
    assert working.finetunes["카페"].production == build.fingerprint
    assert working.finetunes["카페"].protect
    assert own_records(working, recorded) == lockfile({"카페": {"builds": "a"}})


@EACH
@given(recorded=SIDES, own=SIDES)
def test_what_a_request_has_begun_with_is_not_its_own(lockfile, recorded, own):
    """Own records are exactly those that the repository lacks, however often they are split."""
    whole, mine = lockfile(recorded), lockfile(own)
    working = begin(whole, mine)
    assert kept(working) == kept(whole) | kept(mine)
    split = own_records(working, whole)
    assert kept(split) == kept(mine) - kept(whole)
    assert own_records(begin(whole, split), whole) == split
    assert Entry() not in split.finetunes.values()
    for entry in split.finetunes.values():
        assert entry.production is None
        assert entry.candidate is None or entry.candidate in entry.builds


@EACH
@given(fetched=SIDES, here=SIDES)
def test_two_machines_lose_nothing_of_a_request(lockfile, fetched, here):
    theirs, mine = lockfile(fetched), lockfile(here)
    both = joined(theirs, mine)
    assert kept(both) == kept(theirs) | kept(mine)
    for name, entry in both.finetunes.items():
        ended = {*entry.builds, *entry.failures}
        jobs = [
            side.finetunes[name].job
            for side in (mine, theirs)
            if name in side.finetunes and side.finetunes[name].job is not None
        ]
        # A job that one side saw end is not waited for again.
        still_open = [job for job in jobs if job.fingerprint not in ended]
        assert entry.job == (still_open[0] if still_open else None)
    assert joined(both, both) == both
