"""Losses of builds on the command line: kept when recorded, shown without a backend, drawn."""

import json
import math
from dataclasses import replace

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import CurvePoint, JobState
from backends.testing import CURVE, ScriptedBackend

pytestmark = pytest.mark.usefixtures("installed")
OVERFITS = [
    CurvePoint(step=0, held_out_loss=2.0),
    *(CurvePoint(step=n, train_loss=2.0 - n / 20) for n in range(1, 10)),
    CurvePoint(step=10, train_loss=1.4, held_out_loss=1.2),
    *(CurvePoint(step=n, train_loss=2.0 - n / 20) for n in range(11, 30)),
    CurvePoint(step=30, train_loss=0.4, held_out_loss=1.9),
]
CAUSE = (
    "the held-out loss rose from its lowest, 1.2 at step 10, to 1.9, by more than 5 %, while the "
    "train loss fell: train for fewer epochs, or add examples"
)


@pytest.fixture
def answer(monkeypatch):
    """Return a function that decides what the service answers about losses."""

    def set_answer(losses):
        def curve(self, job_id):
            assert self.state
            if isinstance(losses, Exception):
                raise losses
            return iter(losses if job_id else ())

        monkeypatch.setattr(ScriptedBackend, "curve", curve)

    return set_answer


@pytest.fixture
def overfitted(shell, answer):
    answer(OVERFITS)
    shell.declare()
    code, text = shell("apply", "--auto-approve")
    assert code == 0
    assert f"    overfitting: {CAUSE}\n" in text
    answer(BackendError("nobody may be asked"))
    return shell


def kept(shell):
    return sorted((shell.root / ".ftctl" / "curves").glob("*"))


def test_the_losses_of_a_recorded_build_are_kept(overfitted):
    (path,) = kept(overfitted)
    fingerprint = overfitted.json("status")[1]["finetunes"]["faq"]["production"]
    assert path.name == f"{fingerprint.partition(':')[2][:12]}.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert lines[0] == {"step": 0, "held_out_loss": 2.0}
    assert lines[-1] == {"step": 30, "train_loss": 0.4, "held_out_loss": 1.9}


def test_findings_are_in_every_view(overfitted):
    assert "in production, overfits" in overfitted("status")[1]
    assert overfitted.json("status")[1]["finetunes"]["faq"]["findings"] == ["overfitting"]
    code, text = overfitted("show", "faq")
    assert code == 0
    summary = "train 1.95 -> 0.4, held out 2 -> 1.9 (lowest 1.2 at step 10)"
    assert f"  losses      {summary}\n  ! overfitting: {CAUSE}\n" in text
    code, value = overfitted.json("show", "faq")
    ((fingerprint, curve),) = value["curves"].items()
    assert fingerprint == value["production"]
    assert curve["findings"] == [{"name": "overfitting", "text": CAUSE}]
    assert curve["points"][-1] == {"step": 30, "train_loss": 0.4, "held_out_loss": 1.9}


def test_the_losses_are_drawn_as_plain_text(overfitted, golden):
    code, text = overfitted("show", "faq", "--plot")
    assert code == 0
    assert "\x1b" not in text
    fingerprint = overfitted.json("show", "faq")[1]["production"].partition(":")[2][:12]
    golden("render/show_plot.txt", text.replace(fingerprint, "0123456789ab"))


def test_a_healthy_training_is_not_commented(shell):
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    assert "losses      train 1.85 -> 0.5, held out 2 -> 0.5\n" in shell("show", "faq")[1]
    assert "!" not in shell("show", "faq")[1]
    assert "!" not in shell("logs", "faq")[1]


def test_a_service_without_an_answer_costs_no_build(shell, answer):
    answer(BackendError("the service is down", "Wait."))
    shell.declare()
    code, text = shell("apply", "--auto-approve")
    assert code == 0
    assert "    Its losses could not be read: the service is down. Wait.\n" in text
    assert kept(shell) == []
    assert "in production" in shell("status")[1]
    assert "  losses      not read: the service is down. Wait.\n" in shell("show", "faq")[1]
    code, text = shell("show", "faq", "--plot")
    assert (code, text.count("\n")) == (1, 1)
    assert "the losses of its newest build are not read: the service is down" in text
    # It answers again, and is asked again.
    answer(CURVE)
    assert "train 1.85 -> 0.5" in shell("show", "faq")[1]
    assert len(kept(shell)) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]\n"])
def test_a_damaged_file_is_made_again(overfitted, answer, content):
    (path,) = kept(overfitted)
    path.write_bytes(content)
    assert overfitted("status")[0] == 0
    answer(CURVE)
    assert "train 1.85 -> 0.5" in overfitted("show", "faq")[1]
    assert len(path.read_bytes().splitlines()) == len(CURVE)


def test_losses_that_nobody_knows_are_said_to_be_unknown(shell, answer):
    answer([])
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    assert kept(shell) == []
    unknown = "not known: scripted reports none for this job"
    assert f"  losses      {unknown}\n" in shell("show", "faq")[1]
    assert unknown in shell("show", "faq", "--plot")[1]
    assert shell.json("show", "faq")[1]["curves"] == {}


def test_a_file_that_cannot_be_written_costs_no_build(shell):
    shell.write(".ftctl/curves", "in the way")
    shell.declare()
    code, text = shell("apply", "--auto-approve")
    assert code == 0
    assert "    Its losses could not be kept: " in text
    assert "in production" in shell("status")[1]


def test_there_is_nothing_to_draw_without_a_model(shell):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    code, text = shell("show", "faq", "--plot")
    assert (code, text.splitlines()[0]) == (1, "faq has no model yet")


def test_the_log_names_what_is_wrong_while_it_trains(shell, answer):
    answer([CurvePoint(step=3, train_loss=math.nan)])
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    code, text = shell("logs", "faq", "--follow")
    assert code == 0
    assert text.count("! divergence: the train loss is nan at step 3") == 1
    lines = [json.loads(line) for line in shell("logs", "faq", "--json")[1].splitlines()]
    assert [line["finding"] for line in lines if "finding" in line] == ["divergence"]
    answer(BackendError("no metrics"))
    code, text = shell("logs", "faq")
    assert code == 0
    assert text.endswith("! losses: not read: no metrics\n")


def running(shell):
    """Submit the job of a spec, which trains and trains."""
    assert shell("apply", "--auto-approve", "--no-wait")[0] == 0
    job = shell.json("show", "faq")[1]["job"]["id"]
    shell.backend.set_script(job, *[JobState.RUNNING] * 11)


def test_the_status_names_what_is_wrong_while_it_trains(shell, answer, monkeypatch):
    answer(OVERFITS)
    shell.declare()
    running(shell)
    assert "running 10 %, overfits" in shell("status")[1]
    assert shell.json("status")[1]["finetunes"]["faq"]["findings"] == ["overfitting"]
    assert "faq" in shell("status", "--where", "state == 'overfits'")[1]
    answer(BackendError("the disk is gone"))
    code, text = shell("status")
    assert code == 0
    assert "the disk is gone" in text
    # A service would be asked once for each job.
    answer(OVERFITS)
    capabilities = ScriptedBackend.capabilities
    monkeypatch.setattr(
        ScriptedBackend, "capabilities", lambda self: replace(capabilities(self), remote=True)
    )
    assert "overfits" not in shell("status")[1]
