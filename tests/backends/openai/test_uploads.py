"""Files go up once and streaming; the largest in parts."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from fault_server import KEY

from backends.base import BackendError
from backends.openai import files

ROOT = Path(__file__).parents[3]


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
    monkeypatch.setattr(files, "LARGEST_UPLOAD", 100)

    job = backend.submit(make_request())

    name = server.files[server.jobs[job.id]["training_file"]]["filename"]
    assert name.startswith("ftctl-")
    assert ("POST", "/uploads/upload_0/complete") in [one[:2] for one in server.requests]


def test_a_file_that_no_server_takes_is_refused_before_anything_is_sent(
    server, open_backend, make_request, monkeypatch, tmp_path
):
    monkeypatch.setattr(files, "LARGEST", 100)

    with pytest.raises(BackendError, match="servers take at most"):
        open_backend(tmp_path / "kept").submit(make_request())

    assert not server.files
    assert not list((tmp_path / "kept").rglob("*.json"))


PROGRAM = """
import resource, sys
from pathlib import Path
from backends.openai.client import Client
from backends.openai.endpoints import Settings
from backends.openai.files import ensure_file, read_local
from backends.openai import files
from backends.openai.patience import Patience
if sys.argv[4] == "parts":
    files.LARGEST_UPLOAD = 1
client = Client(Settings(base_url=sys.argv[1], api_key=sys.argv[2]))
client.list_files(limit=1, after=None)
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ensure_file(client, read_local(Path(sys.argv[3])), Patience())
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
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < megabytes
    assert [file["bytes"] for file in server.files.values()] == [200 << 20]
