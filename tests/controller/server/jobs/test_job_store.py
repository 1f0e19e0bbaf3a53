"""Changes of jobs: one after the other, each with its event, none after the end."""

from dataclasses import replace

import anyio
import pytest

from controller.server.jobs.job_events import newest_first
from controller.server.jobs.job_record import JobError, JobRecord, Status
from controller.server.jobs.job_store import JobStore


@pytest.fixture
def jobs(tmp_path):
    store = JobStore(tmp_path)
    record = JobRecord(
        id="ftjob-1",
        created_s=1.0,
        model="base",
        training_file="file-1",
        validation_file=None,
        suffix=None,
        seed=1,
        metadata=None,
        method="supervised",
        asked={},
        settings={},
    )
    anyio.run(store.add, record)
    return store


def messages(jobs):
    return [e.message for e in newest_first("ftjob-1", jobs.events_file("ftjob-1"), [], 0)[::-1]]


def test_many_changes_at_once_lose_none(jobs):
    async def change_all():
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(
                    jobs.change,
                    "ftjob-1",
                    lambda now: replace(now, seed=now.seed + 1),
                    f"change {number}",
                )

    anyio.run(change_all)
    assert jobs.records["ftjob-1"].seed == 21
    assert len(set(messages(jobs))) == 22


def test_no_change_writes_nothing(jobs):
    before = messages(jobs)
    record = anyio.run(jobs.change, "ftjob-1", lambda now: now, "nothing")
    assert record is jobs.records["ftjob-1"]
    assert messages(jobs) == before


@pytest.mark.parametrize("even_ended", [False, True])
def test_a_job_that_has_ended_stays_as_it_ended(jobs, even_ended):
    async def late_change():
        await jobs.fail("ftjob-1", JobError(code="c", message="first"))
        await jobs.cancel("ftjob-1", "second")
        await jobs.fail("ftjob-1", JobError(code="c", message="third"))
        change, late = jobs.change, lambda now: replace(now, seed=99)
        return await change("ftjob-1", late, "late", even_ended=even_ended)

    record = anyio.run(late_change)
    assert (record.status, record.error.message) == (Status.FAILED, "first")
    assert record.seed == (99 if even_ended else 1)
    assert messages(jobs)[2:] == ["The job failed: first", *(["late"] if even_ended else [])]


def test_the_end_removes_the_training_data_and_keeps_the_log(jobs):
    folder = jobs.folder("ftjob-1")
    for name in ("train.jsonl", "train.origins", "held_out.jsonl", "held_out.origins"):
        (folder / name).write_bytes(b"x")
    (folder / "looks").mkdir()
    anyio.run(jobs.cancel, "ftjob-1", "enough")
    assert [path.name for path in folder.iterdir()] == ["events.jsonl"]


def test_whoever_waits_for_a_change_is_woken(jobs):
    async def wait():
        changed = jobs.changed
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(changed.wait)
                group.start_soon(jobs.cancel, "ftjob-1", "enough")
        return jobs.changed is not changed

    assert anyio.run(wait)


def test_all_of_it_is_there_after_a_restart(jobs, tmp_path):
    anyio.run(jobs.fail, "ftjob-1", JobError(code="c", message="m", param="p"))
    again = JobStore(tmp_path)
    assert dict(again.records) == dict(jobs.records)
    assert again.open_jobs() == []


@pytest.mark.parametrize(
    ("metadata", "wanted", "matches"),
    [
        (None, None, True),
        ({}, None, True),
        ({"a": "b"}, None, False),
        (None, {"a": "b"}, False),
        ({"a": "b", "c": "d"}, {"a": "b"}, True),
        ({"a": "b"}, {"a": "b", "c": "d"}, False),
        ({"a": "c"}, {"a": "b"}, False),
        ({"a": "b"}, {}, True),
    ],
)
def test_the_metadata_filter(jobs, metadata, wanted, matches):
    assert replace(jobs.records["ftjob-1"], metadata=metadata).matches(wanted) is matches


def test_the_name_of_a_model_stays_and_its_public_name_goes(jobs):
    made = replace(jobs.records["ftjob-1"], backend_model="m", suffix="cafe")
    name = "ft:base:local:cafe:1"
    assert (made.model_name, made.public_model, made.as_json()["fine_tuned_model"]) == (name,) * 3
    deleted = replace(made, model_deleted=True)
    assert (deleted.public_model, deleted.as_json()["fine_tuned_model"]) == (None, name)
