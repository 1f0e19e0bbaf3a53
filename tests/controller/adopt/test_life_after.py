"""Adopted builds in the commands that look recorded builds up at their backend."""

import pytest

from controller.lockfile.store import read_lockfile
from tests.controller.adopt.hosted_service import BASE, rows

NO_CHANGES = "No changes."
METRICS = "evaluation:\n  metrics: [accuracy]\n  compare_to: []\n"


def spec_path(shell, name="triage"):
    return shell.root / f"finetunes/{name}.yaml"


def entry_of(shell, name="triage"):
    return read_lockfile(shell.root, shell.root / ".ftctl").finetunes[name]


def change(shell, old, new, name="triage"):
    path = spec_path(shell, name)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def adopted(shell, service):
    """Adopt one model, and return its job."""
    job = service.train("triage", rows(40), rows(9, 60))
    service.models[BASE] = {"id": BASE, "owned_by": "system", "created": 1}
    service.answer = lambda _: "예약"
    assert shell("adopt", "--all")[0] == 0
    assert service.changes == []
    return job


def test_metrics_in_the_spec_ask_for_its_scores(shell, service, adopted):
    path = spec_path(shell)
    path.write_text(path.read_text() + METRICS)

    code, text = shell("plan")
    assert code == 0
    assert "it was not evaluated yet" in text
    assert service.changes == []

    assert shell("apply", "--auto-approve")[0] == 0

    build = entry_of(shell).builds[entry_of(shell).production]
    assert build.model_id == adopted["fine_tuned_model"]
    assert build.evaluation.scores["candidate"]["accuracy"] == pytest.approx(1 / 3, abs=0.01)
    assert NO_CHANGES in shell("plan")[1]
    assert not [path for method, path in service.changes if "jobs" in path or "files" in path]


@pytest.mark.usefixtures("adopted")
def test_evaluate_measures_it_on_demand(shell):
    code, text = shell("evaluate", "triage", "--auto-approve")
    assert code == 0, text
    entry = entry_of(shell)
    assert entry.builds[entry.production].evaluation is not None
    assert NO_CHANGES in shell("plan")[1]


def test_a_lost_lockfile_is_restored_by_the_alias_and_trains_nothing(shell, service, adopted):
    (shell.root / "finetunes/ftctl.lock").unlink()

    code, text = shell("plan")
    assert code == 0
    assert "the lockfile has no entry for it; openai knows 1 build" in text
    assert "1 to restore" in text

    assert shell("apply", "--auto-approve")[0] == 0

    entry = entry_of(shell)
    assert entry.builds[entry.production].job == adopted["id"]
    assert entry.builds[entry.production].is_adopted
    assert NO_CHANGES in shell("plan")[1]
    assert service.changes == []


@pytest.mark.usefixtures("adopted")
def test_a_lost_lockfile_restores_no_model_that_was_made_otherwise(shell, service):
    (shell.root / "finetunes/ftctl.lock").unlink()
    change(shell, "n_epochs: 3", "n_epochs: 4")

    assert "1 to train" in shell("plan")[1]
    # Nobody approved it.
    assert shell("reconcile")[0] == 0
    assert service.changes == []


@pytest.mark.usefixtures("adopted")
def test_a_changed_spec_trains_and_the_old_spec_restores_at_no_cost(shell, service):
    first = entry_of(shell).production
    service.finishes = True
    change(shell, "n_epochs: 3", "n_epochs: 4")
    path = spec_path(shell)
    path.write_text(path.read_text() + "gate: []\n")
    assert "1 to retrain" in shell("plan")[1]
    assert shell("apply", "--auto-approve")[0] == 0
    assert entry_of(shell).production != first
    before = len(service.changes)

    change(shell, "n_epochs: 4", "n_epochs: 3")
    change(shell, "gate: []\n", "")
    code, text = shell("plan")
    assert code == 0
    assert "nothing is trained" in text or "trained before" in text
    assert shell("apply", "--auto-approve")[0] == 0

    assert entry_of(shell).production == first
    assert NO_CHANGES in shell("plan")[1]
    assert len(service.changes) == before


def test_the_old_spec_restores_no_model_that_is_gone(shell, service, adopted):
    first = entry_of(shell).production
    service.finishes = True
    change(shell, "n_epochs: 3", "n_epochs: 4")
    path = spec_path(shell)
    path.write_text(path.read_text() + "gate: []\n")
    assert shell("apply", "--auto-approve")[0] == 0
    del service.models[adopted["fine_tuned_model"]]

    change(shell, "n_epochs: 4", "n_epochs: 3")
    code, text = shell("apply", "--auto-approve")

    assert code == 1
    assert "is not at openai any more" in text
    assert entry_of(shell).production != first


@pytest.mark.usefixtures("adopted")
def test_a_renamed_spec_keeps_its_model(shell):
    spec_path(shell).rename(spec_path(shell, "tickets"))
    assert "was renamed to tickets.yaml" in shell("plan")[1]
    assert shell("apply", "--auto-approve")[0] == 0
    assert NO_CHANGES in shell("plan")[1]
    assert entry_of(shell, "tickets").production is not None


def test_status_show_logs_chat_and_model_know_it(shell, service, adopted):
    model = adopted["fine_tuned_model"]
    service.models[model]["shutdown_date"] = "2099-01-14"
    status = shell.json("status")[1]["finetunes"]["triage"]
    assert status["shutdown"]["date"] == "2099-01-14"
    text = shell("show", "triage")[1]
    assert "adopted     from openai" in text
    assert "verified  the service lists the model" in text
    assert shell("logs", "triage")[0] == 0
    assert shell("model", "triage")[1].strip() == model
    assert "예약" in shell("chat", model, "-m", "예약되나요?")[1]
