"""For each fault at the create call and at the upload: one job where one was wanted, never two."""

from dataclasses import replace

import pytest

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


def test_each_fault_leaves_one_job_where_one_was_wanted(server, open_backend, make_request, golden):
    lines = ["fault; jobs running after the run and after the next one; what was printed", ""]
    lines.append("at the create call")
    for name, (fault, running, ending) in AT_CREATE.items():
        first, again = two_runs(server, open_backend, make_request(), CREATE, fault)
        assert (first.ending, first.running) == (ending, running), name
        assert first.sent == (2 if fault.kind == "429" and ending == "job" else 1), name
        assert (again.ending, again.running) == ("job", 1), name
        lines.append(row(name, first, again))
    lines += ["", "at the upload"]
    for name, fault in AT_UPLOAD.items():
        first, again = two_runs(server, open_backend, make_request(), UPLOAD, fault)
        assert (first.ending, first.running, first.files) == ("job", 1, 2), name
        assert (again.ending, again.running, again.files) == ("job", 1, 2), name
        lines.append(row(name, first, again))

    golden("openai/fault-table.txt", "\n".join(lines).replace(server.url, "URL"))


def row(name, first, again):
    printed = "" if first.ending == "job" else first.said
    return f"{name:28} {first.running} {again.running}  {printed}".rstrip()


@pytest.mark.parametrize(
    "fault", [Fault("401"), Fault("html"), Fault("body", body={"object": "list"})]
)
def test_a_list_that_cannot_be_read_creates_nothing(server, open_backend, make_request, fault):
    server.put_fault(*LIST, fault)
    request = make_request()

    assert run(open_backend(), request)[0] == "error"
    assert not server.jobs
    assert not server.files
    assert run(open_backend(), request)[0] == "job"
    assert len(server.trainings) == 1


def test_after_a_lost_answer_the_next_run_waits_for_a_lagging_list(
    server, open_backend, make_request, tmp_path
):
    server.lag = 10_000
    server.put_fault(*CREATE, Fault("drop", after=True))
    request = make_request()
    state = tmp_path / "kept"
    assert run(open_backend(state), request)[0] == "unknown"
    assert len(list((state / "openai" / "intents").iterdir())) == 1

    for job in server.jobs.values():
        job["shown_from"] = server.count + 2
    slow = replace(QUICK, window_s=30.0)

    assert run(open_backend(state, retry_policy=slow), request)[0] == "job"
    assert len(server.jobs) == 1
    assert not list((state / "openai" / "intents").iterdir())


def test_while_the_list_cannot_be_read_nothing_is_sent_again(
    server, open_backend, make_request, tmp_path
):
    request = make_request()
    state = tmp_path / "kept"
    server.put_fault(*CREATE, Fault("drop", after=True))
    server.put_fault(*LIST, *[Fault("body", body={"data": []})] * 2, *[Fault("html")] * 100)

    ending, said = run(open_backend(state), request)
    assert (ending, len(server.jobs)) == ("unknown", 1)
    assert "the list of jobs cannot be read" in said
    assert run(open_backend(state), request)[0] == "unknown"
    assert len(server.jobs) == 1

    server.faults.clear()
    assert run(open_backend(state), request)[0] == "job"
    assert len(server.jobs) == 1
