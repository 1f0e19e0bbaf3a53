"""What the job runner makes of each state of a job and of its run, one step at a time."""

import errno
from dataclasses import dataclass, replace

import anyio
import anyio.from_thread
import pytest

from backends.contract.errors import BackendError
from backends.stores.objects import StoreUnavailable
from backends.testing import FAILS
from controller.project.project import Project
from controller.server.files.file_store import FINE_TUNE, FileRecord, FileStore
from controller.server.jobs.job_events import newest_first
from controller.server.jobs.job_record import JobRecord, Status
from controller.server.jobs.job_runner import JobRunner
from controller.server.jobs.job_store import JobStore
from controller.server.limits import Limits
from controller.server.models import Catalog
from controller.server.record_store import new_id
from controller.spec.settings import ServeSettings
from tests.controller.server.serve_helpers import BASE, Trainer, lines

SETTINGS = {"learning_rate": 1e-4, "num_train_epochs": 3}


@dataclass
class Runner:
    """A runner, its stores and its backend, without HTTP and without a task of its own."""

    jobs: JobStore
    files: FileStore
    backend: Trainer
    runner: JobRunner

    def file(self, content, file_id="file-train"):
        with self.files.incoming() as path:
            path.write_bytes(content)
            facts = {"filename": "a.jsonl", "purpose": FINE_TUNE, "bytes": len(content)}
            record = FileRecord(id=file_id, created_s=1.0, sha256="", **facts)
            self.files.adopt(path, record)
        return file_id

    def add(self, **changes):
        """Add a job of the file `file-train`, which is made if it is not there."""
        if "file-train" not in self.files.records:
            self.file(lines())
        record = JobRecord(
            id=new_id("ftjob-"),
            created_s=1.0 + len(self.jobs.records),
            model=BASE,
            training_file="file-train",
            validation_file=None,
            suffix=None,
            seed=1,
            metadata=None,
            method="supervised",
            asked={},
            settings=SETTINGS,
        )
        record = replace(record, **changes)
        anyio.run(self.jobs.add, record)
        return record.id

    def check(self):
        anyio.run(self.runner.check_files)

    def step(self, times=1):
        for _ in range(times):
            anyio.run(self.runner.move_on)

    def running(self, **changes):
        """Add a job and bring it to its run, `job-1` for the first."""
        job_id = self.add(**changes)
        self.check()
        self.step()
        return job_id

    def become(self, job_id, status):
        anyio.run(self.jobs.change, job_id, lambda now: replace(now, status=status))

    def __getitem__(self, job_id):
        return self.jobs.records[job_id]

    def last_event(self, job_id):
        return newest_first(job_id, self.jobs.events_file(job_id), [], 0)[0].message


def make(root, backend=None, **limits):
    backend = backend or Trainer(root / "backend", script=["queued"])
    folder = root / "server"
    limits = Limits(**limits)
    jobs, files = JobStore(folder / "jobs"), FileStore(folder / "files", limits)
    project = Project(root=root, state=root / ".ftctl")
    catalog = Catalog(project, backend, ServeSettings(base_models=[f"../models/{BASE}"]), jobs)
    return Runner(jobs, files, backend, JobRunner(backend, catalog, jobs, files, limits))


@pytest.fixture
def server(tmp_path):
    return make(tmp_path)


@pytest.mark.parametrize(
    ("status", "state", "becomes", "event"),
    [
        (Status.QUEUED, "queued", Status.QUEUED, None),
        (Status.QUEUED, "running", Status.RUNNING, "Fine-tuning job started"),
        (Status.QUEUED, "interrupted", Status.QUEUED, None),
        (Status.RUNNING, "running", Status.RUNNING, None),
        (Status.RUNNING, "queued", Status.QUEUED, "Waiting for a free device"),
        (Status.RUNNING, "interrupted", Status.RUNNING, None),
        (Status.RUNNING, "succeeded", Status.SUCCEEDED, "The job has successfully completed"),
        (Status.RUNNING, "failed", Status.FAILED, "The job failed: the script says so"),
        (Status.RUNNING, "cancelled", Status.CANCELLED, "The job's run was cancelled"),
        (Status.RUNNING, "vanished", Status.FAILED, "The job failed: The job's run does not"),
        (Status.PAUSING, "running", Status.PAUSING, None),
        (Status.PAUSING, "interrupted", Status.PAUSED, "The job is paused"),
        (Status.PAUSING, "succeeded", Status.SUCCEEDED, "The job has successfully completed"),
        (Status.PAUSED, "interrupted", Status.PAUSED, None),
        (Status.CANCELLED, "succeeded", Status.CANCELLED, None),
        (Status.FAILED, "running", Status.FAILED, None),
    ],
)
def test_one_step_for_each_state_of_job_and_run(server, status, state, becomes, event):
    job_id = server.running()
    server.become(job_id, status)
    server.backend.set_script("job-1", state)
    before = server.last_event(job_id)
    server.step()
    assert server[job_id].status == becomes
    if event is None:
        assert server.last_event(job_id) == before
    else:
        assert server.last_event(job_id).startswith(event)
    has_ended_now = status.is_open and not becomes.is_open
    assert (server[job_id].finished_s is not None) == has_ended_now


