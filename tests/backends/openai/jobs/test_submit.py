"""The submit protocol against servers that behave, know less, or hold something else."""

from dataclasses import replace

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import JobState
from controller.spec.model import Tracking, Wandb
from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault

CREATE = ("POST", "/fine_tuning/jobs")


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


def test_where_metrics_go_is_told_to_the_service(server, backend, make_request):
    wandb = {"project": "cafe", "tags": ["ko"]}

    backend.submit(make_request(tracking={"wandb": wandb}))

    (sent,) = [body for method, path, _, body in server.requests if (method, path) == CREATE]
    assert sent["integrations"] == [{"type": "wandb", "wandb": wandb}]


def test_a_server_that_reports_nowhere_is_named(server, backend, make_request, caplog):
    server.no_integrations = True

    backend.submit(make_request(tracking={"wandb": {"project": "cafe"}}))

    assert "without `tracking`" in caplog.text


GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
SETTINGS = {
    "supervised": {"n_epochs": 7, "batch_size": 9, "learning_rate_multiplier": 0.3},
    "dpo": {"n_epochs": 7, "batch_size": 9, "learning_rate_multiplier": 0.3, "beta": 0.7},
    "reinforcement": {
        "n_epochs": 7,
        "batch_size": 9,
        "learning_rate_multiplier": 0.3,
        "compute_multiplier": 2.5,
        "eval_interval": 11,
        "eval_samples": 13,
        "reasoning_effort": "low",
        "grader": GRADER,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    },
}


@pytest.mark.parametrize("kind", ["openai", "azure", "compatible"])
@pytest.mark.parametrize("method", SETTINGS)
def test_every_hyperparameter_is_sent(server, open_backend, make_request, method, kind):
    own = {"azure": {"trainingType": "Standard"}, "compatible": {"lora_r": 8}}.get(kind, {})
    backend = open_backend(kind=kind)
    parsed = backend.parse_hyperparameters(method, SETTINGS[method] | own)
    assert SETTINGS[method].keys() | own.keys() == parsed.keys()

    backend.submit(make_request(method=method, hyperparameters=parsed))

    sent = next(one[3] for one in server.requests if one[:2] == CREATE)
    given = sent["method"][method]
    found = {**given["hyperparameters"], **given, **sent}
    assert {key: found.get(key) for key in parsed} == parsed


def test_every_field_of_tracking_is_sent(server, backend, make_request):
    values = {"project": "cafe", "name": "n", "entity": "e", "tags": ["ko"]}
    assert values.keys() == Wandb.model_fields.keys()

    backend.submit(make_request(tracking={"wandb": values}))

    (sent,) = [body for method, path, _, body in server.requests if (method, path) == CREATE]
    assert sent["integrations"][0]["wandb"] == values
    assert {"wandb"} == Tracking.model_fields.keys()


def test_submitting_again_returns_the_job_from_any_machine(server, open_backend, make_request):
    request = make_request()

    first = open_backend().submit(request)
    second = open_backend().submit(request)

    assert first == second
    assert len(server.jobs) == 1
    assert len(server.files) == 2


def test_another_attempt_is_another_job_of_the_same_file(server, backend, make_request):
    first = backend.submit(make_request())
    server.jobs[first.id]["status"] = "failed"

    second = backend.submit(make_request(attempt=2))

    assert (second.attempt, len(server.jobs), len(server.files)) == (2, 2, 2)
    assert backend.submit(make_request()).id == first.id


def test_a_large_seed_is_brought_into_range(server, backend, make_request):
    job = backend.submit(make_request(seed=2**31 + 5))

    assert server.jobs[job.id]["seed"] == 5


def test_without_a_held_out_set_there_is_no_validation_file(server, backend, make_request):
    request = make_request()
    request.held_out.write_bytes(b"")

    job = backend.submit(request)

    assert server.jobs[job.id]["validation_file"] is None
    assert len(server.files) == 1


@pytest.mark.parametrize("switch", ["ignore_filter", "no_metadata"])
@pytest.mark.parametrize("attempt", [1, 2])
def test_servers_that_know_less_make_one_job_too(
    server, open_backend, make_request, switch, attempt
):
    setattr(server, switch, True)
    foreign = open_backend().submit(make_request(fingerprint="ft1:" + "cd" * 32, seed=1))
    request = make_request(attempt=attempt)

    first = open_backend().submit(request)
    second = open_backend().submit(request)

    assert first.id == second.id != foreign.id
    assert len(server.jobs) == 2


@pytest.mark.parametrize("fault", [Fault("drop", after=True), Fault("500", after=True)])
def test_without_metadata_a_lost_job_is_found_by_file_model_seed_and_suffix(
    server, open_backend, make_request, fault
):
    server.no_metadata = server.ignore_filter = True
    server.put_fault(*CREATE, fault)

    job = open_backend().submit(make_request())

    assert (job.fingerprint, len(server.jobs)) == (make_request().fingerprint, 1)


