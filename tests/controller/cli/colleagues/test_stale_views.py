"""Edits while a run waits, and approvals that bind."""

import pytest

from tests.children import background, until
from tests.controller.cli.colleagues.people import (
    FAQ,
    end,
    jobs,
    price,
    recorded,
    running,
    states,
    trained,
)


@pytest.mark.parametrize("edit", ["spec", "data"])
def test_two_runs_with_an_edit_between_them_never_fight(shell, edit: str):
    shell.declare(backend="priced")
    with background(shell, "apply", "-y") as first:
        until(lambda: jobs(shell) == 1)
        if edit == "spec":
            shell.declare(more="seed: 7\n", backend="priced")
        else:
            path = shell.root / "finetunes/data/faq.csv"
            path.write_text(path.read_text() + "".join(f"new{n}?,yes.\n" for n in range(20)))
        with background(shell, "apply", "-y") as second:
            until(lambda: jobs(shell) == 2)
            text, _ = first.communicate(timeout=20)
            calls = shell.packages.parent / "calls"
            seen = calls.read_text().count("observe")
            until(lambda: calls.read_text().count("observe") > seen + 2)
            assert states(shell) == ["cancelled", "running"]
            assert second.poll() is None
            assert first.returncode == 6
            assert "the specs changed while this run waited: `ftctl apply` again" in text
            end(shell, "job-2")
            assert second.wait(timeout=20) == 0
    assert jobs(shell) == 2


def test_a_waiting_run_touches_nothing_that_was_added_meanwhile(shell):
    shell.declare("a", backend="priced")
    with background(shell, "apply", "-y") as first:
        until(lambda: jobs(shell) == 1)
        shell.declare("b", "seed: 7\n", backend="priced")
        assert shell("apply", "-y", "--no-wait")[0] == 0
        end(shell, "job-1")
        text, _ = first.communicate(timeout=20)
        assert first.returncode == 0, text
    assert recorded(shell)["a"]["production"]
    assert recorded(shell)["b"]["job"]["id"] == "job-2"
    assert states(shell) == ["succeeded", "running"]


def test_a_waiting_run_records_its_own_job_after_an_edit_and_says_so(shell):
    shell.declare(backend="priced")
    with background(shell, "apply", "-y") as first:
        until(lambda: jobs(shell) == 1)
        shell.declare(more="seed: 7\n", backend="priced")
        end(shell, "job-1")
        text, _ = first.communicate(timeout=20)
    assert first.returncode == 6
    assert "the specs changed while this run waited" in text
    [entry] = recorded(shell).values()
    assert len(entry["builds"]) == 1
    assert "production" not in entry
    assert jobs(shell) == 1


def test_an_approval_for_one_fine_tune_cancels_no_job_of_another(shell):
    trained(shell, "a")
    shell.declare("z", "seed: 7\n", backend="priced")
    _, plan = shell.json("plan")
    with background(shell, "apply", "--expect", plan["id"]) as first:
        until(lambda: jobs(shell) == 2)
        shell.declare("a", "seed: 9\ngate: []\n", backend="priced")
        assert shell("apply", "-y", "--no-wait")[0] == 0
        end(shell, "job-2")
        text, _ = first.communicate(timeout=20)
        assert first.returncode == 0, text
    assert states(shell) == ["succeeded", "succeeded", "running"]
    assert recorded(shell)["a"]["job"]["id"] == "job-3"


@pytest.mark.parametrize(
    "change",
    [
        "seed: 7\n",
        "",  # the gate is gone
        "gate: ['held_out_loss < 5']\n",
        FAQ + "evaluation: {max_tokens: 8}\n",
        FAQ + "lifecycle: {protect: true}\n",
        FAQ + "budget: {max_usd: 5000}\n",
        "price",
        "budget",
    ],
)
def test_a_saved_plan_is_refused_after_anything_that_was_decided_by(shell, tmp_path, change: str):
    price(shell, 1, 2)
    shell.declare(more=FAQ, backend="priced")
    shell.write("ftctl.yaml", "budget: {max_usd: 3000}\n")
    file = str(tmp_path / "p.json")
    assert shell("plan", "--out", file)[0] == 0
    if change == "price":
        price(shell, 1000, 2000)
    elif change == "budget":
        shell.write("ftctl.yaml", "budget: {max_usd: 4000}\n")
    else:
        shell.declare(more=change, backend="priced")
    code, text = shell("apply", file, "--no-wait")
    assert code == 6
    assert "changed since: " in text
    assert jobs(shell) == 0


def test_a_saved_plan_is_refused_when_it_would_cancel_or_replace_something_else(shell, tmp_path):
    first = trained(shell)
    shell.declare(more="seed: 7\n")
    file = str(tmp_path / "p.json")
    shell("plan", "--out", file)
    shell.declare(more="seed: 8\n")
    shell("apply", "-y")
    shell.declare(more="seed: 7\n")
    code, text = shell("apply", file)
    assert code == 6
    assert "changed since: faq" in text
    assert recorded(shell)["faq"]["production"] != first


def test_a_saved_plan_stays_good_while_jobs_run_by_themselves(shell, tmp_path):
    job = running(shell, "a")
    shell.declare("b", "seed: 7\n")
    file = str(tmp_path / "p.json")
    shell("plan", "--out", file)
    end(shell, job)
    assert shell("reconcile")[0] == 0
    assert recorded(shell)["a"]["production"]
    assert shell("apply", file)[0] == 0
    assert recorded(shell)["b"]["production"]
