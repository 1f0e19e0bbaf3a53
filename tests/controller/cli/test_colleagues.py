"""What people do while a run waits, between a plan and its apply, and to names, files and servers.

Through the real command line, so that each of these can be typed.
"""

import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.testing import ScriptedBackend
from tests import children

FAQ = "gate: ['held_out_loss < base.held_out_loss']\n"
STRICT = "gate: ['held_out_loss < 0.1']\n"
PLUGIN = '''
"""A backend whose jobs run until a test ends them, at a price that a file tells."""
import json
from pathlib import Path

from backends.contract.errors import BackendError
from backends.testing import ScriptedBackend


class Priced(ScriptedBackend):
    def _tell(self, call):
        fault = Path({folder!r}) / "fault"
        if fault.exists():
            text = fault.read_text()
            if text == "nonsense":
                return {{"job-1": "soon"}}
            raise ValueError(text) if text.startswith("bug") else BackendError(text, "try later")
        with (Path({folder!r}) / "calls").open("a") as file:
            file.write(call + "\\n")
        return None

    def observe(self, job_ids):
        return self._tell("observe") or super().observe(job_ids)

    def find_jobs(self, fingerprints):
        return self._tell("find_jobs") or super().find_jobs(fingerprints)


def create(state, endpoint):
    backend = Priced(state, script=["running"] * 100_000)
    price = Path({folder!r}) / "price"
    backend.usd = tuple(json.loads(price.read_text())) if price.exists() else (1.0, 2.0)
    backend.remote = True
    return backend
'''


@pytest.fixture
def shell(shell, installed, tmp_path: Path):
    del installed
    packages = tmp_path / "site-packages"
    (packages / "priced_plugin.py").write_text(PLUGIN.format(folder=str(tmp_path)))
    entries = packages / "ftctl_scripted-1.0.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text() + "priced = priced_plugin:create\n")
    shell.packages = packages
    yield shell
    sys.modules.pop("priced_plugin", None)


@pytest.fixture(autouse=True)
def _no_endless_wait():
    """End a test whose run waits for a job that nobody ends."""
    previous = signal.signal(signal.SIGALRM, _waited_too_long)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def _waited_too_long(*_: object) -> None:
    raise AssertionError("the run waits for ever")


def price(shell, low: float, high: float) -> None:
    (shell.packages.parent / "price").write_text(json.dumps([low, high]))


def fault(shell, text: str | None) -> None:
    path = shell.packages.parent / "fault"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)


def recorded(shell) -> dict:
    path = shell.root / "finetunes" / "ftctl.lock"
    return json.loads(path.read_text())["finetunes"] if path.exists() else {}


def trained(shell, name: str = "faq", more: str = "") -> str:
    """Train on the scripted backend, to the end; return the build in production."""
    shell.declare(name, more)
    assert shell("apply", "-y")[0] == 0
    return recorded(shell)[name]["production"]


def running(shell, name: str = "faq", more: str = "", *, usd=(40.0, 80.0)) -> str:
    """Submit a job that runs until a test ends it; return its ID."""
    price(shell, *usd)
    shell.declare(name, more, backend="priced")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    return recorded(shell)[name]["job"]["id"]


def end(shell, job: str, state: str = "succeeded") -> None:
    shell.backend.set_script(job, state)


def states(shell) -> list[str]:
    return [str(job.state) for job in shell.backend.jobs]


def background(shell, *arguments: str):
    return children.background(shell.root, shell.packages, *arguments)


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def jobs(shell) -> int:
    return len(ScriptedBackend(shell.root / ".ftctl").jobs)


# --- R1, R2: acting on a stale view -----------------------------------------------------------


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


# --- R3, R4: approval binds -------------------------------------------------------------------


def test_an_approval_for_one_fine_tune_cancels_no_job_of_another(shell):
    trained(shell, "a")
    shell.declare("z", "seed: 7\n", backend="priced")
    _, plan = shell.json("plan")
    with background(shell, "apply", "--expect", plan["id"]) as first:
        until(lambda: jobs(shell) == 2)
        shell.declare("a", "seed: 9\n", backend="priced")
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


# --- R5: what nobody approved -----------------------------------------------------------------


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


# --- R6: names --------------------------------------------------------------------------------


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


# --- R7, R8, R18, R19: each fine-tune by itself -----------------------------------------------


def from_database(shell, name: str) -> None:
    text = (
        "backend: priced\nbase_model: acme/base\ndata:\n  train:\n"
        "    - sql: 'select q as prompt, a as completion from faq'\n"
        "      connection: FAQ_DATABASE_URL\n  held_out: {fraction: 0.25}\n"
    )
    shell.write(f"finetunes/{name}.yaml", text)


def test_a_finished_job_is_recorded_where_its_data_cannot_be_read(shell, tmp_path, monkeypatch):
    with sqlite3.connect(tmp_path / "faq.db") as database:
        database.execute("create table faq (q text, a text)")
        rows = [(f"q{n}?", f"a{n}.") for n in range(24)]
        database.executemany("insert into faq values (?, ?)", rows)
    database.close()
    monkeypatch.setenv("FAQ_DATABASE_URL", f"sqlite:///{tmp_path}/faq.db")
    from_database(shell, "sold")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    end(shell, "job-1")
    monkeypatch.delenv("FAQ_DATABASE_URL")
    code, text = shell("reconcile")
    assert code == 0
    assert "trained scripted:sold:" in text
    [build] = recorded(shell)["sold"]["builds"].values()
    assert build["job"] == "job-1"