def test_without_metadata_and_suffix_file_model_seed_and_settings_tell(
    server, open_backend, make_request
):
    server.no_metadata = server.no_suffix = True
    request = make_request()
    first = open_backend().submit(request)
    other = make_request(hyperparameters={**request.hyperparameters, "n_epochs": 4})

    assert open_backend().submit(request).id == first.id
    assert open_backend().submit(other).id != first.id
    server.jobs[first.id]["status"] = "failed"
    assert open_backend().submit(make_request(attempt=2)).id != first.id


def test_a_server_that_refuses_metadata_is_asked_without(server, open_backend, make_request):
    server.no_metadata = True
    unknown = error_body("Unknown parameter: 'metadata'", "unknown_parameter", "metadata")
    server.put_fault(*CREATE, Fault("400", body=unknown))

    first = open_backend().submit(make_request())

    assert "metadata" not in server.requests[-2][3]
    assert open_backend().submit(make_request()).id == first.id
    assert len(server.jobs) == 1


def test_a_server_that_refuses_the_filter_is_asked_without(server, open_backend, make_request):
    first = open_backend().submit(make_request())
    server.put_fault("GET", "/fine_tuning/jobs", Fault("400"))

    assert open_backend().submit(make_request()).id == first.id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "gpt-4.1-2025-04-14"}, "its base model is gpt-4.1-2025-04-14"),
        ({"training_file": "file-other"}, "its training file is other.jsonl"),
        (
            {
                "method": {
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": 9}},
                }
            },
            "its n_epochs is 9, not 3",
        ),
        ({"method": {"type": "dpo"}}, "its method is dpo"),
    ],
)
def test_a_job_that_only_claims_the_key_is_refused(
    server, open_backend, make_request, change, said
):
    job = open_backend().submit(make_request())
    server.files["file-other"] = server.files["file-0000"] | {
        "id": "file-other",
        "filename": "other.jsonl",
        "bytes": 5,
    }
    server.jobs[job.id] |= change

    with pytest.raises(BackendError, match=said) as caught:
        open_backend().submit(make_request())

    assert "ftctl retry cafe-consultant" in caught.value.remedy
    assert len(server.jobs) == 1


def test_a_job_whose_file_was_deleted_is_still_ours(server, open_backend, make_request):
    job = open_backend().submit(make_request())
    server.files.clear()

    assert open_backend().submit(make_request()).id == job.id


def test_resolved_auto_values_and_dated_snapshots_do_not_contradict(
    server, open_backend, make_request
):
    base = replace(make_request().base_model, reference="gpt-4o-mini")
    request = make_request(base_model=base)
    job = open_backend().submit(request)
    made = server.jobs[job.id]
    made["model"] = "gpt-4o-mini-2024-07-18"
    made["method"]["supervised"]["hyperparameters"]["batch_size"] = 4

    assert open_backend().submit(request).id == job.id


def test_an_organisation_that_may_not_train_leaves_no_files_behind(
    server, open_backend, make_request
):
    body = error_body(
        "Fine-tuning is being wound down; your organization can no longer create jobs.",
        "training_not_available",
    )
    request = make_request()
    server.put_fault(*CREATE, Fault("403", body=body), Fault("403", body=body))

    with pytest.raises(BackendError, match="does not train for this organisation") as caught:
        open_backend().submit(request)

    assert "local-gpu" in caught.value.remedy
    assert not server.files

    # What others uploaded stays.
    server.faults.clear()
    open_backend().submit(make_request(attempt=2))
    server.put_fault(*CREATE, Fault("403", body=body))
    with pytest.raises(BackendError):
        open_backend().submit(request)
    assert len(server.files) == 2


def test_azure_gets_its_training_type_and_a_short_suffix(server, open_backend, make_request):
    azure = open_backend(kind="azure")
    settings = azure.parse_hyperparameters("supervised", {"trainingType": "GlobalStandard"})

    job = azure.submit(make_request(hyperparameters=settings))

    sent = next(one[3] for one in server.requests if one[:2] == CREATE)
    assert sent["trainingType"] == "GlobalStandard"
    assert "trainingType" not in sent["method"]["supervised"]["hyperparameters"]
    assert len(server.jobs[job.id]["user_provided_suffix"]) <= 18


def test_compatible_servers_get_the_older_hyperparameters_too(server, open_backend, make_request):
    open_backend(kind="compatible").submit(make_request())

    sent = next(one[3] for one in server.requests if one[:2] == CREATE)
    assert sent["hyperparameters"] == sent["method"]["supervised"]["hyperparameters"]


def test_the_list_is_followed_across_pages(server, open_backend, make_request):
    server.ignore_filter = True
    job = open_backend().submit(make_request())
    made = server.jobs[job.id]
    for number in range(250):
        server.jobs[f"ftjob-x{number}"] = made | {
            "id": f"ftjob-x{number}",
            "metadata": {"ftctl_fingerprint": f"ft1:{number}", "ftctl_attempt": "1"},
        }

    assert open_backend().submit(make_request()).id == job.id
    assert len(server.jobs) == 251
