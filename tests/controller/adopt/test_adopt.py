"""Hosted models, taken over by typed commands: a real client, a real server, real files."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from fault_server import Fault
from hosted_service import BASE, rows

from backends.atomic_files import locked
from controller.lockfile.store import read_lockfile

NO_CHANGES = "No changes."
FTCTL_YAML = "endpoints: {default: {kind: openai, organization: org-9}}\n"


def spec(shell, name):
    return (shell.root / f"finetunes/{name}.yaml").read_text(encoding="utf-8")


def data(shell, name):
    return (shell.root / f"finetunes/data/{name}.jsonl").read_bytes()


def written(shell):
    """Return every file of the folder of specs."""
    folder = shell.root / "finetunes"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def build_of(shell, name):
    entry = read_lockfile(shell.root, shell.root / ".ftctl").finetunes[name]
    return entry.builds[entry.production]


def day(left):
    return (datetime.now(UTC).date() + timedelta(days=left)).isoformat()


# --- the list ----------------------------------------------------------------------------------


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


# --- taking over -------------------------------------------------------------------------------


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


# --- names -------------------------------------------------------------------------------------


def test_two_models_of_one_name_get_distinct_names(shell, service):
    service.train("triage", rows(40))
    service.train("triage", rows(40, 50))

    assert shell("adopt", "--all")[0] == 0

    assert {"triage.yaml", "triage-000000.yaml"} < written(shell)
    assert data(shell, "triage-000000") == rows(40)
    assert NO_CHANGES in shell("plan")[1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Triage V2", "Use this name: --name triage"),
        ("../evil", "Use this name: --name triage"),
        ("taken", "taken is the name of another fine-tune"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_a_proposal(shell, service, name, words):
    job = service.train("triage")
    shell.write("finetunes/data/faq.csv", "question,answer\n")
    shell.declare("taken")

    code, text = shell("adopt", job["id"], "--name", name)

    assert code == 1
    assert words in text
    assert "--name triage" in text
    assert written(shell) == {"taken.yaml", "data/faq.csv"}


def test_a_spec_of_another_kind_is_never_overwritten(shell, service):
    service.train("triage")
    shell.write("finetunes/data/faq.csv", "question,answer\n" + "a,b\n" * 3)
    shell.declare("triage", backend="local-gpu", base="../models/small")
    before = spec(shell, "triage")

    code, text = shell("adopt", "--all")

    assert code == 0, text
    assert spec(shell, "triage") == before
    assert (shell.root / "finetunes/triage-000000.yaml").exists()


def test_data_of_another_kind_is_never_overwritten(shell, service):
    service.train("triage")
    shell.write("finetunes/data/triage.jsonl", "mine\n")

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "finetunes/data/triage.jsonl is another file than the service's file-0000" in text
    assert written(shell) == {"data/triage.jsonl"}
    assert data(shell, "triage") == b"mine\n"


def test_nothing_is_written_through_a_link(shell, service, tmp_path):
    service.train("triage")
    (tmp_path / "elsewhere").mkdir()
    (shell.root / "finetunes/data").symlink_to(tmp_path / "elsewhere")

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "leaves the repository through a link" in text
    assert not list((tmp_path / "elsewhere").iterdir())


# --- what the service lacks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("running", "has no model: it is running"),
        ("failed", "has no model: it failed: x: bad row"),
        ("cancelled", "has no model: it was cancelled"),
    ],
)
def test_a_job_without_a_model_is_refused(shell, service, state, words):
    job = service.train("triage", state=state, error={"code": "x", "message": "bad row"})

    code, text = shell("adopt", job["id"])

    assert code == 1
    assert words in text
    assert written(shell) == set()


def test_an_unknown_id_says_what_the_key_sees(shell, service):
    service.train("triage")
    shell.write("ftctl.yaml", FTCTL_YAML.replace("kind:", f"base_url: '{service.url}', kind:"))

    code, text = shell("adopt", "ftjob-of-another-project")

    assert code == 1
    assert (
        "shows no job or model 'ftjob-of-another-project' to this key, but 1 job of 'org-1'" in text
    )
    assert "which project the key is for" in text
    near = shell("adopt", "ftjob-000001")[1]
    assert "Did you mean `ftjob-000000`?" in near


def test_a_key_of_another_organization_is_named(shell, service):
    service.train("triage")
    shell.write("ftctl.yaml", FTCTL_YAML.replace("kind:", f"base_url: '{service.url}', kind:"))

    text = shell("adopt")[1]

    assert "names the organization 'org-9', but the jobs here belong to 'org-1'" in " ".join(
        text.split()
    )


def test_a_checkpoint_is_refused_with_its_model(shell, service):
    model = service.train("triage")["fine_tuned_model"]
    code, text = shell("adopt", f"{model}:ckpt-step-20")
    assert code == 1
    assert f"ftctl adopt {model}" in text


def test_a_model_that_is_gone_is_not_recorded(shell, service):
    job = service.train("triage")
    del service.models[job["fine_tuned_model"]]

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "is not among the models of the service" in text
    assert written(shell) == set()


def test_a_model_that_ends_after_it_was_adopted_is_shown_as_gone(shell, service):
    job = service.train("triage")
    assert shell("adopt", "--all")[0] == 0
    (row,) = shell.json("adopt")[1]["models"]
    assert (row["state"], row["adopted"]) == ("adopted", True)
    del service.models[job["fine_tuned_model"]]

    (row,) = shell.json("adopt")[1]["models"]

    assert row["state"] == "adopted, gone"
    code, text = shell("adopt", "--all")
    assert code == 0
    assert "is recorded already" in text


def test_a_file_that_a_person_has_stands_for_one_that_is_gone(shell, service):
    job = service.train("triage")
    service.forget_file(job["training_file"])
    shell.write("finetunes/data/triage.jsonl", rows(30))

    code, text = shell("adopt", job["id"])

    assert code == 0, text
    assert "does not have the file file-0000" in text
    assert "The service does not give its file file-0000 any more." in text
    assert "is taken in its place, as declared" in text
    assert (
        "data/triage.jsonl was put there by a person"
        in build_of(shell, "triage").facts["adopted"]["declared"]
    )
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


def test_a_seed_that_no_spec_can_have_is_told(shell, service):
    service.train("triage", seed=2**40)

    assert shell("adopt", "--all")[0] == 0

    assert f"# The service reports the seed {2**40}, which no spec can have." in spec(
        shell, "triage"
    )
    assert NO_CHANGES in shell("plan")[1]


def test_a_method_that_ftctl_does_not_know_is_named(shell, service):
    service.train("triage", method={"type": "evolution"})
    code, text = shell("adopt", "--all")
    assert code == 1
    assert "it was trained with 'evolution', which ftctl does not know" in text
    assert written(shell) == set()


def test_a_service_without_a_list_says_so(shell, service):
    service.put_fault("GET", "/fine_tuning/jobs", Fault("404"))
    code, text = shell("adopt")
    assert code == 1
    assert "offers no list of fine-tuning jobs" in text


def test_a_key_that_is_not_accepted_is_an_error(shell, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    code, text = shell("adopt", "--all")
    assert code == 1
    assert "does not accept the key" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--all", "ftjob-1"), "Leave out --all"),
        (("--all", "--name", "a"), "--name is for one model"),
        (("--base_model", "a"), "--base_model is for one model"),
        (("--endpoint", "nowhere"), "no endpoint is called 'nowhere'"),
    ],
)
def test_options_that_contradict_each_other(shell, options, words):
    code, text = shell("adopt", *options)
    assert code == 1
    assert words in text


# --- data --------------------------------------------------------------------------------------


def test_a_validation_file_that_overlaps_training_is_told(shell, service):
    service.train("triage", rows(40), rows(12, 35))

    code, text = shell("adopt", "--all")

    assert code == 0
    assert "5 of 12 rows of the validation file are training rows too." in text
    assert "Examples: 35 for training, 12 held out." in text
    assert "5 rows are equal to earlier ones and are left out" in text
    assert NO_CHANGES in shell("plan")[1]


def test_a_training_file_of_ten_rows_is_held_out_as_a_whole(shell, service):
    service.train("triage", rows(10))

    code, text = shell("adopt", "--all")

    assert code == 0, text
    assert "Scores flatter every model" in " ".join(spec(shell, "triage").split()).replace("# ", "")
    assert "Examples: 10 for training, 10 held out." in text
    assert NO_CHANGES in shell("plan")[1]


def test_data_that_the_pipeline_refuses_leaves_nothing_half_written(shell, service):
    bad = rows(20) + b'{"messages": [{"role": "user"}]}\n' + b"not json\n"
    model = service.train("triage", bad)["fine_tuned_model"]

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "finetunes/data/triage.jsonl:21: the user's message has no content" in text
    assert "unusable: drop" in text
    assert written(shell) == set()
    # A spec by hand, as the message says, adopts it all the same; nothing is downloaded again.
    shell.write(
        "finetunes/triage.yaml",
        f"aliases: ['{model}']\nbackend: openai\nbase_model: {BASE}\nseed: 7\n"
        "data: {train: [{path: data/triage.jsonl, unusable: drop}], held_out: {fraction: 0.2}}\n"
        "hyperparameters: {n_epochs: 3, batch_size: 1, learning_rate_multiplier: 1.8}\n",
    )
    code, text = shell("adopt", "--all")
    assert code == 0, text
    assert len(service.downloads) == 1
    assert NO_CHANGES in shell("plan")[1]


def test_a_policy_of_the_repository_is_kept(shell, service):
    service.train("triage")
    shell.write("ftctl.yaml", "policies: {require_license: true}\n")

    code, text = shell("adopt", "--all")

    assert code == 1
    assert "policies.require_license demands one" in text
    assert written(shell) == set()


def test_a_spec_that_asks_for_something_else_is_not_recorded_as_the_model(shell, service):
    job = service.train("triage")
    assert shell("adopt", job["id"])[0] == 0
    (shell.root / "finetunes/ftctl.lock").unlink()
    changed = spec(shell, "triage").replace("n_epochs: 3", "n_epochs: 4")
    shell.write("finetunes/triage.yaml", changed)

    code, text = shell("adopt", job["id"])

    assert code == 1
    assert "stands for this model, but asks for another: hyperparameters are others" in text
    assert spec(shell, "triage") == changed


def test_two_adopting_runs_do_not_meet(shell, service):
    service.train("triage")
    with locked(shell.root / ".ftctl/adopt.lock") as mine:
        assert mine
        code, text = shell("adopt", "--all")
    assert code == 7
    assert "another run adopts models" in text


def test_texts_of_a_service_reach_no_terminal_raw(shell, service):
    service.train("triage", user_provided_suffix="a\x1b[31mb", data=rows(10))
    text = shell("adopt")[1] + shell("adopt", "--all")[1]
    assert "\x1b" not in text
    assert re.search(r"suffix: a\\x1b\[31mb", spec(shell, "a-31mb"))


def test_a_job_of_this_repository_is_left_to_ftctl(shell, service):
    shell.write("finetunes/data/mine.jsonl", rows(40))
    shell.write(
        "finetunes/mine.yaml",
        f"backend: openai\nbase_model: {BASE}\ngate: []\nevaluation: {{compare_to: []}}\n"
        "data: {train: [{path: data/mine.jsonl}], held_out: {fraction: 0.2}}\n",
    )
    assert shell("apply", "--auto-approve", "--no-wait")[0] == 0
    (job,) = service.jobs
    service.finish(job)

    code, text = shell("adopt", "--all")

    assert code == 0, text
    assert "= mine: " in text
    assert "is recorded already" in text
    assert not list((shell.root / "finetunes").glob("mine-*"))


def test_a_job_that_ftctl_made_elsewhere_says_for_what(shell, service):
    metadata = {"ftctl_fingerprint": "ft1:" + "a" * 64, "ftctl_attempt": "1", "ftctl_name": "care"}
    service.train("triage", metadata=metadata)
    assert shell("adopt", "--all")[0] == 0
    assert "# ftctl made it for care, whose spec is in another repository." in spec(shell, "triage")
    assert NO_CHANGES in shell("plan")[1]


def test_a_spec_that_a_person_changed_keeps_its_data(shell, service):
    job = service.train("triage")
    assert shell("adopt", job["id"])[0] == 0
    (shell.root / "finetunes/ftctl.lock").unlink()
    (shell.root / "finetunes/triage.yaml").rename(shell.root / "finetunes/tickets.yaml")
    shell.write("finetunes/data/triage.jsonl", rows(30))

    code, text = shell("adopt", job["id"])

    assert code == 0, text
    assert "finetunes/data/triage.jsonl is not the service's file file-0000 any more." in text
    assert written(shell) == {"ftctl.lock", "tickets.yaml", "data/triage.jsonl"}
    assert data(shell, "triage") == rows(30)
    assert NO_CHANGES in shell("plan")[1]


def test_a_spec_with_several_sources_gets_no_file(shell, service):
    job = service.train("triage")
    assert shell("adopt", job["id"])[0] == 0
    (shell.root / "finetunes/ftctl.lock").unlink()
    text = spec(shell, "triage").replace("data/triage.jsonl", "'data/*.jsonl'")
    shell.write("finetunes/triage.yaml", text)

    code, said = shell("adopt", job["id"])

    assert code == 0, said
    assert written(shell) == {"ftctl.lock", "triage.yaml", "data/triage.jsonl"}
    assert "the sources of the spec was put there" not in said
    assert NO_CHANGES in shell("plan")[1]


# --- without data ------------------------------------------------------------------------------


def test_a_model_whose_training_file_is_gone_is_declared_as_it_is(shell, service, golden):
    job = service.train("triage", rows(40), rows(12, 60))
    service.forget_file(job["training_file"])

    code, text = shell("adopt", job["id"])
    golden("render/adopt-without-data.txt", re.sub(r":\d+/v1", ":PORT/v1", text))
    golden("render/adopt-without-data.yaml", spec(shell, "triage"))

    assert code == 0, text
    build = build_of(shell, "triage")
    assert build.prompt is not None
    assert (build.model_id, build.base_model) == (job["fine_tuned_model"],) * 2
    assert "the training data is gone: nothing is known of it" in build.facts["adopted"]["declared"]
    assert NO_CHANGES in shell("plan")[1]
    # Measured like every other, without a job.
    service.answer = lambda _: "예약"
    asks = "evaluation: {metrics: [accuracy], compare_to: []}\n"
    shell.write("finetunes/triage.yaml", spec(shell, "triage") + asks)
    assert shell("apply", "--auto-approve")[0] == 0
    assert build_of(shell, "triage").evaluation.scores["candidate"]["accuracy"] > 0
    assert NO_CHANGES in shell("plan")[1]
    assert "예약" in shell("chat", job["fine_tuned_model"], "-m", "예약되나요?")[1]
    assert not [path for _, path in service.changes if "chat" not in path]


def test_a_model_of_which_nothing_is_left_is_recorded_all_the_same(shell, service):
    orphan = f"ft:{BASE}:acme:orphan:Zz9"
    service.models[orphan] = {"id": orphan, "owned_by": "acme", "created": 1_770_000_000}

    code, text = shell("adopt", "--all")

    assert code == 0, text
    assert "put the file at finetunes/data/orphan.jsonl" in text
    assert written(shell) == {"ftctl.lock", "orphan.yaml"}
    assert NO_CHANGES in shell("plan")[1]
    assert shell("model", "orphan")[1].strip() == orphan
    assert shell("status")[0] == shell("show", "orphan")[0] == 0


def test_data_that_is_found_later_makes_it_trainable(shell, service):
    job = service.train("triage")
    service.forget_file(job["training_file"])
    assert shell("adopt", job["id"])[0] == 0
    shell.write("finetunes/data/triage.jsonl", rows(40))
    (shell.root / "finetunes/triage.yaml").unlink()

    code, text = shell("adopt", job["id"])

    assert code == 0, text
    assert "method: prompt" not in spec(shell, "triage")
    build = build_of(shell, "triage")
    assert build.prompt is None
    assert build.model_id == job["fine_tuned_model"]
    assert NO_CHANGES in shell("plan")[1]
    assert service.changes == []


# --- a service that says nonsense --------------------------------------------------------------


@pytest.mark.parametrize("time", [10**18, -(10**18), 1.5e308, 253_402_300_800])
def test_a_time_that_no_calendar_has_is_no_time(shell, service, time):
    job = service.train("triage", created_at=time, finished_at=time)
    service.models[job["fine_tuned_model"]]["created"] = time
    orphan = "ft:gpt-4.1-2025-04-14:acme:orphan:Zz9"
    service.models[orphan] = {"id": orphan, "owned_by": "acme", "created": time}
    assert {one["date"] for one in shell.json("adopt")[1]["models"]} == {None}
    code, text = shell("adopt", "--all")
    assert (code, "2 models adopted" in text) == (0, True), text
    assert NO_CHANGES in shell("plan")[1]


HALF = "a\ud800b"
"""Half a character, as JSON can hold it and nothing else can."""


@pytest.mark.parametrize(
    "field",
    ["fine_tuned_model", "model", "training_file", "organization_id", "user_provided_suffix"],
)
def test_half_a_character_in_one_job_stops_no_other(shell, service, field):
    service.train("faq")
    job = service.train("triage", **{field: HALF})
    if field == "fine_tuned_model":
        service.models[HALF] = {"id": HALF, "owned_by": "org", "created": 1}
    code, text = shell("adopt", "--all")
    assert "defect" not in text
    assert code == (1 if field == "model" else 0), text
    assert "faq.yaml" in written(shell)
    assert job["id"]
    assert NO_CHANGES in shell("plan")[1]


def test_a_model_id_with_a_line_end_stays_on_its_line(shell, service):
    model = "ft:a:b:c\n= faq: ft:x is adopted, in production\x1b[31m:d"
    job = service.train("triage", fine_tuned_model=model)
    service.models = {model: {"id": model, "owned_by": "org", "created": 1}}
    code, text = shell("adopt", job["id"])
    assert code == 0
    assert r"= triage: ft:a:b:c\n= faq: ft:x is adopted" in text
    assert "\n= faq" not in text


def test_a_suffix_of_a_megabyte_is_shortened_in_the_comment(shell, service):
    service.train("triage", user_provided_suffix="가" * 1_000_000)
    code, text = shell("adopt", "--all")
    assert code == 0, text
    (name,) = read_lockfile(shell.root, shell.root / ".ftctl").finetunes
    assert len(spec(shell, name)) < 3_000
    assert NO_CHANGES in shell("plan")[1]


def test_files_of_two_services_with_one_id_are_two_files(shell, service):
    other = type(service)()
    try:
        service.train("triage", data=b"not JSON\n")
        other.train("triage", data=rows(30, 500))
        shell.write(
            "ftctl.yaml",
            f"endpoints: {{other: {{kind: openai, base_url: '{other.url}', "
            "api_key_env: OPENAI_API_KEY}}\n",
        )
        # The first service's file waits, since its rows are no examples.
        assert shell("adopt", "--all")[0] == 1
        code, text = shell("adopt", "--all", "--endpoint", "other")
        assert code == 0, text
        assert data(shell, "triage") == rows(30, 500)
    finally:
        other.close()
