"""Saved plans, and fine-tunes that are renamed or retired."""

import json
import time
from contextlib import ExitStack

from backends.atomic_files import locked
from tests.children import background, until
from tests.controller.run.distrust.distrusted import (
    ROWS,
    STRICT,
    apply_saved,
    save_plan,
    still_looks,
)


def test_a_plan_to_judge_shows_and_binds_what_it_replaces(shell):
    for seed in (0, 1):
        shell.declare(more=f"seed: {seed}\n")
        assert shell("apply", "-y")[0] == 0
    shell.declare(more="seed: 2\n" + STRICT)
    assert shell("apply", "-y")[0] == 4
    shell.declare(more="seed: 2\n")
    save_plan(shell)
    _, plan = shell("plan")
    value = json.loads(shell.lock.read_text())
    entry = value["finetunes"]["faq"]
    [other] = entry["builds"].keys() - {entry["production"], entry["candidate"]}
    entry["production"] = other
    shell.lock.write_text(json.dumps(value))
    code, text = apply_saved(shell)
    assert "production" in plan, plan
    assert code == 6, text


def test_a_saved_plan_is_refused_after_its_tracking_was_changed(shell):
    shell.declare()
    save_plan(shell)
    shell.declare(more="tracking: {wandb: {project: elsewhere}}\n")
    code, text = apply_saved(shell)
    assert code == 6, text


def test_a_saved_plan_goes_ahead_for_whom_the_dead_server_does_not_concern(shell):
    shell.declare("a")
    shell.declare("b", "seed: 2\n")
    path = shell.spec("a")
    path.write_text(path.read_text().replace("backend: odd", "backend: scripted"))
    save_plan(shell)
    shell.fault("find_jobs", "503")
    code, text = shell("apply", str(shell.top / "p.json"))
    assert "a" in shell.recorded, (code, text)


def test_a_job_that_is_taken_over_is_waited_for(shell):
    """A colleague's attempt 2 runs when `apply`, which showed attempt 1, gets the lock."""
    theirs, mine = shell.top / "theirs", shell.root
    (theirs / "finetunes/data").mkdir(parents=True)
    (theirs / "finetunes/data/faq.csv").write_text(ROWS)
    shell.endless()
    shell.declare()
    shell.declare(root=theirs)
    (mine / ".ftctl").mkdir()
    calls = shell.top / "calls"
    with ExitStack() as stack:
        with locked(mine / ".ftctl/lock") as held:
            assert held
            process = stack.enter_context(background(shell, "apply", "-y"))
            until(lambda: calls.exists() and "find_jobs" in calls.read_text())
            time.sleep(1)
            shell.root = theirs
            assert shell("apply", "-y", "--no-wait")[0] == 0
            shell.end("job-1", "failed")
            shell("reconcile")
            shell("retry", "faq")
            assert shell("apply", "-y", "--no-wait")[0] == 0
            shell.root = mine
        still_looks(shell, process)


def test_a_rename_is_that_of_the_fine_tune_that_was_in_production(shell):
    """aa and bb have equal inputs; aa was removed, bb renamed."""
    shell.declare("aa", STRICT)
    shell.declare("bb")
    assert shell("apply", "-y")[0] == 4
    shell.spec("aa").unlink()
    shell.spec("bb").rename(shell.spec("cc"))
    _, plan = shell("plan")
    assert "finetunes/bb.yaml was renamed to cc.yaml" in plan, plan


def test_a_pin_of_one_digit_makes_no_ancestor(shell):
    shell.declare("old", "seed: 5\n")
    assert shell("apply", "-y")[0] == 0
    digit = shell.recorded["old"]["production"].partition(":")[2][0]
    shell.spec("old").unlink()
    shell.declare("new", f"seed: 9\nlifecycle: {{pin: '{digit}'}}\n")
    _, plan = shell("plan")
    assert "renamed" not in plan, plan


def test_a_name_that_was_retired_starts_anew(shell):
    """The old model, which was forgotten on purpose, goes back into production."""
    shell.declare("keep", "seed: 1\n")
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    [forgotten] = shell.recorded["faq"]["builds"]
    shell.spec("faq").unlink()
    assert shell("apply", "-y")[0] == 0
    shell.declare(more="seed: 9\n")
    _, text = shell("apply", "-y")
    assert shell.recorded["faq"].get("production") != forgotten, text
