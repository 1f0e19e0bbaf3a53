"""Hosted models, taken over by typed commands: a real client, a real server, real files."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from backends.atomic_files import locked
from tests.backends.openai.servers.fault_server import Fault
from tests.controller.adopt.adopted_files import NO_CHANGES, build_of, data, spec, written
from tests.controller.adopt.hosted_service import BASE, rows


def day(left):
    return (datetime.now(UTC).date() + timedelta(days=left)).isoformat()


def test_the_list_shows_what_the_service_holds(shell, service, golden):
    service.train("triage")
    service.train("faq", validation=rows(10, 90))
    gone = service.train("문의")
    service.forget_file(gone["training_file"])
    service.train("later", state="running")
    service.train("broken", state="failed", error={"code": "x", "message": "bad row"})
    orphan = "ft:gpt-4.1-2025-04-14:acme:orphan:Zz9"
    service.models[orphan] = {"id": orphan, "owned_by": "acme", "created": 1_770_000_000}
    for job in service.jobs.values():
        if job["fine_tuned_model"]:
            service.models[job["fine_tuned_model"]]["shutdown_date"] = day(46)

    code, text = shell("adopt")
    golden("render/adopt-list.txt", text)
    value = shell.json("adopt")[1]

    assert code == 0
    triage = next(one for one in value["models"] if one["name"] == "triage")
    assert (triage["days_left"], triage["shutdown_date"]) == (46, day(46))
    assert (triage["training_file"], triage["trained_tokens"]) == ("kept", 1234)
    assert {one["state"] for one in value["models"]} == {"not adopted", "running", "failed"}
    assert written(shell) == set()
    assert service.changes == []


def test_an_empty_list_says_what_a_key_sees(shell):
    code, text = shell("adopt")
    assert code == 0
    assert "openai shows no fine-tuned model." in text
    assert "A key sees the jobs of one project." in text


def test_ten_thousand_models_are_listed(shell, service):
    job = service.train("m")
    for number in range(1, 10_000):
        name, model = f"ftjob-{number:06d}", f"ft:{BASE}:org:m{number}:{number:06d}"
        service.jobs[name] = job | {"id": name, "fine_tuned_model": model}
        service.models[model] = {"id": model, "owned_by": "org", "created": 1}

    code, value = shell.json("adopt")

    assert code == 0
    assert len({one["name"] for one in value["models"]}) == 10_000


def test_twelve_models_are_adopted_by_one_command(shell, service, golden):
    for number in range(11):
        service.train(f"model-{number}", rows(40, 100 * number))
    service.train("with-validation", rows(40), rows(10, 50))

    code, text = shell("adopt", "--all")
    golden("render/adopt-all.txt", text)

    assert code == 0, text
    names = [*(f"model-{number}" for number in range(11)), "with-validation"]
    assert written(shell) == {
        "ftctl.lock",
        "data/with-validation.held-out.jsonl",
        *(f"{name}.yaml" for name in names),
        *(f"data/{name}.jsonl" for name in names),
    }
    assert data(shell, "model-7") == rows(40, 700)
    assert data(shell, "with-validation.held-out") == rows(10, 50)
    assert NO_CHANGES in shell("plan")[1]
    build = build_of(shell, "model-7")
    assert (build.job, build.model_id) == ("ftjob-000007", f"ft:{BASE}:org:model-7:000007")
    assert build.is_adopted
    golden("render/adopt-spec.yaml", spec(shell, "with-validation"))
    # Nothing was made at the service, and a second run asks for no file again.
    assert service.changes == []
    assert len(service.downloads) == 13
    assert not (shell.root / ".ftctl/adopt").exists()
    before = {name: (shell.root / "finetunes" / name).read_bytes() for name in written(shell)}
    code, text = shell("adopt", "--all")
    assert code == 0
    assert "0 models adopted, 12 recorded before." in text
    assert len(service.downloads) == 13
    assert before == {
        name: (shell.root / "finetunes" / name).read_bytes() for name in written(shell)
    }


def test_json_tells_programs_the_same(shell, service):
    service.train("triage")
    service.train("later", state="queued")

    code, value = shell.json("adopt", "--all")

    assert code == 0
    (adopted,) = value["adopted"]
    assert (adopted["name"], adopted["files"][0]) == ("triage", "finetunes/triage.yaml")
    assert value["jobs_without_model"] == 1
    assert [one["name"] for one in shell.json("adopt", "--all")[1]["recorded"]] == ["triage"]


@pytest.mark.parametrize("by", ["id", "fine_tuned_model"])
def test_one_model_is_adopted_under_a_name(shell, service, by):
    job = service.train("triage")
    service.train("faq")

    code, text = shell("adopt", job[by], "--name", "tickets")

    assert code == 0, text
    assert written(shell) == {"ftctl.lock", "tickets.yaml", "data/tickets.jsonl"}
    assert NO_CHANGES in shell("plan")[1]
    assert shell("model", job["fine_tuned_model"])[1].strip() == job["fine_tuned_model"]


def test_the_spec_has_what_the_service_reports(shell, service):
    preference = {
        "input": {"messages": [{"role": "user", "content": "언제 열어요?"}]},
        "preferred_output": [{"role": "assistant", "content": "아홉 시요."}],
        "non_preferred_output": [{"role": "assistant", "content": "몰라요."}],
    }
    lines = []
    for number in range(40):
        preference["input"]["messages"][0]["content"] = f"{number}번은 언제 열어요?"
        lines.append(json.dumps(preference, ensure_ascii=False))
    settings = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5, "beta": 0.1}
    service.train(
        "tone",
        "\n".join(lines).encode() + b"\n",
        method={"type": "dpo", "dpo": {"hyperparameters": settings}},
        hyperparameters=None,
        seed=12,
    )

    code, text = shell("adopt", "--all")

    assert code == 0, text
    found = spec(shell, "tone")
    assert "method: dpo" in found
    assert "seed: 12" in found
    assert "beta: 0.1" in found
    assert NO_CHANGES in shell("plan")[1]


def test_an_endpoint_is_named_in_the_spec(shell, service, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "sk-test-0123456789abcdef")
    monkeypatch.delenv("OPENAI_BASE_URL")
    shell.write(
        "ftctl.yaml",
        f"endpoints: {{eu: {{kind: compatible, base_url: '{service.url}', api_key_env: OTHER_KEY}}}}",
    )
    service.train("triage")

    assert shell("adopt", "--all", "--endpoint", "eu")[0] == 0

    assert "endpoint: eu" in spec(shell, "triage")
    assert build_of(shell, "triage").backend == "openai@eu"
    assert NO_CHANGES in shell("plan")[1]


@pytest.mark.parametrize("kind", ["azure", "nebius", "crusoe", "compatible"])
def test_every_kind_of_server_can_be_adopted_from(shell, service, kind):
    shell.write("ftctl.yaml", f"endpoints: {{x: {{kind: {kind}, base_url: '{service.url}'}}}}")
    own = {"n_epochs": 3, "batch_size": 16, "learning_rate": 1e-5}
    changes = {"hyperparameters": own} if kind in {"nebius", "crusoe"} else {}
    service.no_metadata = True
    service.train("triage", metadata=None, **changes)

    code, text = shell("adopt", "--all", "--endpoint", "x")

    assert code == 0, text
    assert NO_CHANGES in shell("plan")[1]


def test_a_model_that_is_named_by_its_checkpoint_is_adopted(shell, service):
    shell.write("ftctl.yaml", f"endpoints: {{x: {{kind: nebius, base_url: '{service.url}'}}}}")
    job = service.train(
        "triage", fine_tuned_model=None, hyperparameters={"n_epochs": 3, "lora": True}
    )
    service.models.clear()
    page = {"data": [{"id": "ckpt_9", "step_number": 9, "result_files": ["file-9"]}]}
    answers = [Fault("body", body=page)] * 3
    service.put_fault("GET", f"/fine_tuning/jobs/{job['id']}/checkpoints", *answers)

    code, text = shell("adopt", "--all", "--endpoint", "x")

    assert code == 0, text
    build = build_of(shell, "triage")
    assert build.model_id == f"{job['id']}:ckpt_9"
    assert (
        "the model is still there: the service does not list it"
        in build.facts["adopted"]["declared"]
    )
    assert "lora: true" in spec(shell, "triage")
    assert NO_CHANGES in shell("plan")[1]


def test_a_model_without_its_job_is_adopted_with_declared_data(shell, service):
    orphan = f"ft:{BASE}:acme:orphan:Zz9"
    service.models[orphan] = {"id": orphan, "owned_by": "acme", "created": 1_770_000_000}
    shell.write("finetunes/data/orphan.jsonl", rows(30))

    code, text = shell("adopt", orphan)

    assert code == 0, text
    assert "The job of this model is not shown" in text
    assert "declared: the job is not shown: base model and hyperparameters are not known" in text
    assert NO_CHANGES in shell("plan")[1]
    assert "adopted     from openai" in shell("show", "orphan")[1]
    assert "orphan has no job: that of its model is not known" in shell("logs", "orphan")[1]


def test_a_base_model_that_the_service_does_not_tell_is_named_by_a_person(shell, service):
    job = service.train("triage", model=None)

    code, text = shell("adopt", job["id"])
    assert code == 1
    assert "the service does not tell its base model" in text
    assert written(shell) == set()

    assert shell("adopt", job["id"], "--base_model", "gpt-9-of-nobody")[0] == 0
    assert "base_model: gpt-9-of-nobody" in spec(shell, "triage")
    assert NO_CHANGES in shell("plan")[1]


def test_two_adopting_runs_do_not_meet(shell, service):
    service.train("triage")
    with locked(shell.root / ".ftctl/adopt.lock") as mine:
        assert mine
        code, text = shell("adopt", "--all")
    assert code == 7
    assert "another run adopts models" in text


def test_a_job_that_ftctl_made_elsewhere_says_for_what(shell, service):
    metadata = {"ftctl_fingerprint": "ft1:" + "a" * 64, "ftctl_attempt": "1", "ftctl_name": "care"}
    service.train("triage", metadata=metadata)
    assert shell("adopt", "--all")[0] == 0
    assert "# ftctl made it for care, whose spec is in another repository." in spec(shell, "triage")
    assert NO_CHANGES in shell("plan")[1]
