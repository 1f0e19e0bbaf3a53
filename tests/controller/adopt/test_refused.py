"""What cannot be adopted, or would overwrite what a person wrote, is refused with a remedy."""

import pytest

from tests.backends.openai.servers.fault_server import Fault
from tests.controller.adopt.adopted_files import data, spec, written
from tests.controller.adopt.hosted_service import BASE, rows

FTCTL_YAML = "endpoints: {default: {kind: openai, organization: org-9}}\n"


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
