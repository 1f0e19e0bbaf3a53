"""Each fine-tune by itself: broken specs, dead servers, bugs in plug-ins."""

import sqlite3

import pytest

from tests.controller.cli.colleagues.people import (
    STRICT,
    end,
    fault,
    jobs,
    recorded,
    running,
    trained,
)


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
