"""What is cancelled, what is remembered, and what is said."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.controller.cli.colleagues.people import (
    FAQ,
    STRICT,
    fault,
    jobs,
    price,
    recorded,
    running,
    states,
    trained,
)


def test_a_revert_says_what_it_cancels_and_what_that_cost_in_every_format(shell, golden):
    trained(shell, "back")
    running(shell, "back", "seed: 7\n")
    running(shell, "gone", "seed: 8\n")
    shell.declare("back")
    (shell.root / "finetunes/gone.yaml").unlink()
    text, markdown = shell("plan")[1], shell("plan", "--format", "github")[1]
    _, value = shell.json("plan")
    today = re.compile(r"\d{4}-\d\d-\d\d")
    golden("render/revert.txt", today.sub("2026-11-28", text))
    golden("render/revert.md", today.sub("2026-11-28", markdown))
    for action, job in zip(value["actions"], ("job-2", "job-3"), strict=True):
        assert action["needs_approval"]
        assert (action["cancels"]["job"], action["cancels"]["usd"]) == (job, [40.0, 80.0])
    assert "**cancels** job `job-2` at priced" in markdown
    assert "$40.00 - $80.00" in text
    assert shell("apply", "-y")[0] == 0
    assert states(shell) == ["succeeded", "cancelled", "cancelled"]


@pytest.mark.parametrize("git", [False, True])
@pytest.mark.parametrize("how", ["gate", "pin"])
def test_a_lost_lockfile_comes_back_whole(shell, how: str, *, git: bool):
    first = trained(shell, more=FAQ)
    if how == "gate":
        shell.declare(more=STRICT + "seed: 7\n")
        assert shell("apply", "-y")[0] == 4
    else:
        trained(shell, more="seed: 7\n")
        pin = first.partition(":")[2][:12]
        shell.declare(more=f"seed: 7\nlifecycle: {{pin: {pin}}}\n")
        assert shell("apply", "-y")[0] == 0
    before = recorded(shell)["faq"]
    assert before["production"] == first
    if git:
        commit(shell.root)
    (shell.root / "finetunes/ftctl.lock").unlink()
    if how == "gate":
        shell.declare(
            more=FAQ.replace("<", "<=") + "seed: 7\n" if not git else STRICT + "seed: 7\n"
        )
    _, plan = shell("plan")
    source = "finetunes/ftctl.lock of commit" if git else "scripted"
    assert f"the lockfile has no entry for it; {source}" in plan
    code, text = shell("apply", "-y")
    assert code in {0, 4}, text
    entry = recorded(shell)["faq"]
    assert entry["builds"].keys() == before["builds"].keys()
    if git:
        assert entry == before
    elif how == "pin":
        assert entry["production"] == first
    assert jobs(shell) == 2


def test_production_comes_back_when_the_newest_build_fails_its_gate(shell):
    first = trained(shell, more="gate: ['stop_rate >= 1']\n")
    answers = shell.root / "worse"
    answers.touch()
    trained(shell, more="seed: 7\ngate: ['stop_rate >= 1']\n")
    shell.declare(more="gate: ['stop_rate >= 1']\n")
    shell("apply", "-y")
    assert recorded(shell)["faq"]["production"] == first
    (shell.root / "finetunes/ftctl.lock").unlink()
    assert shell("apply", "-y")[0] == 0
    assert recorded(shell)["faq"]["production"] is not None
    assert len(recorded(shell)["faq"]["builds"]) == 2
    assert shell("apply", "-y")[0] == 0
    assert recorded(shell)["faq"]["production"] == first


def commit(root: Path) -> None:
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run(
            ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
            capture_output=True,
            timeout=110,
        )


@pytest.mark.parametrize("when", ["before the first promotion", "while a candidate is blocked"])
def test_protection_is_in_force_from_the_first_record_on(shell, when: str):
    shell.declare("keep", "seed: 1\n")
    shell("apply", "-y")
    if when == "before the first promotion":
        running(shell, "faq", "lifecycle: {protect: true}\n")
    else:
        shell.declare("faq", STRICT)
        assert shell("apply", "-y")[0] == 4
        shell.declare("faq", STRICT + "lifecycle: {protect: true}\n")
        assert shell("apply", "-y")[0] == 0
    assert recorded(shell)["faq"]["protect"] is True
    (shell.root / "finetunes/faq.yaml").unlink()
    code, text = shell("apply", "-y")
    assert code == 1
    assert "finetunes/faq.yaml is gone, but it is protected" in text
    assert "faq" in recorded(shell)


def test_offline_no_server_is_asked_about_jobs(shell):
    job = running(shell)
    calls = shell.packages.parent / "calls"
    calls.unlink()
    code, text = shell("plan", "--offline")
    assert code == 0
    assert f"job {job} is recorded as open; priced was not asked" in text
    assert "Not asked: priced: no server is asked with --offline" in text
    assert not calls.exists()
    fault(shell, "no route to host")
    assert shell("plan", "--offline")[0] == 0


def test_suspended_and_failing_its_own_gate_are_said(shell):
    trained(shell, "held")
    trained(shell, "worse", "seed: 7\n")
    shell.declare("held", "lifecycle: {suspend: true}\n")
    code, text = shell("plan", "--detailed-exitcode")
    assert (code, text) == (
        0,
        "No changes. All 2 fine-tunes match their specs. Suspended: held.\n",
    )
    shell.declare("held", "seed: 9\nlifecycle: {suspend: true}\n")
    code, text = shell("plan", "--detailed-exitcode")
    assert code == 2
    assert "lifecycle.suspend is set; without it: seed changed" in text
    shell.declare("held")
    shell.declare("worse", "seed: 7\n" + STRICT)
    assert shell("apply", "-y")[0] == 4
    code, text = shell("plan", "--detailed-exitcode")
    assert code == 2
    assert "in production, did not pass the gate: held_out_loss < 0.1" in text
    assert shell("apply", "-y")[0] == 0


def test_the_budget_counts_what_will_be_spent(shell):
    price(shell, 40, 80)
    shell.write("ftctl.yaml", "budget: {max_usd: 100}\n")
    shell.declare("a", backend="priced")
    shell.declare("b", backend="priced")
    code, text = shell("apply", "-y", "--no-wait")
    assert code == 0, text
    assert "Cost: $40.00 - $80.00." in text
    assert jobs(shell) == 1
    shell.declare("a", "seed: 7\n", backend="priced")
    shell.declare("b", "seed: 7\n", backend="priced")
    code, text = shell("apply", "-y", "--no-wait")
    assert code == 0, text
    assert states(shell) == ["cancelled", "running"]
    shell.declare("c", "seed: 8\n", backend="priced")
    code, text = shell("apply", "-y", "--no-wait")
    assert code == 5
    assert "up to $80.00, with $80.00 for open and earlier jobs" in text


def test_json_lines_are_lines(shell):
    shell.declare()
    for arguments in (["apply", "-y"], ["apply", "-y"], ["reconcile"]):
        _, text = shell(*arguments, "--json")
        for line in text.splitlines():
            assert isinstance(json.loads(line), dict)
