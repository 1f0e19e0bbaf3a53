"""Protection, faults of plug-ins, and what commands say of it."""

import json

import pytest

from tests.children import background
from tests.controller.run.distrust.distrusted import ROWS, still_looks


def test_what_follows_a_restore_is_not_called_an_edit(shell):
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    shell.commit()
    shell.lock.unlink()
    shell.declare(more="seed: 7\n")
    _, plan = shell("plan")
    code, text = shell("apply", "-y")
    assert "the specs changed" not in text, plan + text
    assert code == 0, plan + text


def test_a_price_that_rose_is_not_called_an_edit(shell):
    shell.set("usd", [1, 2])
    shell.declare()
    shell.hook("find_jobs", "(TOP / 'usd').write_text('[5, 9]')")
    code, text = shell("apply", "-y")
    assert code == 6
    assert "the specs changed" not in text, text


def test_jobs_of_another_repository_are_not_ours(shell):
    """Two repositories at one service each have a fine-tune with the same name."""
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    theirs = shell.top / "theirs"
    (theirs / "finetunes/data").mkdir(parents=True)
    (theirs / "finetunes/data/faq.csv").write_text(ROWS.replace("?", "!"))
    shell.declare(root=theirs)
    [foreign] = shell.recorded["faq"]["builds"]
    shell.root = theirs
    _, text = shell("apply", "-y")
    assert shell.recorded["faq"].get("production") != foreign, text


def test_protect_with_suspend_is_in_force(shell):
    shell.declare("keep", "seed: 1\n")
    shell.declare("faq")
    assert shell("apply", "-y")[0] == 0
    shell.declare("faq", "lifecycle: {protect: true, suspend: true}\n")
    assert shell("apply", "-y")[0] == 0
    shell.spec("faq").unlink()
    _code, text = shell("apply", "-y")
    assert "faq" in shell.recorded, text


def test_protect_while_an_evaluation_cannot_be_made_is_in_force(shell):
    shell.declare("keep", "seed: 1\n")
    assert shell("apply", "-y")[0] == 0
    shell.declare("faq")
    shell.fault("complete", "overloaded")
    assert shell("apply", "-y")[0] == 1
    shell.declare("faq", "lifecycle: {protect: true}\n")
    shell("apply", "-y")
    shell.spec("faq").unlink()
    _code, text = shell("apply", "-y")
    assert "faq" in shell.recorded, text


def test_a_plug_in_that_ends_the_process_stops_nobody_else(shell):
    shell.declare("a", "seed: 5\n")
    shell.declare("b")
    path = shell.spec("a")
    path.write_text(path.read_text().replace("backend: odd", "backend: scripted"))
    shell.fault("resolve_base_model", "raise SystemExit('no licence')")
    code, text = shell("apply", "-y")
    assert shell.recorded["a"]["production"], (code, text)


def test_a_cancelled_call_of_a_plug_in_stops_nobody_else(shell):
    shell.declare("a", "seed: 5\n")
    shell.declare("b")
    path = shell.spec("a")
    path.write_text(path.read_text().replace("backend: odd", "backend: scripted"))
    shell.fault("resolve_base_model", "raise __import__('asyncio').CancelledError()")
    code, text = shell("apply", "-y")
    assert shell.recorded["a"]["production"], (code, text)


def test_cancel_says_whose_job_it_is_too(shell):
    shell.endless()
    shell.declare("a")
    shell.declare("b")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    code, text = shell("cancel", "a")
    assert "b" in text.replace("job-1", "").split(), (code, text, shell.states)


def test_retry_of_a_failed_unrecorded_job_names_reconcile(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "failed")
    _code, text = shell("retry", "faq")
    assert "reconcile" in text, text


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_json_of_every_command_is_json(shell, command):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    if command == "retry":
        shell.end("job-1", "failed")
        shell("reconcile")
    code, text = shell("--json", command, "faq")
    assert code == 0
    json.loads(text)


def test_a_job_that_only_a_suspended_fine_tune_wants_is_not_left_running(shell):
    shell.endless()
    shell.declare("a")
    shell.declare("b", "lifecycle: {suspend: true}\n")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.declare("a", "seed: 7\n")
    _, plan = shell("plan")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    followed = {entry["job"]["id"] for entry in shell.recorded.values() if "job" in entry}
    running = {line.split()[0] for line in shell.states if line.endswith("running")}
    assert running <= followed, plan + str(shell.states)


def test_protection_waits_for_the_job(shell):
    """`apply` waits for the job although protection was changed too."""
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.declare(more="lifecycle: {protect: true}\n")
    with background(shell, "apply", "-y") as process:
        still_looks(shell, process)


def test_reconcile_of_policies_is_no_error(shell):
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    (shell.root / "ftctl.yaml").write_text("policies: {require_license: true}\n")
    code, text = shell("reconcile")
    assert code == 0, text


def test_only_a_held_retirement_says_why(shell):
    shell.declare("a")
    shell.declare("b", "seed: 7\n")
    assert shell("apply", "-y")[0] == 0
    shell.spec("a").unlink()
    shell.declare("b")
    code, text = shell("apply", "-y", "--only", "a")
    assert "a" not in shell.recorded or "needs" in text or code != 0, text


def test_drift_makes_not_every_reconcile_red(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "vanished")
    codes = [shell("reconcile")[0] for _ in range(3)]
    assert codes[1:] == [0, 0], codes
