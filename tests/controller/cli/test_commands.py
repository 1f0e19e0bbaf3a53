"""Every command in this process, on real files, with an installed scripted backend."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from backends.testing import GOES_WELL
from controller.cli import COMMANDS, run
from controller.lockfile.store import lock_lockfile
from tests.children import child

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def trained(shell):
    shell.declare(more="gate:\n  - held_out_loss < base.held_out_loss\n")
    assert shell("apply", "--auto-approve")[0] == 0
    return shell


# --- exit codes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["plan", "--nonsense"],
        ["show"],
        ["apply", "no-such-plan.json"],
        ["wait", "-x"],
        ["wait", "--timeout", "nan"],
        ["apply", "--lock-timeout", "inf"],
        ["chat", "faq", "--temperature", "nan"],
    ],
)
def test_wrong_usage_is_64(shell, arguments: list[str]):
    code, text = shell(*arguments)
    assert code == 64
    assert "Usage:" in text


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plan", "--help"], ["-h"]])
def test_help_is_0(shell, arguments: list[str]):
    assert shell(*arguments)[0] == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_fits(shell, command: str):
    code, text = shell(command, "--help")
    assert code == 0
    assert max(len(line) for line in text.splitlines()) <= 100


def test_changes_are_2_only_when_asked_for(shell):
    shell.declare()
    assert shell("plan")[0] == 0
    assert shell("plan", "--detailed-exitcode")[0] == 2
    shell("apply", "--auto-approve")
    code, text = shell("plan", "--detailed-exitcode")
    assert (code, text) == (0, "No changes. The one fine-tune matches its spec.\n")


def test_another_plan_than_the_approved_one_is_6(shell):
    shell.declare()
    _, plan = shell.json("plan")
    assert shell("apply", "--expect", "0" * 16)[0] == 6
    shell.declare(more="seed: 1\n")
    code, text = shell("apply", "--expect", plan["id"])
    assert code == 6
    assert "Look at `ftctl plan`" in text
    assert shell.backend.submitted == 0
    shell.declare()
    assert shell("apply", "--expect", plan["id"], "--no-wait")[0] == 0


def test_a_saved_plan_is_carried_out_or_stale(shell, tmp_path: Path):
    shell.declare()
    file = str(tmp_path / "plan.json")
    shell("plan", "--out", file)
    assert shell("apply", file, "--no-wait")[0] == 0
    assert shell("apply", file)[0] == 6
    (tmp_path / "none.json").write_text("[]")
    code, text = shell("apply", str(tmp_path / "none.json"))
    assert code == 1
    assert "is not a plan file" in text


def test_nobody_is_asked_without_a_terminal(shell):
    shell.declare()
    code, text = shell("apply")
    assert code == 1
    assert "--auto-approve" in text
    assert shell.backend.submitted == 0


def test_a_gate_that_fails_is_4(shell):
    shell.declare(more="gate: ['held_out_loss < 0.1']\n")
    code, text = shell("apply", "--auto-approve")
    assert code == 4
    assert "held_out_loss is 0.5" in text


def test_a_held_lock_is_7(shell):
    shell.declare()
    with lock_lockfile(shell.root, shell.root / ".ftctl", timeout_s=1, purpose="test"):
        code, text = shell("apply", "--auto-approve", "--lock-timeout", "0")
    assert code == 7
    assert f"process {os.getpid()} (test) is recording" in text


def test_a_failed_job_is_1_and_can_be_retried(shell):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    shell.backend.set_script("job-1", "failed")
    code, text = shell("reconcile")
    assert code == 1
    assert "job job-1 failed: the script says so" in text
    assert "failed" in shell("status")[1]
    code, log = shell("logs", "faq")
    assert code == 0
    assert "failed" in log
    assert shell("plan")[1].startswith("Nothing to do now:")
    assert shell("retry", "faq")[0] == 0
    assert "attempt 2" in shell("plan")[1]
    assert shell("retry", "faq")[0] == 1
    assert shell("apply", "--auto-approve")[0] == 0
    assert [job.attempt for job in shell.backend.jobs] == [1, 2]


def test_a_lost_job_can_be_retried_and_a_living_one_not(shell):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    code, text = shell("retry", "faq")
    assert code == 1
    assert "Record it first: ftctl reconcile" in text
    shell.backend.set_script("job-1", "vanished")
    code, text = shell("apply", "--auto-approve")
    assert code == 1
    assert "does not know it" in text
    assert shell("retry", "faq")[0] == 0
    assert shell("apply", "--auto-approve")[0] == 0


def test_cancelled_jobs_stay_cancelled_until_retried(shell):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    shell.backend.set_script("job-1", *["running"] * 20)
    assert shell("cancel", "faq")[0] == 0
    code, text = shell("reconcile")
    assert code == 1
    assert "job job-1 was cancelled" in text
    # What was reported once makes no later run red.
    code, text = shell("apply", "--auto-approve")
    assert code == 0
    assert "! faq: job job-1 was cancelled" in text
    assert shell.backend.submitted == 1


@pytest.mark.skipif(not hasattr(signal, "SIGINT"), reason="needs signals")
def test_ctrl_c_is_130_and_says_what_goes_on(shell, tmp_path: Path):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    shell.backend.set_script("job-1", *["running"] * 200)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site-packages'}:{Path.cwd()}"}
    with child(
        [sys.executable, "-m", "controller", "--dir", str(shell.root), "apply", "-y"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        deadline = time.monotonic() + 20
        for line in process.stdout:
            if line.startswith("»") and "running" in line:
                break
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Still running: faq (job-1)" in err


# --- what is printed --------------------------------------------------------------------------


def test_apply_tells_what_happens(trained, golden):
    trained.declare("other", "seed: 1\ngate: ['held_out_loss < base.held_out_loss']\n")
    _, text = trained("apply", "--auto-approve")
    shown = [line for line in text.splitlines() if not line.startswith("»")]
    assert any("other: submitted as job job-2" in line for line in shown)
    assert shown[-1] == "Complete: 1 submitted, 1 promoted."
    golden("render/apply.txt", "\n".join(shown))


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["validate"],
        ["status"],
        ["show", "faq"],
        ["model", "faq"],
        ["doctor"],
        ["apply"],
        ["apply", "--auto-approve"],
        ["reconcile"],
    ],
    ids=" ".join,
)
def test_listings_are_json_when_asked(trained, arguments: list[str]):
    _, value = trained.json(*arguments)
    assert value
    assert json.loads(_out(trained, "--json", *arguments)) is not None


def _out(shell, *arguments: str) -> str:
    return shell(*arguments)[1]


def test_a_run_prints_a_json_object_a_line(shell):
    shell.declare()
    code, text = shell("apply", "--auto-approve", "--no-wait", "--json")
    assert code == 0
    values = [json.loads(line) for line in text.splitlines()]
    assert [value.get("type") for value in values][:2] == ["starting", "done"]
    assert values[-1] == {"type": "end", "exit_code": 0, "waiting": ["faq"], "held": []}


def test_logs_are_shown_and_json_lines(trained):
    _, text = trained("logs", "faq")
    assert [line.split()[-1] for line in text.splitlines()] == list(GOES_WELL)
    assert "succeeded" in trained("logs", "faq", "--json")[1]


@pytest.mark.parametrize("how", ["option", "variable"])
def test_no_colour_when_not_wanted(trained, monkeypatch, how: str):
    trained.declare(more="seed: 5\n")
    monkeypatch.setenv("FORCE_COLOR", "1")
    arguments = ["plan"]
    if how == "variable":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        arguments = ["--no-color", "plan"]
    assert "\x1b" not in trained(*arguments)[1]


def test_the_model_for_scripts(trained):
    code, text = trained("model", "faq")
    assert code == 0
    assert text.startswith("scripted:faq:")
    assert text.count("\n") == 1
    code, text = trained("model", "faqq")
    assert code == 1
    assert "Did you mean `faq`?" in text


def test_a_model_that_is_not_there_yet(shell):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    assert shell("model", "faq")[0] == 1


def test_show_has_scores_and_answers(trained):
    _, text = trained("show", "faq")
    for expected in ("<- production", "held_out_loss", "gate        passed", "expected", "base"):
        assert expected in text


def test_wait_ends_when_jobs_end(shell):
    shell.declare()
    shell("apply", "--auto-approve", "--no-wait")
    code, text = shell("wait")
    assert code == 0
    assert "faq: succeeded" in text
    shell.backend.set_script("job-1", *["running"] * 20)
    code, text = shell("wait", "faq", "--timeout", "0")
    assert code == 1
    assert "still open: faq" in text
    assert shell("wait", "nobody")[0] == 1


def test_reconcile_submits_nothing_new(shell):
    shell.declare()
    code, text = shell("reconcile")
    assert code == 0
    assert "1 to train: that is for `ftctl apply`." in text
    assert shell.backend.submitted == 0


def test_a_markdown_plan(shell):
    shell.declare()
    code, text = shell("plan", "--format", "github")
    assert code == 0
    assert text.startswith("<!-- ftctl:plan -->\n")
    assert "**Merging** carries out this plan and no other: it starts 1 job for at most" in text
    assert shell("plan", "--markdown") == (0, text)  # its old name


def test_only_names_that_exist(shell):
    shell.declare()
    code, text = shell("apply", "--auto-approve", "--only", "faqq")
    assert code == 1
    assert "Did you mean `faq`?" in text


# --- init and schema --------------------------------------------------------------------------


def test_init_makes_what_validates(tmp_path: Path, capsys, shell):
    folder = tmp_path / "new"
    assert run(["init", str(folder)]) == 0
    assert "Next: ftctl --dir" in capsys.readouterr().out
    assert run(["--dir", str(folder), "validate"]) == 0
    assert ".ftctl/" in (folder / ".gitignore").read_text()
    capsys.readouterr()
    assert run(["init", str(folder)]) == 1
    assert "has specs already" in capsys.readouterr().err
    assert shell.root.exists()


def test_the_schema_accepts_what_is_valid_and_refuses_what_is_not(shell):
    schema = json.loads(_out(shell, "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = {
        "backend": "x",
        "base_model": "y",
        "data": {"train": [{"path": "a.csv"}], "held_out": {"fraction": 0.1}},
    }
    assert validator.is_valid(good)
    assert validator.is_valid({**good, "evaluation": {"metrics": ["accuracy", {"accuracy": {}}]}})
    for bad in ({"sed": 1}, {"seed": "1"}, {"data": {}}, {"lifecycle": {"protect": "yes"}}):
        assert not validator.is_valid({**good, **bad})
    file = shell.root / "schema.json"
    assert shell("schema", "--out", str(file))[0] == 0
    assert json.loads(file.read_text()) == schema


# --- a service without a key ------------------------------------------------------------------


def test_a_plan_needs_no_key_and_says_what_it_did_not_ask(shell, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    shell.declare(backend="openai", base="gpt-4.1-mini-2025-04-14")

    code, out = shell("plan")

    assert code == 0
    assert "+ finetune" in out
    assert "prices of 2025-11" in out
    assert "switched off on 2027-01-14" in out
    assert "Not asked: openai" in out
    code, out = shell("apply", "--auto-approve")
    assert code == 1
    assert "OPENAI_API_KEY" in out
