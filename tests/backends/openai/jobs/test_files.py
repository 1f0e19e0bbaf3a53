"""Files go up once and streaming; the largest in parts."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backends.contract.errors import BackendError
from backends.openai.jobs import files
from backends.openai.limits import PUBLISHED
from tests.backends.openai.openai_helpers import QUICK
from tests.backends.openai.servers.fault_server import KEY, Fault

ROOT = Path(__file__).parents[4]


def test_a_file_is_named_by_its_bytes_and_found_again(server, open_backend, make_request):
    request = make_request()
    digest = hashlib.sha256(request.train.read_bytes()).hexdigest()

    open_backend().submit(request)
    open_backend().submit(make_request(attempt=2))

    assert next(file["filename"] for file in server.files.values()) == f"ftctl-{digest}.jsonl"
    assert len(server.files) == 2
    assert server.contents["file-0000"] == request.train.read_bytes()


@pytest.mark.parametrize(
    "change", [{"bytes": 1}, {"purpose": "assistants"}, {"status": "error"}, {"filename": "x"}]
)
def test_another_file_is_not_taken_for_ours(server, open_backend, make_request, change):
    open_backend().submit(make_request())
    for file in server.files.values():
        file.update(change)

    open_backend().submit(make_request(attempt=2))

    assert len(server.files) == 4


def test_above_the_limit_a_file_goes_up_in_parts(server, backend, make_request, monkeypatch):
    monkeypatch.setattr(files, "PART_BYTES", 100)

    job = backend.submit(make_request())

    name = server.files[server.jobs[job.id]["training_file"]]["filename"]
    assert name.startswith("ftctl-")
    assert ("POST", "/uploads/upload_0/complete") in [one[:2] for one in server.requests]


def test_a_file_that_no_server_takes_is_refused_before_anything_is_sent(
    server, open_backend, make_request, monkeypatch, tmp_path
):
    small = replace(PUBLISHED["openai"], file_bytes=100)
    monkeypatch.setitem(PUBLISHED, "openai", small)

    with pytest.raises(BackendError, match="the server takes at most"):
        open_backend(tmp_path / "kept").submit(make_request())

    assert not server.files
    assert not list((tmp_path / "kept").rglob("*.json"))


def test_a_server_of_unknown_limits_gets_files_of_any_size(
    server, open_backend, make_request, monkeypatch
):
    monkeypatch.setattr(files, "PART_BYTES", 100)
    server.put_fault("POST", "/uploads", *[Fault("404", body={"detail": "Not Found"})] * 2)

    open_backend(kind="compatible").submit(make_request())

    assert len(server.files) == 2


@pytest.mark.parametrize("word", ["uploaded", "pending", "running", "notRunning"])
def test_a_job_waits_until_its_files_are_read(server, backend, make_request, word):
    server.needs_read_files = True
    server.file_statuses = [word, word, word]

    backend.submit(make_request())

    creates = [one for one in server.requests if one[:2] == ("POST", "/fine_tuning/jobs")]
    assert (len(server.jobs), len(creates)) == (1, 1)
    assert {file["status"] for file in server.files.values()} == {"processed"}


def test_a_job_that_is_refused_for_unread_files_is_made_later(server, open_backend, make_request):
    server.needs_read_files = True
    server.file_statuses = ["uploaded"] * 4

    open_backend(retry_policy=replace(QUICK, uploaded_s=0.0)).submit(make_request())

    assert len(server.jobs) == 1


def test_a_file_that_stays_uploaded_is_good_enough_after_a_while(
    server, open_backend, make_request
):
    server.file_statuses = ["uploaded"] * 1000

    open_backend(retry_policy=replace(QUICK, uploaded_s=0.1)).submit(make_request())

    assert len(server.jobs) == 1


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["pending"] * 1000, "is still reading the file file-0000 \\(pending\\)"),
        (["uploaded", "error"], "cannot read the file file-0000"),
    ],
)
def test_no_job_is_made_from_a_file_that_is_not_read(
    server, open_backend, make_request, statuses, said
):
    server.file_statuses = statuses

    with pytest.raises(BackendError, match=said):
        open_backend(retry_policy=replace(QUICK, processed_s=0.1)).submit(make_request())

    assert not server.jobs


PROGRAM = """
import resource, sys
from pathlib import Path
from backends.openai.api.client import Client
from backends.openai.api.endpoints import Settings
from backends.openai.jobs.files import ensure_file, read_local
from backends.openai.jobs import files
from backends.openai.jobs.submission_log import SubmissionLog
from backends.openai.jobs.submit_context import SubmitContext
from backends.openai.api.retry_policy import RetryPolicy
from backends.openai.api.waiting import Waiting
if sys.argv[4] == "parts":
    files.PART_BYTES = 1
client = Client(Settings(base_url=sys.argv[1], api_key=sys.argv[2]))
client.list_files(limit=1, after=None)
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
context = SubmitContext(
    client=client, server="server", kind="openai", trusted=False,
    log=SubmissionLog(Path(sys.argv[3]).parent), policy=RetryPolicy(), waiting=Waiting(),
)
ensure_file(context, read_local(Path(sys.argv[3]), None))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) // 1024)
"""


@pytest.mark.parametrize(("way", "megabytes"), [("whole", 40), ("parts", 150)])
def test_uploading_does_not_read_the_file_into_memory(server, tmp_path, way, megabytes):
    path = tmp_path / "big.jsonl"
    with path.open("wb") as file:
        file.truncate(200 << 20)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, server.url, KEY, str(path), way],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < megabytes
    assert [file["bytes"] for file in server.files.values()] == [200 << 20]