@pytest.mark.parametrize(
    ("status", "state", "submits"),
    [
        (Status.RUNNING, "interrupted", 1),
        (Status.QUEUED, "interrupted", 1),
        (Status.PAUSING, "interrupted", 0),
        (Status.PAUSED, "interrupted", 0),
        (Status.RUNNING, "running", 0),
        (Status.RUNNING, "vanished", 0),
    ],
)
def test_only_an_interrupted_run_is_submitted_again(server, status, state, submits):
    job_id = server.running()
    server.become(job_id, status)
    server.backend.set_script("job-1", state, "running")
    before = server.backend.calls["submit"]
    server.step()
    assert server.backend.calls["submit"] - before == submits
    assert server.backend.submitted == 1
    assert server[job_id].run.id == "job-1"


def test_a_pausing_job_that_still_runs_is_asked_again(server):
    job_id = server.running()
    server.become(job_id, Status.PAUSING)
    server.step()
    assert [job.state for job in server.backend.jobs] == ["interrupted"]
    server.step()
    assert server[job_id].status == "paused"
    server.become(job_id, Status.QUEUED)
    server.step(4)
    assert server[job_id].status == "succeeded"
    assert server.backend.submitted == 1


def test_the_end_of_a_run_is_recorded_with_its_model_and_metrics(server):
    job_id = server.running()
    server.backend.set_script("job-1", "succeeded")
    server.step()
    job = server[job_id]
    assert job.backend_model.startswith("scripted:job:")
    assert (job.trained_tokens, job.last_step["train_loss"]) == (1000, 1.0)
    assert server.files.content(server.files.get(job.result_file)).read_bytes() == (
        b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
        b"1,2.0,,,\n2,1.0,,1.5,\n"
    )
    assert [path.name for path in server.jobs.folder(job_id).iterdir()] == ["events.jsonl"]


def test_a_result_file_that_a_crash_left_is_used(server):
    """The server died after it wrote the file, and before it wrote down the end of the job."""
    job_id = server.running()
    file_id = server.file(b"from before", job_id.replace("ftjob-", "file-"))
    server.backend.set_script("job-1", "succeeded")
    server.step()
    assert (server[job_id].status, server[job_id].result_file) == ("succeeded", file_id)
    assert server.files.content(server.files.get(file_id)).read_bytes() == b"from before"


def test_a_failure_that_names_a_line_of_the_file_blames_the_file(tmp_path):
    class Strict(Trainer):
        def observe(self, job_ids):
            said = "file-train:3: the example is too long"
            seen = super().observe(job_ids)
            return {key: replace(job, error=said) for key, job in seen.items()}

    server = make(tmp_path, Strict(tmp_path / "backend", script=FAILS))
    job_id = server.running()
    server.step(3)
    error = server[job_id].error
    assert (error.code, error.param) == ("invalid_training_file", "training_file")
    assert error.message == "file-train:3: the example is too long"


def test_no_more_runs_than_allowed_and_the_oldest_first(tmp_path):
    server = make(tmp_path, runs=2)
    ids = [server.add(seed=seed) for seed in range(4)]
    server.check()
    server.step(2)
    assert [server[job_id].run is not None for job_id in ids] == [True, True, False, False]
    server.backend.set_script("job-1", "succeeded")
    server.step()
    assert [server[job_id].run is not None for job_id in ids] == [True, True, True, False]


def test_equal_jobs_share_a_run_and_count_once(tmp_path):
    server = make(tmp_path, runs=2)
    ids = [server.add(seed=seed) for seed in (1, 1, 2, 3)]
    server.check()
    server.step(2)
    runs = [server[job_id].run and server[job_id].run.id for job_id in ids]
    assert runs == ["job-1", "job-1", "job-2", None]


@pytest.mark.parametrize("changes", [{"seed": 2}, {"method": "dpo"}, {"settings": {"a": 1}}])
def test_other_inputs_are_another_run(server, changes):
    server.running()
    server.backend.calls.clear()
    other = server.add()
    server.check()
    anyio.run(server.jobs.change, other, lambda now: replace(now, **changes))
    server.step()
    assert server[other].run.id == "job-2"


@pytest.mark.parametrize(
    "changes", [{"suffix": "x"}, {"metadata": {"a": "b"}}, {"asked": {"r": 4}}]
)
def test_names_do_not_make_another_run(server, changes):
    first, second = server.running(), server.running(**changes)
    assert server[first].run == server[second].run
    assert server.backend.submitted == 1


def test_the_fingerprint_of_a_run_is_pinned(server):
    """Jobs that ran before an upgrade must be found again after it."""
    job_id = server.running()
    digest = "d679e44904b4df72cef970b3cab2f2cebfcbf0c639dd2547860c8b9b32e33aad"
    assert server[job_id].run.fingerprint == f"serve1:{digest}"


