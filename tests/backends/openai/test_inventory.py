"""Jobs, models and files of a server: a real client against a real server on this machine."""

import resource
import time

import pytest

from backends.contract.errors import BackendError, FileMissing, MachineFailed, NotOffered
from backends.contract.guard.guarded import guard
from backends.contract.inventory import HostedFile
from backends.contract.jobs import JobState
from backends.testing import ScriptedBackend
from tests.backends.openai.openai_helpers import MODEL
from tests.backends.openai.servers.fault_server import Fault

LINES = b'{"messages": []}\n' * 12


def add_job(server, *, suffix="triage", state="succeeded", data=LINES, validation=None, **changes):
    """Give the server a job that somebody made elsewhere."""
    files = {
        key: server.add_file(f"{key}.jsonl", len(content), "fine-tune", content)["id"]
        for key, content in (("training_file", data), ("validation_file", validation))
        if content is not None
    }
    _, job = server.create_job(None, {"model": MODEL, "suffix": suffix, **files})
    job = server.jobs[job["id"]]
    job |= {"status": state, **changes}
    if state == "succeeded":
        server.finish(job["id"], **changes)
    return job


def test_a_job_is_shown_with_all_that_the_server_tells(server, backend):
    settings = {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.8}
    job = add_job(server, validation=LINES[:17], seed=7, hyperparameters=settings)
    server.models[job["fine_tuned_model"]]["shutdown_date"] = "2027-01-14"

    (hosted,) = backend.inventory()

    assert (hosted.job_id, hosted.model_id) == (job["id"], job["fine_tuned_model"])
    assert (hosted.base_model, hosted.method, hosted.seed) == (MODEL, "supervised", 7)
    assert (hosted.suffix, hosted.state, hosted.is_listed) == ("triage", JobState.SUCCEEDED, True)
    assert hosted.hyperparameters == settings
    assert (hosted.trained_tokens, hosted.shutdown_date) == (1234, "2027-01-14")
    assert hosted.organization == "org-1"
    train, validation = hosted.training_file, hosted.validation_file
    assert (train.name, train.size_bytes, train.available) == ("training_file.jsonl", 204, True)
    assert validation.size_bytes == 17


def test_what_is_gone_is_told(server, backend):
    job = add_job(server)
    del server.files[job["training_file"]], server.models[job["fine_tuned_model"]]

    (hosted,) = backend.inventory()

    assert hosted.training_file.available is False
    assert hosted.is_listed is False


def test_a_failed_job_has_its_reason_and_no_model(server, backend):
    add_job(server, state="failed", error={"code": "invalid_training_file", "message": "bad row"})
    add_job(server, state="running")

    running, failed = backend.inventory()

    assert (failed.state, failed.model_id) == (JobState.FAILED, None)
    assert "bad row" in failed.error
    assert (running.state, running.model_id) == (JobState.RUNNING, None)


def test_a_model_without_its_job_comes_last(server, backend):
    job = add_job(server)
    for model in ("ft:gpt-4o-mini-2024-07-18:acme:faq:Xy1", "gpt-4o-mini-2024-07-18"):
        server.models[model] = {"id": model, "owned_by": "acme", "created": 5}
    checkpoint = f"{job['fine_tuned_model']}:ckpt-step-20"
    server.models[checkpoint] = {"id": checkpoint, "owned_by": "acme", "created": 5}

    first, last = backend.inventory()

    assert first.job_id == job["id"]
    assert last.job_id is None
    assert (last.base_model, last.suffix, last.organization) == (MODEL, "faq", "acme")


def test_a_server_without_lists_of_models_and_files(server, backend):
    add_job(server)
    server.put_fault("GET", "/models", Fault("404"))
    server.put_fault("GET", "/files", Fault("403"))

    (hosted,) = backend.inventory()

    assert hosted.is_listed is None
    assert hosted.training_file.available is None


def test_a_server_without_jobs_offers_no_list(server, backend):
    server.put_fault("GET", "/fine_tuning/jobs", Fault("404"))
    with pytest.raises(NotOffered, match="offers no list of fine-tuning jobs"):
        list(backend.inventory())


def test_a_backend_without_the_method_offers_no_list(tmp_path):
    bare = guard("bare", lambda: ScriptedBackend(tmp_path), built_in=False)
    with pytest.raises(NotOffered, match="backend bare offers no list of its models"):
        list(bare.inventory())
    with pytest.raises(NotOffered, match="backend bare gives no files"):
        bare.download(HostedFile(id="f"), tmp_path / "x")


def test_ten_thousand_jobs_are_read_in_pages(server, backend):
    job = add_job(server)
    for number in range(1, 10_000):
        server.jobs[f"ftjob-{number:06d}"] = {
            **job,
            "id": f"ftjob-{number:06d}",
            "fine_tuned_model": f"ft:{MODEL}:org:m:{number}",
        }
    started_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    count = sum(1 for _ in backend.inventory())

    assert count == 10_000
    assert len([request for request in server.requests if "jobs" in request[1]]) == 100
    assert time.monotonic() - started_s < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


# --- files -------------------------------------------------------------------------------------


@pytest.fixture
def hosted_file(server, backend):
    add_job(server, data=LINES * 50_000)
    (hosted,) = backend.inventory()
    return hosted.training_file


def test_a_file_arrives_as_a_whole(backend, hosted_file, tmp_path):
    backend.download(hosted_file, tmp_path / "a.jsonl")

    assert (tmp_path / "a.jsonl").read_bytes() == LINES * 50_000
    assert (tmp_path / "a.jsonl").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("fault", [Fault("drop"), Fault("500"), Fault("429")])
def test_a_download_that_breaks_off_is_repeated(server, backend, hosted_file, tmp_path, fault):
    server.put_fault("GET", f"/files/{hosted_file.id}/content", fault)

    backend.download(hosted_file, tmp_path / "a.jsonl")

    assert (tmp_path / "a.jsonl").stat().st_size == hosted_file.size_bytes


def test_a_short_file_is_no_file(server, backend, hosted_file, tmp_path):
    server.contents[hosted_file.id] = LINES
    (tmp_path / "a.jsonl").write_text("as it was")

    with pytest.raises(BackendError, match="and 204 arrived"):
        backend.download(hosted_file, tmp_path / "a.jsonl")

    assert (tmp_path / "a.jsonl").read_text() == "as it was"
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.fixture
def small_files():
    """Let no file of this process grow over 64 KiB, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_files")
def test_a_file_for_which_there_is_no_room(backend, hosted_file, tmp_path):
    with pytest.raises(MachineFailed, match=r"a\.jsonl cannot be written: File too large") as error:
        backend.download(hosted_file, tmp_path / "a.jsonl")

    assert error.value.remedy.startswith("Free some space there")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_folder_that_takes_no_file(backend, hosted_file, tmp_path):
    with pytest.raises(MachineFailed, match=r"none/a\.jsonl cannot be written: No such file"):
        backend.download(hosted_file, tmp_path / "none/a.jsonl")


@pytest.mark.parametrize(
    ("status", "words"), [("404", "have|give"), ("400", "give"), ("403", "give")]
)
def test_a_file_that_is_not_given(server, backend, hosted_file, tmp_path, status, words):
    server.put_fault("GET", f"/files/{hosted_file.id}/content", *[Fault(status)] * 3)

    with pytest.raises(FileMissing, match=f"does not ({words}) the file {hosted_file.id}"):
        backend.download(hosted_file, tmp_path / "a.jsonl")

    assert not [path for path in tmp_path.iterdir() if path.is_file()]
