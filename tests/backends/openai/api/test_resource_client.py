"""A service with paths of its own, from submission to deletion: what the fault table leaves out."""

from dataclasses import replace

import pytest

from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError, ModelMissing
from backends.contract.jobs import JobState
from backends.openai.api.endpoints import settings
from backends.openai.api.resource_bodies import filled
from backends.openai.profiles.profile import PROFILES
from tests.backends.openai.openai_helpers import write_request
from tests.backends.openai.servers.fireworks_server import ACCOUNT, FireworksServer
from tests.backends.openai.servers.servers_by_kind import changes_for

PROFILE = PROFILES["fireworks"]
STATES = (
    *("UNSPECIFIED", "CREATING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "DELETING"),
    *("WRITING_RESULTS", "VALIDATING", "DELETING_CLEANING_UP", "PENDING", "EXPIRED"),
    *("RE_QUEUEING", "CREATING_INPUT_DATASET", "IDLE", "CANCELLING", "EARLY_STOPPED", "PAUSED"),
    *("DELETED", "ARCHIVED"),
)


@pytest.fixture
def server():
    started = FireworksServer()
    yield started
    started.close()


@pytest.fixture
def backend(open_backend):
    return open_backend(kind="fireworks", account=ACCOUNT)


@pytest.fixture
def request_here(backend, tmp_path):
    return write_request(
        tmp_path / "data", **changes_for("fireworks", backend.parse_hyperparameters)
    )


def test_jobs_are_found_on_every_page(server, backend, request_here):
    server.most = 2
    requests = [replace(request_here, fingerprint="ft1:" + f"{n:02d}" * 32) for n in range(5)]
    made = {one.fingerprint: backend.submit(one).id for one in requests}

    found = backend.find_jobs(made)

    assert {key: [job.id for job in jobs] for key, jobs in found.items()} == {
        key: [job_id] for key, job_id in made.items()
    }
    tokens = [query.get("pageToken") for _, _, query, _ in server.requests if "pageSize" in query]
    assert tokens == [None, "2", "4"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"baseModel": "accounts/fireworks/models/other"}, "its base model is accounts/fireworks"),
        ({"epochs": 9}, "its n_epochs is 9, not 3"),
        ({"dataset": "accounts/acme/datasets/other"}, "its training file is other.jsonl"),
    ],
)
def test_a_job_under_our_id_that_is_not_ours_is_refused(
    server, backend, request_here, changed, said
):
    job = backend.submit(request_here)
    server.files["other"] = {
        "name": "accounts/acme/datasets/other",
        "displayName": "other.jsonl",
        "state": "READY",
    }
    server.jobs[job.id] |= changed

    with pytest.raises(BackendError, match="carries this fingerprint, but") as caught:
        backend.submit(request_here)

    assert said in caught.value.message
    assert len(server.trainings) == 1


def test_a_job_that_another_run_creates_meanwhile_is_taken_over(server, backend, request_here):
    made = server.create_job

    def race(query, body):
        made(query, body)
        return made(query, body)

    server.create_job = race
    place = ("POST", f"/accounts/{ACCOUNT}/supervisedFineTuningJobs")
    server.route = lambda method, path, query, body: (
        race(query, body)
        if (method, path) == place
        else FireworksServer.route(server, method, path, query, body)
    )

    job = backend.submit(request_here)

    assert [*server.jobs] == [job.id]


def test_an_upload_that_broke_off_is_filled(server, backend, request_here):
    backend.submit(request_here)
    server.jobs.clear()
    for file in server.files.values():
        file["state"] = "UPLOADING"
    server.contents.clear()

    backend.submit(request_here)

    assert len(server.files) == len(server.contents) == 2
    assert len(server.trainings) == 1


def test_a_job_waits_until_the_service_has_read_the_files(server, backend, request_here):
    server.keeps_uploading = 3

    backend.submit(request_here)

    assert {file["state"] for file in server.files.values()} == {"READY"}


def test_a_refused_file_is_reported_as_the_service_says(server, backend, request_here):
    server.create_dataset = None
    place = ("POST", f"/accounts/{ACCOUNT}/datasets")
    server.route = lambda method, path, query, body: (
        (403, {"code": 7, "message": "the account is suspended", "details": []})
        if (method, path) == place
        else FireworksServer.route(server, method, path, query, body)
    )

    with pytest.raises(BackendError, match="the account is suspended"):
        backend.submit(request_here)
    assert not server.jobs


def test_a_job_is_cancelled_and_resumed_and_does_not_pause(backend, request_here):
    job = backend.submit(request_here)
    backend.cancel(job.id)
    assert backend.observe([job.id])[job.id].state is JobState.CANCELLED
    backend.cancel(job.id)
    backend.resume(job.id)
    assert backend.observe([job.id])[job.id].state is JobState.RUNNING
    with pytest.raises(BackendError, match="cannot pause"):
        backend.pause(job.id)
    assert list(backend.events(job.id)) == list(backend.curve(job.id)) == []


def test_a_failed_job_says_why(server, backend, request_here):
    job = backend.submit(request_here)
    server.fail(job.id)

    ended = backend.observe([job.id])[job.id]

    assert ended.state is JobState.FAILED
    assert "dataset is empty" in ended.error


def test_every_documented_state_is_known(server, backend, request_here):
    known = {word for _, words in PROFILE.states for word in words}
    assert known == {f"job_state_{word.lower()}" for word in STATES}
    job = backend.submit(request_here)
    server.jobs[job.id]["state"] = "JOB_STATE_PAUSED"
    assert "resume it there" in backend.observe([job.id])[job.id].error


def test_a_model_is_looked_up_and_deleted_under_its_full_name(server, backend, request_here):
    job = backend.submit(request_here)
    server.succeed(job.id)
    model = backend.observe([job.id])[job.id].result.model_id
    assert model == f"accounts/{ACCOUNT}/models/{job.id}"

    backend.delete(model)

    assert not server.models
    with pytest.raises(ModelMissing):
        backend.delete(model)
    assert not backend.answers(request_here.base_model)


def test_an_account_is_asked_for_where_paths_name_one():
    environment = {"FIREWORKS_API_KEY": "fw-1", "OPENAI_API_KEY": "sk-1"}
    bare = Endpoint(name="fw", kind="fireworks", api_key_env="FIREWORKS_API_KEY")
    assert settings(replace(bare, account="acme"), environment).account == "acme"
    with pytest.raises(BackendError, match="need an account") as caught:
        settings(bare, environment)
    assert "Write `account: NAME` beside `kind` in ftctl.yaml" in caught.value.remedy
    with pytest.raises(BackendError, match="`account` has no use at a server of `kind: openai`"):
        settings(Endpoint(name="x", account="acme"), environment)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("cafe-consultant", "cafe-consultant"),
        ("Cafe_Consultant", "cafe-consultant"),
        ("2-cafe", "ft-2-cafe"),
        ("카페", "ft"),
        ("a" * 80, "a" * 63),
    ],
)
def test_an_id_has_the_form_that_the_service_takes(name, made):
    assert PROFILE.api.ids.of(name) == made


def test_names_of_any_length_keep_their_tags(server, backend, request_here):
    jobs = [backend.submit(replace(request_here, name=name)).id for name in ("a" * 90, "9", "카페")]
    assert all(len(job) <= 63 for job in jobs)
    assert len({job[-10:] for job in jobs}) == 1
    assert len(server.trainings) == 3


def test_a_field_whose_value_is_missing_is_left_out():
    sent = {"a": "{x}", "b": {"c": "{y}", "d": False}}
    assert filled(sent, {"x": "1"}) == {"a": "1", "b": {"d": False}}
