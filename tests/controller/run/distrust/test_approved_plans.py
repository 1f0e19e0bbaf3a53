"""`ftctl apply --approved FILE`: what was shown is carried out, what changed waits by itself."""

import json

import pytest

SETTINGS = "budget: {approve_above_usd: 3}\n"


def approve(shell, name="p.json"):
    """Save the plan as it is now; return the options that approve it."""
    path = str(shell.top / name)
    assert shell("plan", "--out", path)[0] == 0
    return "--approved", path


def lines_of(text, name):
    """Return what a run printed about one fine-tune, after its plan."""
    return [line for line in text.splitlines() if line.startswith(f"! {name}: ")]


def test_what_was_approved_is_carried_out_without_a_question(shell):
    shell.declare()
    code, text = shell("apply", *approve(shell))
    assert code == 0, text
    assert shell.recorded["faq"]["production"]


def test_a_changed_fine_tune_waits_and_the_others_continue(shell):
    shell.declare("same")
    shell.declare("changed", "seed: 2\n")
    options = approve(shell)
    shell.declare("changed", "seed: 3\n")
    shell.declare("unseen", "seed: 4\n")
    code, text = shell("apply", *options)
    assert code == 6, text
    assert list(shell.recorded) == ["same"]
    assert shell.recorded["same"]["production"]
    [waits] = lines_of(text, "changed")
    assert waits.startswith("! changed: waits: its spec or its data changed since plan ")
    assert waits.endswith("now planned: train (no build is recorded, $1.00 - $2.00)")
    [waits] = lines_of(text, "unseen")
    assert "waits: no approved plan has it; now planned: train" in waits
    assert "Incomplete: 1 submitted, 1 promoted, 2 waiting for approval." in text
    assert text.count("Look at `ftctl plan`, and approve what it shows.") == 2


def test_plans_of_several_pull_requests_are_approved_together(shell):
    shell.declare("first")
    one = approve(shell, "one.json")
    shell.declare("second", "seed: 2\n")
    two = approve(shell, "two.json")
    shell.declare("third", "seed: 3\n")
    code, text = shell("apply", *one, *two)
    assert code == 6, text
    assert sorted(shell.recorded) == ["first", "second"]


def test_another_price_waits_and_a_lower_one_does_not(shell):
    shell.declare()
    shell.set("usd", (4.0, 5.0))
    options = approve(shell)
    shell.set("usd", (4.0, 6.0))
    code, text = shell("apply", *options)
    assert code == 6
    assert "approved train (no build is recorded, $4.00 - $5.00)" in text
    assert "now planned: train (no build is recorded, $4.00 - $6.00)" in text
    shell.set("usd", (3.0, 4.5))
    assert shell("apply", *options)[0] == 0


def test_another_machine_may_know_how_long_it_takes(shell):
    shell.declare()
    shell.set("gpu_hours", None)
    options = approve(shell)
    shell.set("gpu_hours", (0.5, 1.0))
    code, text = shell("apply", *options)
    assert code == 0, text


def test_another_model_in_production_waits(shell):
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    shell.declare(more="seed: 2\n")
    options = approve(shell)
    shell.declare(more="seed: 3\n")
    assert shell("apply", "-y")[0] == 0
    shell.declare(more="seed: 2\n")
    code, text = shell("apply", *options)
    assert code == 6, text
    assert len(shell.recorded["faq"]["builds"]) == 2


def test_other_settings_wait(shell):
    shell.declare()
    options = approve(shell)
    (shell.root / "ftctl.yaml").write_text("budget: {max_usd: 50}\n")
    code, text = shell("apply", *options)
    assert code == 6
    assert "waits: ftctl.yaml changed since plan " in text


def test_a_run_that_died_is_continued_by_the_same_approval(shell):
    """The job runs, and its record is lost: the job that was approved is taken over."""
    shell.declare()
    options = approve(shell)
    shell.endless()
    assert shell("apply", *options, "--no-wait")[0] == 0
    shell.lock.unlink()
    (shell.root / ".ftctl").rename(shell.top / "lost")
    shell.end("job-1")
    code, text = shell("apply", *options)
    assert code == 0, text
    assert shell.states == ["job-1 succeeded"]
    assert shell.recorded["faq"]["production"]


def test_a_retired_fine_tune_waits_if_its_removal_was_not_seen(shell):
    shell.declare("a")
    shell.declare("b", "seed: 2\n")
    assert shell("apply", "-y")[0] == 0
    shell.declare("a", "seed: 3\n")
    options = approve(shell)
    shell.spec("b").unlink()
    code, text = shell("apply", *options)
    assert code == 6, text
    assert sorted(shell.recorded) == ["a", "b"]
    assert len(shell.recorded["a"]["builds"]) == 2


