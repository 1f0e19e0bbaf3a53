"""Backends that give no answer stop no other; files that ftctl does not open are named."""

import io
import json
import os
import sys

import pytest

from controller.cli import run
from controller.lockfile.model import Lockfile, dump_lockfile, parse_lockfile
from tests.servers.silent_backends import entry, record

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


def test_a_place_without_answer_is_a_line_below_what_is_recorded(shell):
    record(shell, "scripted", "openai")
    code, text = shell("status")
    assert code == 0
    table, _, below = text.partition("\n\n")
    assert "openai     job not asked, in production" in table
    assert "scripted   job missing, in production" in table
    unasked, _, end = below.partition("\n\n")
    assert unasked == (
        "Not asked: openai: endpoint default: no key: the variable OPENAI_API_KEY is not set. "
        "Set OPENAI_API_KEY in the environment or in .env."
    )
    assert "! openai: the model in production" in end
    assert "2027-01-14" in end
    assert "(table of ftctl: OpenAI deprecations page" in end
    code, value = shell.json("status")
    assert code == 0
    assert list(value["unreachable"]) == ["openai"]
    assert value["finetunes"]["openai"]["state"] == "job not asked, in production"


def test_wait_still_waits_for_the_others(shell):
    shell.declare()
    assert shell("apply", "--auto-approve", "--no-wait")[0] == 0
    faq = parse_lockfile((shell.root / "finetunes/ftctl.lock").read_bytes(), "").finetunes["faq"]
    silent = entry("openai", 1)
    lockfile = Lockfile(finetunes={"faq": faq, "silent": silent})
    shell.write("finetunes/ftctl.lock", dump_lockfile(lockfile))
    shell.backend.set_script("job-1", "queued", "running", "succeeded")

    code, said = shell("wait", "--json")

    assert code == 1
    lines = [json.loads(line) for line in said.splitlines()]
    states = [line["state"] for line in lines]
    assert states.count("not asked") == 1
    assert states[-1] == "succeeded"
    assert shell("wait", "faq")[0] == 0


def test_a_job_that_its_backend_does_not_know_is_no_success(shell):
    record(shell, "scripted")
    code, text = shell("wait")
    assert (code, text) == (
        1,
        "! scripted: scripted does not know job ftjob-1 any more; see `ftctl plan`.\n",
    )
    code, text = shell("logs", "scripted")
    assert code == 1
    assert "scripted does not know job ftjob-1 any more" in text


@pytest.mark.parametrize("typed", [["wait"], ["apply"], ["reconcile"], ["logs", "none"]])
def test_errors_of_commands_that_stream_json_are_one_line(shell, typed):
    shell.declare(more="sed: 1\n")
    shell.write("finetunes/ftctl.lock", "{")
    code, said = shell(*typed, "--json")
    assert code == 1
    assert said.count("\n") == 1
    assert json.loads(said)["error"]


