"""What `reconcile` does without approval, and what becomes of names."""

import pytest

from tests.controller.cli.colleagues.people import (
    FAQ,
    STRICT,
    end,
    jobs,
    recorded,
    running,
    states,
    trained,
)


def test_reconcile_does_nothing_that_needs_approval(shell):
    trained(shell, "back")
    trained(shell, "back", "seed: 2\n")
    trained(shell, "gone", "seed: 3\n")
    trained(shell, "guarded", "seed: 4\nlifecycle: {protect: true}\n")
    shell.declare("failing", "seed: 5\ngate: ['held_out_loss < 0.1']\n")
    assert shell("apply", "-y")[0] == 4
    job = running(shell, "moved", "seed: 6\n")
    before, submitted = recorded(shell), jobs(shell)
    shell.declare("back")
    (shell.root / "finetunes/gone.yaml").unlink()
    shell.declare("guarded", "seed: 4\n")
    shell.declare("failing", "seed: 5\n")
    shell.declare("moved", "seed: 7\n", backend="priced")
    shell.declare("new", "seed: 8\n")
    for _ in range(3):
        code, text = shell("reconcile")
        assert code == 0
    assert "that is for `ftctl apply`" in text
    assert recorded(shell) == before
    assert jobs(shell) == submitted
    assert shell.backend.observe([job])[job].state == "running"


@pytest.mark.parametrize("gate", ["", "gate: ['held_out_loss < 5']\n"])
@pytest.mark.parametrize("when", ["while the job runs", "after it was recorded"])
def test_reconcile_promotes_on_the_terms_that_were_approved(shell, gate: str, when: str):
    job = running(shell, more=STRICT)
    end(shell, job)
    if when == "after it was recorded":
        assert shell("reconcile")[0] == 4
    shell.declare(more=gate, backend="priced")
    for _ in range(2):
        code, text = shell("reconcile")
        assert code == 0, text
    assert "that is for `ftctl apply`" in text
    assert len(recorded(shell)["faq"]["builds"]) == 1
    assert "production" not in recorded(shell)["faq"]
    assert shell("apply", "-y")[0] == 0
    assert recorded(shell)["faq"]["production"]


def test_reconcile_finishes_what_was_approved(shell):
    job = running(shell, more=FAQ)
    end(shell, job)
    code, text = shell("reconcile")
    assert code == 0
    assert "gate passed" in text
    assert recorded(shell)["faq"]["production"]


@pytest.mark.parametrize("new", ["aa", "zz"])
def test_a_renamed_fine_tune_is_the_same_and_is_not_evaluated_again(shell, new: str):
    first = trained(shell, "mm")
    second = trained(shell, "mm", FAQ + "seed: 7\n")
    before = recorded(shell)["mm"]
    (shell.root / "finetunes/mm.yaml").rename(shell.root / f"finetunes/{new}.yaml")
    _, plan = shell("plan")
    assert f"finetunes/mm.yaml was renamed to {new}.yaml" in plan
    code, text = shell("apply", "-y")
    assert code == 0, text
    assert recorded(shell) == {new: before}
    assert before["production"] == second != first
    assert shell("plan", "--detailed-exitcode")[0] == 0


def test_a_renamed_fine_tune_keeps_its_running_job(shell):
    job = running(shell, "mm")
    (shell.root / "finetunes/mm.yaml").rename(shell.root / "finetunes/zz.yaml")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    assert recorded(shell)["zz"]["job"]["id"] == job
    assert states(shell) == ["running"]


def test_a_build_is_taken_over_before_its_fine_tune_is_forgotten(shell):
    wanted = trained(shell, "aa")
    trained(shell, "zz", "seed: 7\n")
    (shell.root / "finetunes/aa.yaml").unlink()
    shell.declare("zz")
    assert shell("apply", "-y")[0] == 0
    assert recorded(shell).keys() == {"zz"}
    assert recorded(shell)["zz"]["production"] == wanted
    assert jobs(shell) == 2
