"""The submit protocol against a server that does not misbehave, and one that knows less."""

from dataclasses import replace

import pytest

from backends.base import BackendError, JobState


def test_a_job_is_created_with_its_key_in_the_metadata(server, backend, make_request):
    request = make_request()

    job = backend.submit(request)

    assert (job.fingerprint, job.attempt, job.state) == (request.fingerprint, 1, JobState.QUEUED)
    made = server.jobs[job.id]
    assert made["metadata"] == {
        "ftctl_fingerprint": request.fingerprint,
        "ftctl_attempt": "1",
        "ftctl_name": "cafe-consultant",
    }
    assert made["user_provided_suffix"].startswith("cafe-consultant-")
    assert made["seed"] == 42
    assert made["validation_file"] is not None


def test_submitting_again_returns_the_job_from_any_machine(server, open_backend, make_request):
    request = make_request()

    first = open_backend().submit(request)
    second = open_backend().submit(request)

    assert first == second
    assert len(server.jobs) == 1
    assert len(server.files) == 2