def test_a_prompt_that_is_refused_does_not_end_a_conversation(shell, monkeypatch):
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    (shell.root.parent / "picky.py").write_text(PICKY)
    # Not `syspath_prepend`: undone, it would bring back what `installed` had put there.
    monkeypatch.setattr(sys, "path", [str(shell.root.parent), *sys.path])
    entries = shell.root.parent / "site-packages/ftctl_scripted-1.0.dist-info/entry_points.txt"
    entries.write_text("[ftctl.backends]\nscripted = picky:create\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("long\nhello\n\n"))

    code, text = shell("chat", "faq")

    assert code == 0
    assert "1 message: hello" in text
    assert "! the prompt is too long. Shorten it." in text
    code, text = shell("chat", "faq", "-m", "long")
    assert (code, text) == (1, "the prompt is too long\n    Shorten it.\n")


PICKY = """
from backends.contract.completions import Completion
from backends.contract.errors import PromptRefused
from backends.testing import ScriptedBackend


def answer(model, prompt):
    last = prompt.messages[-1]["content"]
    if last == "long":
        raise PromptRefused("the prompt is too long", "Shorten it.")
    return Completion(text=f"{len(prompt.messages)} message: {last}", finish_reason="stop")


def create(state, endpoint):
    return ScriptedBackend(state, answer=answer)
"""


@pytest.mark.parametrize("typed", [["validate"], ["status"], ["chat", "faq", "-m", "x"]])
def test_a_link_out_is_refused_by_every_command(shell, tmp_path, typed):
    shell.declare()
    assert shell("apply", "--auto-approve")[0] == 0
    (shell.root / "finetunes").rename(tmp_path / "elsewhere")
    (shell.root / "finetunes").symlink_to(tmp_path / "elsewhere")
    code, text = shell(*typed)
    assert code == 1
    assert "leaves the repository through a link" in text


def test_a_failure_of_ours_is_still_a_defect(shell, monkeypatch):
    monkeypatch.setattr("controller.cli.validate.load_settings", lambda _: 1 / 0)
    shell.declare()
    code, text = shell("validate")
    assert code == 3
    assert "defect of ftctl" in text


@pytest.mark.parametrize("name", ["finetunes", "finetunes/data", ".gitignore"])
def test_init_writes_nothing_through_a_link(tmp_path, capsys, name):
    root, outside = tmp_path / "new", tmp_path / "outside"
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    if name != ".gitignore":
        outside.mkdir()
    assert run(["init", str(root)]) == 1
    assert "leaves the repository through a link" in capsys.readouterr().err
    assert not outside.exists() or not list(outside.iterdir())


def test_init_keeps_what_is_ignored_already(tmp_path, capsys):
    (tmp_path / ".gitignore").write_bytes(b"caf\xe9")
    assert run(["init", str(tmp_path)]) == 0
    assert capsys.readouterr().out
    assert (tmp_path / ".gitignore").read_bytes().startswith(b"caf\xe9\n# ftctl")


def test_answers_that_are_damaged_are_named(shell):
    shell.declare(more="gate:\n  - held_out_loss < base.held_out_loss\n")
    assert shell("apply", "--auto-approve")[0] == 0
    (kept,) = (shell.root / ".ftctl/evaluations").iterdir()
    kept.write_text("{")
    code, text = shell("show", "faq")
    assert code == 1
    assert "is damaged" in text
    assert shell("show", "faq", "--answers", "-1")[0] == 64


@pytest.mark.parametrize(
    "typed", [["chat", "faq", "--max-tokens", "0"], ["chat", "faq", "--temperature", "-1"]]
)
def test_numbers_that_no_backend_takes_are_wrong_usage(shell, typed):
    assert shell(*typed)[0] == 64


def test_a_spec_that_cannot_be_read_stops_no_other(shell):
    (name,) = record(shell, "scripted")
    os.mkfifo(shell.root / "finetunes/pipe.yaml")
    code, text = shell("validate")
    assert code == 1
    assert "finetunes/pipe.yaml: is a pipe or a device, not a file" in text
    code, text = shell("data", "build", name)
    assert (code, "pipe" in text) == (0, False)


@pytest.mark.parametrize("typed", [["serve", "--port", "0"], ["doctor"], ["validate"]])
def test_settings_that_lead_out_are_refused(shell, typed):
    shell.declare()
    (shell.root.parent / "private.yaml").write_text("password: hunter2\n")
    (shell.root / "ftctl.yaml").symlink_to("../private.yaml")
    code, text = shell(*typed)
    assert code == 1
    assert "password" not in text
    if typed[0] != "doctor":
        assert "ftctl.yaml: leaves the repository through a link" in text


def test_serve_names_a_state_folder_that_cannot_be_written(shell):
    shell.write(".ftctl", "a file")
    shell.declare()
    code, text = shell("serve", "--port", "0")
    assert code == 1
    assert "FTCTL_STATE_DIR" in text
