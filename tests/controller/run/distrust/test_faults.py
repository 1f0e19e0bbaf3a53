"""Figures that are no numbers, files that cannot be written, settings that break."""

import json
import sys

import pytest

import controller.evaluate.measure as evaluation
from backends.atomic_files import write_atomic
from tests.controller.run.distrust.distrusted import STRICT, apply_saved

NAN_LOSS = """
from dataclasses import replace
old = backend.answer
backend.answer = lambda model, prompt: replace(old(model, prompt), reference_loss=float('nan'))
"""
NAN_FACTS = """
from dataclasses import replace
seen = backend.__class__.observe
def observe(self, ids):
    jobs = seen(self, ids)
    facts = {'train_loss': float('nan')}
    return {key: replace(job, result=replace(job.result, facts=facts)) for key, job in jobs.items()}
backend.__class__.observe = observe
"""


def test_a_model_that_diverged_stops_nobody(shell):
    """Its held-out loss is not a number."""
    shell.declare("a")
    shell.hook("complete", NAN_LOSS)
    code, text = shell("apply", "-y")
    assert code in {1, 4}, (code, text[-300:])


@pytest.mark.parametrize("command", [["plan"], ["reconcile"], ["apply", "-y"]])
def test_a_job_whose_figures_are_no_numbers_stops_nobody(shell, command):
    shell.endless()
    shell.declare("a")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.hook("capabilities", NAN_FACTS)
    code, text = shell(*command)
    assert code in {0, 1}, (code, text[-300:])


def test_one_answers_file_that_cannot_be_written_stops_nobody_else(shell):
    shell.declare("a")
    shell.declare("b", "seed: 5\n")
    assert shell("apply", "-y")[0] == 0
    shell.declare("a", STRICT + "evaluation: {max_tokens: 8}\n")
    shell.declare("b", "seed: 5\nevaluation: {max_tokens: 8}\n")
    digits = shell.recorded["a"]["production"].partition(":")[2][:16]
    folder = str(shell.root / ".ftctl/evaluations")
    before = shell.recorded["b"]
    shell.hook(
        "complete",
        "import os, pathlib\n"
        f"for path in list(pathlib.Path({folder!r}).glob('{digits}-*')):\n"
        "    path.unlink()\n"
        f"import controller.evaluate.measure as module\n"
        "make = module.write_atomic\n"
        "def write(path, data):\n"
        f"    if path.name.startswith('{digits}'):\n"
        "        raise OSError(28, 'No space left on device', str(path))\n"
        "    make(path, data)\n"
        "module.write_atomic = write\n",
    )
    code, text = shell("apply", "-y")
    evaluation.write_atomic = write_atomic
    assert shell.recorded["b"]["builds"] != before["builds"], (code, text)


def test_reconcile_submits_nothing_when_an_interrupted_job_vanishes(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "interrupted")
    shell.hook("submit", "backend.set_script('job-1', 'vanished')")
    _, text = shell("reconcile")
    assert (
        shell.recorded["faq"]["job"]["id"]
        in {j.id for j in shell.backend.jobs if j.state == "running"}
        or len(shell.states) == 1
    ), (text, shell.states)


def test_settings_that_break_while_a_run_acts_are_not_called_nothing_done(shell):
    shell.declare()
    path = str(shell.root / "ftctl.yaml")
    shell.hook("submit", f"import pathlib; pathlib.Path({path!r}).write_text('budgt: 3\\n')")
    _code, text = shell("apply", "-y")
    assert "Nothing was done" not in text, text


def test_a_json_stream_of_a_run_that_acted_ends_with_its_end(shell):
    shell.declare()
    path = str(shell.root / "ftctl.yaml")
    shell.hook("submit", f"import pathlib; pathlib.Path({path!r}).write_text('budgt: 3\\n')")
    _code, text = shell("apply", "-y", "--json")
    assert any(json.loads(line).get("type") == "end" for line in text.splitlines()), text


def test_a_finished_job_is_recorded_although_the_settings_are_broken(shell):
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    (shell.root / "ftctl.yaml").write_text("policies: {require_licence: true}\n")
    _code, text = shell("reconcile")
    assert shell.recorded["faq"].get("builds"), text


def test_a_reader_beside_a_run_sees_its_records(shell):
    """The journal is folded in between the reading of the lockfile and of the journal."""
    shell.declare()
    assert shell("apply", "-y")[0] == 0
    journal = shell.root / ".ftctl/journal.jsonl"
    journal.write_bytes(b"")
    armed = [True]

    def fold(event, arguments):
        if event == "open" and armed and str(arguments[0]) == str(journal):
            armed.clear()
            journal.unlink()

    sys.addaudithook(fold)
    code, text = shell("status")
    assert code == 0, text


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1e999}'])
def test_any_file_can_be_refused_as_a_plan(shell, text):
    shell.declare()
    (shell.top / "p.json").write_text(text)
    code, said = apply_saved(shell)
    assert code == 1, said[-300:]
