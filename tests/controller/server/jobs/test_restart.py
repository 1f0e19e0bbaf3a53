"""A server that ends, however it does, and starts again goes on with everything."""

import pytest

from backends.contract.errors import BackendError
from controller.errors import FtctlError
from tests.controller.server.serve_helpers import BASE, Trainer, lines, serving, until, upload


def test_everything_is_there_after_a_restart(tmp_path):
    backend = Trainer(tmp_path / "s", script=["running"])
    with serving(tmp_path, backend) as server:
        client = server.client
        file = upload(client)
        running = client.fine_tuning.jobs.create(
            model=BASE, training_file=file.id, metadata={"a": "b"}, suffix="x"
        )
        until(client, running.id, "running")
        part = client.uploads.create(
            filename="a.jsonl", bytes=4, mime_type="text/plain", purpose="fine-tune"
        )
        first = client.uploads.parts.create(part.id, data=b"12")
        before = client.fine_tuning.jobs.retrieve(running.id)
    backend.set_script("job-1", "running", "succeeded")
    with serving(tmp_path, Trainer(tmp_path / "s")) as server:
        client = server.client
        assert client.files.retrieve(file.id) == file
        assert client.files.content(file.id).read() == lines()
        second = client.uploads.parts.create(part.id, data=b"34")
        done = client.uploads.complete(part.id, part_ids=[first.id, second.id])
        assert client.files.content(done.file.id).read() == b"1234"
        after = until(client, running.id, "succeeded")
        same = ("id", "created_at", "seed", "metadata", "training_file", "hyperparameters")
        assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
        assert server.backend.submitted == 1
        assert client.chat.completions.create(
            model=after.fine_tuned_model, messages=[{"role": "user", "content": "?"}]
        )
    with serving(tmp_path, Trainer(tmp_path / "s")) as server:
        events = server.client.fine_tuning.jobs.list_events(running.id, limit=50).data
        assert sum(event.message.startswith("Created") for event in events) == 1


def test_a_job_submitted_right_before_the_end_is_found_again(tmp_path, eventually):
    """The backend has the run, and the server never wrote that down."""

    class Losing(Trainer):
        def submit(self, request):
            super().submit(request)
            raise OSError("the disk is full")

    with serving(tmp_path, Losing(tmp_path / "s")) as server:
        file = upload(server.client)
        job = server.client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
        eventually(lambda: server.backend.submitted)
    with serving(tmp_path, Trainer(tmp_path / "s")) as server:
        until(server.client, job.id, "succeeded")
        assert server.backend.submitted == 1


def test_a_job_cancelled_right_before_the_end_stops_afterwards(tmp_path, eventually):
    class Deaf(Trainer):
        def cancel(self, *_):
            raise BackendError("not now")

    with serving(tmp_path, Deaf(tmp_path / "s", script=["running"])) as server:
        job = server.client.fine_tuning.jobs.create(
            model=BASE, training_file=upload(server.client).id
        )
        until(server.client, job.id, "running")
        server.client.fine_tuning.jobs.cancel(job.id)
    backend = Trainer(tmp_path / "s")
    with serving(tmp_path, backend):
        eventually(lambda: backend.jobs[0].state == "cancelled")


def test_a_backend_out_of_order_is_waited_for(tmp_path):
    class Moody(Trainer):
        moods = 3

        def observe(self, job_ids):
            if self.moods and list(job_ids):
                self.moods -= 1
                raise BackendError("no disk")
            return super().observe(job_ids)

    with serving(tmp_path, Moody(tmp_path / "s")) as server:
        job = server.client.fine_tuning.jobs.create(
            model=BASE, training_file=upload(server.client).id
        )
        until(server.client, job.id, "succeeded")


def test_half_received_files_are_swept_and_damage_is_named(tmp_path):
    with serving(tmp_path) as server:
        file = upload(server.client)
    folder = tmp_path / ".ftctl" / "server" / "files"
    (folder / "file-orphan.bin").write_bytes(b"x")
    (folder / ".incoming" / "half").write_bytes(b"x")
    with serving(tmp_path) as server:
        assert [one.id for one in server.client.files.list()] == [file.id]
    assert not (folder / "file-orphan.bin").exists()
    assert not [*(folder / ".incoming").iterdir()]
    (folder / f"{file.id}.json").write_bytes(b"{")
    with pytest.raises(FtctlError, match="is damaged"), serving(tmp_path):
        pass
