"""The faults of the submit protocol at a server of each kind: never two paid jobs."""

from dataclasses import replace

import pytest

from backends.openai.profiles.profile import PROFILES
from tests.backends.openai.openai_helpers import QUICK
from tests.backends.openai.servers.fault_server import Fault
from tests.backends.openai.servers.fault_table import (
    AT_CREATE,
    AT_UPLOAD,
    CREATE,
    LIST,
    UPLOAD,
    run,
    two_runs,
)
from tests.backends.openai.servers.servers_by_kind import SETTINGS, changes_for, server_of


@pytest.fixture(params=PROFILES)
def kind(request):
    return request.param


@pytest.fixture
def server(kind):
    started = server_of(kind)
    yield started
    started.close()


@pytest.fixture
def open_kind(open_backend, kind):
    return lambda state=None, **more: open_backend(
        state, kind=kind, **SETTINGS.get(kind, {}), **more
    )


@pytest.fixture
def request_here(open_kind, make_request, kind):
    return make_request(**changes_for(kind, open_kind().parse_hyperparameters))


OWN_IDS = [name for name, profile in PROFILES.items() if profile.api is not None]
"""Kinds where the client chooses the ID of a job, so that a create call may be sent again."""


def test_each_fault_at_the_create_call_leaves_one_job(server, open_kind, request_here, kind):
    for name, (fault, running, ending) in AT_CREATE.items():
        first, again = two_runs(server, open_kind, request_here, CREATE, fault)
        is_cleared = kind in OWN_IDS and ending == "unknown"
        expected = ("job", 1) if is_cleared else (ending, running)
        sent_again = is_cleared or (fault.kind == "429" and ending == "job")
        assert (first.ending, first.running) == expected, name
        assert first.sent == (2 if sent_again else 1), name
        assert (again.ending, again.running) == ("job", 1), name


def test_each_fault_at_the_upload_leaves_one_job(server, open_kind, request_here):
    for name, fault in AT_UPLOAD.items():
        first, again = two_runs(server, open_kind, request_here, UPLOAD, fault)
        assert (first.ending, first.running, first.files) == ("job", 1, 2), name
        assert (again.ending, again.running, again.files) == ("job", 1, 2), name


@pytest.mark.parametrize("after", [False, True])
def test_a_lagging_list_after_a_lost_answer(server, open_kind, request_here, tmp_path, after):
    server.lag = 10_000
    # The second one meets a call that is sent again, where the client chooses the ID.
    server.put_fault(*CREATE, Fault("drop", after=after), Fault("drop"))
    state = tmp_path / "kept"
    assert run(open_kind(state), request_here)[0] == "unknown"

    server.faults.clear()
    server.lag = 0
    for job in server.jobs.values():
        job["shown_from"] = server.count + 2
    slow = replace(QUICK, window_s=30.0 if after else 0.25)
    assert run(open_kind(state, retry_policy=slow), request_here)[0] == "job"
    assert len(server.trainings) == 1


def test_a_list_that_cannot_be_read_creates_nothing(server, open_kind, request_here):
    for fault in (Fault("401"), Fault("500"), Fault("html")):
        server.put_fault(*LIST, *[fault] * 10)
        assert run(open_kind(), request_here)[0] == "error"
        assert not server.jobs
    server.faults.clear()
    assert run(open_kind(), request_here)[0] == "job"
    assert len(server.trainings) == 1


def test_without_metadata_a_job_is_found_from_any_machine(server, open_kind, request_here):
    server.no_metadata = server.ignore_filter = True
    foreign = replace(request_here, fingerprint="ft1:" + "cd" * 32, seed=1)

    other = open_kind().submit(foreign)
    first = open_kind().submit(request_here)
    again = open_kind().submit(request_here)
    found = open_kind().find_jobs([request_here.fingerprint])

    assert other.id != first.id == again.id
    assert [job.id for job in found[request_here.fingerprint]] == [first.id]
    assert len(server.jobs) == 2


def test_another_attempt_after_a_failure_is_one_more_job(server, open_kind, request_here):
    first = open_kind().submit(request_here)
    server.fail(first.id)
    second = replace(request_here, attempt=2)

    jobs = [open_kind().submit(second).id for _ in range(2)]

    assert len({*jobs, first.id}) == 2
    assert len(server.trainings) == 1


@pytest.mark.parametrize("kind", [name for name in PROFILES if name not in OWN_IDS], indirect=True)
def test_a_job_that_was_made_under_another_kind_is_found(
    server, open_backend, open_kind, request_here, kind
):
    """An endpoint was `compatible` before its kind had a name; servers may keep metadata or not."""
    for keeps in (True, False):
        server.jobs.clear()
        made = open_kind().submit(request_here)
        if keeps:
            server.jobs[made.id]["metadata"] = {
                "ftctl_fingerprint": request_here.fingerprint,
                "ftctl_attempt": "1",
            }
        assert open_kind().submit(request_here).id == made.id
        assert open_backend(kind="compatible").submit(request_here).id == made.id
        assert len(server.trainings) == 1, kind