def test_what_needs_no_approval_is_done_for_every_fine_tune(shell):
    shell.declare("old")
    shell.endless()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.declare("new", "seed: 2\n")
    options = approve(shell)
    shell.endless(on=False)
    shell.end("job-1")
    shell.declare("new", "seed: 9\n")
    code, text = shell("apply", *options)
    assert code == 6, text
    assert shell.recorded["old"]["production"]
    assert "new" not in shell.recorded


def test_no_file_is_another_approval(shell, tmp_path):
    shell.declare()
    options = approve(shell)
    for other in (["-y"], ["--plan-id", "1234"], [options[1]]):
        code, text = shell("apply", *options, *other)
        assert code == 1
        assert "--approved cannot be combined with" in text
    code, text = shell("apply", "--approved", str(tmp_path / "none.json"))
    assert code == 1
    assert "none.json: No such file or directory" in text
    (tmp_path / "old.json").write_text('{"format": 1}')
    code, text = shell("apply", "--approved", str(tmp_path / "old.json"))
    assert code == 6
    assert "old.json is not a plan file of format 2: it approves nothing" in text
    assert "! faq: waits: no approved plan has it" in text
    assert shell.recorded == {}


def test_programs_read_what_waits(shell):
    shell.declare()
    options = approve(shell)
    shell.declare(more="seed: 2\n")
    code, text = shell("apply", *options, "--json")
    values = [json.loads(line) for line in text.splitlines()]
    assert code == 6
    assert [one["name"] for one in values if one["type"] == "error"] == ["faq"]
    assert values[-1] == {"type": "end", "exit_code": 6, "waiting": [], "held": ["faq"]}


def test_the_old_name_of_plan_id_works(shell):
    shell.declare()
    assert shell("apply", "-y", "--expect", "0123")[0] == 6
    assert shell("apply", "-y", "--plan-id", "0123")[0] == 6
    plan = json.loads(shell("plan", "--json")[1])
    assert plan["cost"] == {"usd": [1.0, 2.0], "unknown": 0}
    assert shell("apply", "--plan-id", plan["id"])[0] == 0


@pytest.mark.parametrize("way", [["-y"], ["--approved"]], ids=["yes", "approved"])
def test_a_cost_above_the_limit_needs_an_approval_of_its_own(shell, way):
    (shell.root / "ftctl.yaml").write_text(SETTINGS)
    for number, name in enumerate(("a", "b", "c")):
        shell.declare(name, f"seed: {number}\n")
    assert "Note: b, c: up to $2.00 with $2.00 for other jobs exceed budget" in shell("plan")[1]
    options = approve(shell) if way == ["--approved"] else way
    code, text = shell("apply", *options)
    assert code == 5, text
    assert list(shell.recorded) == ["a"]
    [waits] = lines_of(text, "b")
    assert waits == (
        "! b: waits: up to $2.00 with $2.00 for other jobs exceed budget.approve_above_usd: 3"
    )
    assert "Approve the cost of all jobs: ftctl apply --approve-cost 6" in text
    options = approve(shell) if way == ["--approved"] else way
    code, text = shell("apply", *options, "--approve-cost", "3.5")
    assert code == 5
    assert "exceed budget.approve_above_usd: 3, and $3.50 approved" in text
    options = approve(shell) if way == ["--approved"] else way
    assert shell("apply", *options, "--approve-cost", "6")[0] == 0
    assert sorted(shell.recorded) == ["a", "b", "c"]


def test_an_unknown_cost_is_above_every_limit(shell):
    (shell.root / "ftctl.yaml").write_text(SETTINGS)
    shell.declare()
    shell.set("usd", None)
    code, text = shell("apply", "-y", "--approve-cost", "100")
    assert code == 5
    assert "its cost is not known" in text
    assert "endpoints.NAME.prices" in text
    assert shell.recorded == {}


def test_equal_inputs_cost_once_and_wait_together(shell):
    (shell.root / "ftctl.yaml").write_text("budget: {approve_above_usd: 1}\n")
    shell.declare("a")
    shell.declare("b")
    code, text = shell("apply", "-y")
    assert code == 5
    assert len(lines_of(text, "a")) == len(lines_of(text, "b")) == 1
    assert shell.recorded == {}
    assert shell("apply", "-y", "--approve-cost", "2")[0] == 0
