"""`ftctl track` and `ftctl export`, as people type them."""

import json
import os
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.usefixtures("installed")

SECRET = "사장님의 비밀 문장"


@pytest.fixture
def evaluated(shell):
    """Return a repository with a build that was evaluated."""
    shell.declare(more='gate: ["exact_match >= 0"]\nevaluation: {metrics: [exact_match]}\n')
    rows = "question,answer\n" + "".join(f"{SECRET} {n}?,{SECRET} {n}.\n" for n in range(24))
    shell.write("finetunes/data/faq.csv", rows)
    assert shell("apply", "--auto-approve")[0] == 0
    return shell


def test_without_a_tracker_it_says_how_to_declare_one(evaluated):
    code, text = evaluated("track", "faq")
    assert code == 1
    assert "ftctl.yaml names no tracker" in text
    assert "tracking: {tensorboard: {folder: runs}}" in text


def test_without_an_evaluated_build(shell):
    shell.write("ftctl.yaml", "tracking: {tensorboard: {folder: runs}}\n")
    shell.declare()
    code, text = shell("track", "faq")
    assert (code, "nothing is recorded for 'faq'" in text) == (1, True)


def test_a_tracker_that_fails_is_exit_code_1(evaluated, tmp_path, monkeypatch):
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (libraries / "trackio.py").write_text("raise RuntimeError('is down')\n")
    monkeypatch.setenv("PYTHONPATH", f"{libraries}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    evaluated.write("ftctl.yaml", "tracking: {trackio: {project: cafe}}\n")
    code, text = evaluated("track", "faq")
    assert (code, "! trackio: RuntimeError: is down" in text) == (1, True)
    code, value = evaluated.json("track", "faq")
    assert (code, value) == (1, {"trackio": {"runs": [], "error": "RuntimeError: is down"}})


def test_offline_skips_servers_and_says_so(evaluated):
    text = "tracking: {mlflow: {experiment: c, tracking_uri: 'http://127.0.0.1:9'}}\n"
    evaluated.write("ftctl.yaml", text)
    code, text = evaluated("track", "faq", "--offline")
    assert code == 0
    assert text == "mlflow: not written, since it is a server and --offline is given\n"


def test_no_text_of_an_example_goes_to_a_tracker(evaluated):
    if find_spec("tensorboardX") is None:
        pytest.skip("tensorboardX is not installed: TensorBoard is not tested here")
    evaluated.write("ftctl.yaml", "tracking: {tensorboard: {folder: runs}}\n")
    code, text = evaluated("track", "faq")
    assert code == 0, text
    (folder,) = (evaluated.root / "runs").iterdir()
    assert text == f"tensorboard: runs/{folder.name}\n"
    evaluated("track", "faq")
    (file,) = folder.iterdir()
    content = file.read_bytes()
    assert b"candidate/exact_match" in content
    assert SECRET.encode() not in content


# ---- export


def test_promptfoo_gets_every_model_and_says_how_to_open_it(evaluated):
    out = evaluated.root / "out" / "faq.json"
    code, text = evaluated("export", "faq", "--format", "promptfoo", "--out", str(out))
    assert (code, "promptfoo import /repository/out/faq.json" in text) == (0, True)
    value = json.loads(out.read_bytes())
    assert value["results"]["prompts"][0]["provider"].startswith("candidate (")
    assert SECRET in value["results"]["results"][0]["vars"]["question"]


def test_inspect_gets_one_model(evaluated):
    out = evaluated.root / "faq.json"
    arguments = ("export", "faq", "--format", "inspect", "--out", str(out))
    code, value = evaluated.json(*arguments, "--model", "base")
    assert (code, value) == (0, {"file": "/repository/faq.json"})
    assert json.loads(out.read_bytes())["eval"]["metadata"]["role"] == "base"
    code, text = evaluated(*arguments, "--model", "bsae")
    assert (code, "no model of this evaluation is called 'bsae'" in text) == (1, True)
    assert "base" in text


def test_private_data_is_warned_of(evaluated):
    path = evaluated.root / "finetunes/faq.yaml"
    path.write_text(path.read_text().replace("data:\n", "data:\n  sensitivity: private\n"))
    out = str(evaluated.root / "faq.json")
    code, text = evaluated("export", "faq", "--format", "inspect", "--out", out)
    assert (code, "! faq: its data is declared private" in text) == (0, True)


WHOLE = {"id": "a", "origin": "f:1", "columns": {}, "messages": [], "answers": {}, "values": {}}
DAMAGES = [
    *("{", '{"id": "a"}', "[]", "\xff", "[" * 100_000),
    # A whole line but for one part, as a hand or a script leaves it.
    *(
        json.dumps({**WHOLE, **change})
        for change in (
            {"answers": ["a"]},
            {"answers": {"candidate": None}},
            {"values": 5},
            {"values": {"candidate": {"accuracy": "1"}}},
            {"messages": [None]},
            {"columns": None},
            {"latency_s": "fast"},
        )
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_file_is_named(evaluated, damage):
    (file,) = (evaluated.root / ".ftctl/evaluations").iterdir()
    file.write_bytes(damage.encode("latin-1") + b"\n")
    out = evaluated.root / "faq.json"
    code, text = evaluated("export", "faq", "--format", "inspect", "--out", str(out))
    assert code == 1
    assert "is damaged: a line is not an answered example" in text
    assert not out.exists()


def test_answers_of_another_machine_are_named(evaluated):
    for file in (evaluated.root / ".ftctl/evaluations").iterdir():
        file.unlink()
    code, text = evaluated("export", "faq", "--format", "inspect", "--out", "x.json")
    assert (code, "the answers are not on this machine" in text) == (1, True)