def test_a_broken_spec_stops_nobody_else(shell):
    trained(shell, "kept", "seed: 3\n")
    job = running(shell, "open", "seed: 9\n")
    shell.declare("kept", "sed: 3\n")
    shell.declare("good", "seed: 5\n")
    end(shell, job)
    code, plan = shell("plan")
    assert code == 1
    assert '! finetune "kept"' in plan
    assert "finetunes/kept.yaml:8: sed: is not a known key" in plan
    assert '+ finetune "good"' in plan
    code, value = shell.json("plan")
    [kept] = [one for one in value["actions"] if one["name"] == "kept"]
    assert (code, kept["obstacle"], kept["problems"][0]["line"]) == (1, "input", 8)
    code, text = shell("reconcile")
    assert code == 1
    assert "open: trained" in text
    code, text = shell("apply", "-y")
    assert code == 1
    now = recorded(shell)
    assert now["good"]["production"]
    assert now["open"]["production"]
    assert now["kept"]["production"]


def test_every_spec_broken_still_records_a_finished_job(shell):
    job = running(shell)
    end(shell, job)
    shell.declare(more="sed: 1\n", backend="priced")
    code, text = shell("reconcile")
    assert code == 1
    assert "faq: trained" in text
    assert recorded(shell)["faq"]["builds"]


def test_only_broken_specs_are_an_error_and_nothing_is_done(shell):
    shell.declare(more="sed: 1\n")
    code, text = shell("apply", "-y")
    assert code == 1
    assert text.endswith("1 problem in 1 file. Nothing was done.\n")


def test_a_policy_concerns_who_breaks_it(shell):
    shell.write("ftctl.yaml", "policies: {require_license: true}\n")
    shell.declare("bad")
    shell.declare("good", "seed: 5\n")
    path = shell.root / "finetunes/good.yaml"
    path.write_text(path.read_text().replace("data:\n", "data:\n  license: MIT\n"))
    assert shell("plan")[0] == 5
    assert shell("apply", "-y")[0] == 5
    assert recorded(shell)["good"]["production"]


@pytest.mark.parametrize("text", ["503 from a proxy", "bug in a plug-in", "nonsense"])
def test_a_dead_server_or_a_misbehaving_plug_in_stops_nobody_else(shell, text: str):
    job = running(shell, "there")
    shell.declare("here", "seed: 7\n")
    shell.declare("wanted", "seed: 8\n", backend="priced")
    fault(shell, text)
    code, plan = shell("plan")
    assert code == 1
    assert f"job {job} is recorded as open; priced gave no answer: " in plan
    assert '+ finetune "here"' in plan
    code, said = shell("apply", "-y")
    assert code == 1
    assert "defect" not in said
    assert "Traceback" not in said
    assert recorded(shell)["here"]["production"]
    assert recorded(shell)["there"]["job"]["id"] == job
    assert jobs(shell) == 2
    assert shell("reconcile")[0] == 1
    fault(shell, None)
    end(shell, job)
    assert shell("reconcile")[0] == 0
    assert recorded(shell)["there"]["production"]


def test_what_was_reported_once_makes_no_later_run_red(shell):
    shell.declare("gated", STRICT)
    assert shell("apply", "-y")[0] == 4
    job = running(shell, "failed", "seed: 7\n")
    end(shell, job, "failed")
    assert shell("reconcile")[0] == 1
    for command in (["reconcile"], ["apply", "-y"], ["plan"]):
        code, text = shell(*command)
        assert code == 0, text
    status = shell("status")[1]
    assert "gate failed" in status
    assert "failed" in status
    shell.declare("good", "seed: 8\n")
    assert shell("apply", "-y")[0] == 0


# --- R9: what is cancelled --------------------------------------------------------------------


def test_a_revert_says_what_it_cancels_and_what_that_cost_in_every_format(shell, golden):
    trained(shell, "back")
    running(shell, "back", "seed: 7\n")
    running(shell, "gone", "seed: 8\n")
    shell.declare("back")
    (shell.root / "finetunes/gone.yaml").unlink()
    text, markdown = shell("plan")[1], shell("plan", "--markdown")[1]
    _, value = shell.json("plan")
    today = re.compile(r"\d{4}(\\?)-\d\d(\\?)-\d\d")
    golden("render/revert.txt", today.sub("2026-11-28", text))
    golden("render/revert.md", today.sub(r"2026\1-11\2-28", markdown))
    for action, job in zip(value["actions"], ("job-2", "job-3"), strict=True):
        assert action["needs_approval"]
        assert (action["cancels"]["job"], action["cancels"]["usd"]) == (job, [40.0, 80.0])
    assert "cancels job job" in markdown.replace("\\", "")
    assert "$40.00 - $80.00" in text
    assert shell("apply", "-y")[0] == 0
    assert states(shell) == ["succeeded", "cancelled", "cancelled"]


# --- R10, R11: what is remembered -------------------------------------------------------------


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
            timeout=60,
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


# --- R13, R14, R15 ----------------------------------------------------------------------------


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


# --- R17: a server without the base model -----------------------------------------------------


def test_json_lines_are_lines(shell):
    shell.declare()
    for arguments in (["apply", "-y"], ["apply", "-y"], ["reconcile"]):
        _, text = shell(*arguments, "--json")
        for line in text.splitlines():
            assert isinstance(json.loads(line), dict)