@pytest.mark.parametrize(("shared", "state"), [(False, "cancelled"), (True, "running")])
def test_a_run_that_no_job_wants_is_cancelled(server, shared, state):
    job_id = server.running()
    if shared:
        server.running(suffix="other")
    server.backend.set_script("job-1", "running")
    anyio.run(server.jobs.cancel, job_id, "cancelled")
    server.runner.unwanted.add("job-1")
    server.step(2)
    assert [job.state for job in server.backend.jobs] == [state]
    assert server.runner.unwanted == set()


def test_a_job_cancelled_while_it_was_submitted_gives_its_run_up(tmp_path):
    class Slow(Trainer):
        def submit(self, request):
            [job] = server.jobs.open_jobs()
            anyio.from_thread.run(server.jobs.cancel, job.id, "cancelled meanwhile")
            return super().submit(request)

    server = make(tmp_path, Slow(tmp_path / "backend", script=["running"]))
    job_id = server.running()
    assert (server[job_id].status, server[job_id].run.id) == ("cancelled", "job-1")
    server.step()
    assert [job.state for job in server.backend.jobs] == ["cancelled"]


@pytest.mark.parametrize(
    ("during", "status", "has_data"),
    [(Status.PAUSED, "paused", True), (Status.CANCELLED, "cancelled", False)],
)
def test_a_job_changed_while_its_files_are_checked_keeps_the_change(
    tmp_path, during, status, has_data
):
    class Slow(Trainer):
        def inspector(self, *given):
            [job] = server.jobs.open_jobs()
            change = server.jobs.change
            anyio.from_thread.run(change, job.id, lambda now: replace(now, status=during))
            return super().inspector(*given)

    server = make(tmp_path, Slow(tmp_path / "backend"))
    job_id = server.add()
    server.check()
    assert server[job_id].status == status
    assert (server[job_id].data is not None) == has_data


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BackendError("no room", "Free some."), "training_failed", "no room. Free some."),
        (ZeroDivisionError("x"), "internal_error", "The server had an error (ZeroDivisionError)."),
    ],
)
def test_an_error_fails_its_job_and_no_other(tmp_path, error, code, said):
    class Moody(Trainer):
        def submit(self, request):
            if request.seed == 1:
                raise error
            return super().submit(request)

    server = make(tmp_path, Moody(tmp_path / "backend"))
    bad, good = server.add(seed=1), server.add(seed=2)
    server.check()
    server.step(2)
    assert (server[bad].status, server[bad].error.code) == ("failed", code)
    assert server[bad].error.message.startswith(said)
    assert server[good].run is not None


def test_a_store_that_is_away_fails_no_job_and_holds_up_no_other(tmp_path):
    class Away(Trainer):
        def submit(self, request):
            if request.seed == 1:
                raise StoreUnavailable("the store /runs is not there", "Mount it.")
            return super().submit(request)

    server = make(tmp_path, Away(tmp_path / "backend"))
    waits, good = server.add(seed=1), server.add(seed=2)
    server.check()
    with pytest.raises(StoreUnavailable):
        server.step()
    assert (server[waits].status, server[waits].run) == ("queued", None)
    assert server[good].run is not None


def test_a_full_disk_fails_no_job(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    backend = Trainer(tmp_path / "backend", raise_at={"submit": full})
    server = make(tmp_path, backend)
    job_id = server.add()
    server.check()
    with pytest.raises(OSError, match="No space"):
        server.step()
    assert (server[job_id].status, server[job_id].run) == ("queued", None)


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (lines(9), "invalid_n_examples", "The file has 9 example(s), but must have at least 10"),
        (b"", "invalid_training_file", "the file is empty"),
        (b"{}\n" + lines(10), "invalid_training_file", "Line 1: "),
        (None, "invalid_training_file", "file-train was deleted."),
    ],
)
def test_a_file_that_cannot_be_trained_on_fails_the_job(server, content, code, said):
    if content is not None:
        server.file(content)
    job_id = server.add()
    if content is None:
        server.files.remove(server.files.get("file-train"))
    server.check()
    error = server[job_id].error
    assert (error.code, error.param) == (code, "training_file")
    assert said in error.message
    assert server.last_event(job_id) == f"The job failed: {error.message}"


@pytest.mark.parametrize(("held_out", "examples"), [(None, 0), (lines(2, start=50), 2)])
def test_the_backend_gets_both_files(server, held_out, examples):
    changes = {} if held_out is None else {"validation_file": server.file(held_out, "file-held")}
    job_id = server.add(**changes)
    server.check()
    folder = server.jobs.folder(job_id)
    assert len((folder / "held_out.jsonl").read_bytes().splitlines()) == examples
    assert len((folder / "train.jsonl").read_bytes().splitlines()) == 12
    assert (server[job_id].data.held_out is None) == (held_out is None)
    assert server[job_id].data.examples == 12
