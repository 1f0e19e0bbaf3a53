"""A state folder that cannot be written is named; no file that is read meanwhile is to blame."""

import json

import pytest

pytestmark = pytest.mark.usefixtures("installed")

WRITES = [
    ["plan"],
    ["apply", "--auto-approve"],
    ["reconcile"],
    ["retry", "faq"],
    ["data", "build", "faq"],
    ["data", "stats", "faq"],
    ["data", "preview", "faq"],
]


def in_the_way(shell, _):
    shell.write(".ftctl", "a file")
    return shell.root / ".ftctl"


def elsewhere(shell, monkeypatch):
    shell.write("taken", "a file")
    folder = shell.root / "taken" / "state"
    monkeypatch.setenv("FTCTL_STATE_DIR", str(folder))
    return folder


@pytest.mark.parametrize("make", [in_the_way, elsewhere], ids=lambda make: make.__name__)
@pytest.mark.parametrize("typed", WRITES, ids=" ".join)
def test_what_must_be_written_and_cannot_is_named(shell, monkeypatch, make, typed):
    shell.declare()
    make(shell, monkeypatch)
    code, text = shell(*typed)
    assert code == 1
    assert text.startswith("the state folder cannot be written: /repository/")
    assert "FTCTL_STATE_DIR" in text
    assert "faq.csv" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("typed", [["validate"], ["status"], ["schema"]], ids=" ".join)
def test_what_writes_nothing_needs_no_state_folder(shell, monkeypatch, typed):
    shell.declare()
    elsewhere(shell, monkeypatch)
    assert shell(*typed)[0] == 0


def test_a_system_error_is_json_too(shell, monkeypatch):
    shell.declare()
    elsewhere(shell, monkeypatch)
    code, value = shell.json("plan")
    assert code == 1
    assert "FTCTL_STATE_DIR" in value["remedy"]
    code, text = shell("apply", "--auto-approve", "--json")
    assert code == 1
    assert text.count("\n") == 1
    assert json.loads(text)["error"].startswith("the state folder cannot be written")


def test_doctor_finds_it(shell, monkeypatch):
    shell.declare()
    in_the_way(shell, monkeypatch)
    code, text = shell("doctor")
    assert code == 1
    assert "FTCTL_STATE_DIR" in text
    assert "1 valid" in text
