"""`method: prompt` at the command line: every command that shows, asks, serves or exports a build."""

import json
import shutil
import sys

import pytest

SYSTEM = "카페 직원처럼 짧게 답하세요."
MORE = f"""\
method: prompt
prompt: {{system: {SYSTEM}, few_shot: 2}}
evaluation: {{metrics: [exact_match]}}
gate: [exact_match >= 0.9]
"""
BARE = 'backend: scripted\nbase_model: "ft:acme:old::Ab"\nmethod: prompt\n'
PLUGIN = """
from backends.contract.completions import Completion, text_of
from backends.testing import ScriptedBackend


def answer(model, prompt):
    read = [one["content"] for one in prompt.messages]
    if prompt.reference is None:
        return Completion(text=" | ".join(read), finish_reason="stop")
    good = len(read) > 4
    return Completion(text=text_of(prompt.reference) if good else "?", finish_reason="stop",
                      reference_loss=1.0 if good else 2.0, reference_tokens=4)


def create(state, endpoint):
    return ScriptedBackend(state, answer=answer)
"""


@pytest.fixture
def told(shell, tmp_path, monkeypatch):
    """Return a repository whose backend repeats what it was asked."""
    packages = tmp_path / "telling"
    info = packages / "ftctl_telling-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / "telling.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ftctl-telling\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ftctl.backends]\nscripted = telling:create\n")
    monkeypatch.delitem(sys.modules, "telling", raising=False)
    monkeypatch.setattr(sys, "path", [str(packages), *sys.path])
    shell.declare(more=MORE)
    return shell


@pytest.fixture
def faq(told):
    code, text = told("apply", "--auto-approve")
    assert code == 0, text
    return told


@pytest.fixture
def bare(told):
    (told.root / "finetunes/faq.yaml").unlink()
    told.write("finetunes/old.yaml", BARE)
    code, text = told("apply", "--auto-approve")
    assert code == 0, text
    return told


def test_apply_says_what_it_records(told, golden):
    code, text = told("apply", "--auto-approve")
    assert code == 0
    golden("render/apply-prompt.txt", text)


def test_chat_puts_the_prompt_before_the_conversation(faq):
    head = f"{SYSTEM} | "
    code, text = faq("chat", "faq", "-m", "몇 시에 여나요?")
    assert code == 0
    said = text.strip().split(" | ")
    assert (said[0], len(said), said[-1]) == (SYSTEM, 6, "몇 시에 여나요?")
    assert all(one.startswith(("q", "a")) for one in said[1:5])
    value = faq.json("chat", "faq", "-m", "안녕", "--base")[1]
    assert value["base"] == "안녕"
    assert value["prompted"].startswith(head)
    assert faq("chat", "faq", "-m", "안녕", "--base")[1].startswith("base     안녕\nprompted ")


def test_chat_says_where_the_examples_are_if_they_are_not_here(faq):
    shutil.rmtree(faq.root / ".ftctl/prompts")
    assert faq("chat", "faq", "-m", "안녕")[0] == 0
    for folder in ("prompts", "data"):
        shutil.rmtree(faq.root / ".ftctl" / folder)
    code, text = faq("chat", "faq", "-m", "안녕")
    assert code == 1
    assert "shows 2 training examples before each question, and its dataset is not on" in text
    assert "Type `ftctl plan` where its spec and data are: that builds the dataset." in text
    assert faq("plan")[0] == 0
    assert faq("chat", "faq", "-m", "안녕")[0] == 0


def test_show_status_and_model_say_that_nothing_was_trained(faq):
    text = faq("show", "faq")[1]
    assert "  prompted    acme/base, 2 examples before each question, " in text
    assert "tokens, nothing was trained\n" in text
    assert f"  system      {SYSTEM}\n" in text
    assert "\n  job " not in text
    assert "losses" not in text
    build = text.partition("build       ")[2][:12]
    assert f"faq        in production  {build}  prompt:acme/base:faq:{build}" in faq("status")[1]
    assert faq("model", "faq")[1].strip() == f"prompt:acme/base:faq:{build}"
    value = faq.json("model", "faq")[1]
    assert (value["base_model"], value["system"], value["few_shot"]) == ("acme/base", SYSTEM, 2)
    assert faq("show", "faq", "--plot")[1].strip().endswith("not known: nothing was trained")


def test_there_is_no_log_and_nothing_to_retry(faq):
    assert faq("logs", "faq") == (
        1,
        "faq has no job: nothing was trained for it\n    See what is recorded: ftctl show faq\n",
    )
    assert faq("retry", "faq")[0] == 1


def test_it_is_evaluated_again_exported_reported_and_tracked(faq, tmp_path):
    code, text = faq("evaluate", "faq")
    assert code == 0
    assert "asks = nobody: all" in text.replace("asks  =", "asks =")
    for form in ("promptfoo", "inspect"):
        out = tmp_path / form
        assert faq("export", "faq", "--format", form, "--out", str(out))[0] == 0
        assert out.stat().st_size
    assert faq("report", "--out", str(tmp_path / "report"))[0] == 0
    page = (tmp_path / "report/faq.md").read_text()
    assert "tokens before each question" in page
    assert "not trained" not in page
    assert "<dt>asked at</dt>" in (tmp_path / "report/faq.html").read_text()
    faq.write("ftctl.yaml", f"tracking: {{tensorboard: {{folder: {tmp_path / 'board'}}}}}\n")
    code, text = faq("track", "faq")
    assert code == 0, text


def test_data_commands_read_its_data(faq):
    for command in ("build", "stats", "preview"):
        code, text = faq("data", command, "faq")
        assert code == 0, text
        assert "Trained on" not in text
        assert "model learns" not in text


class TestWithoutData:
    def test_what_cannot_be_done_says_what_is_missing(self, bare, tmp_path):
        remedy = "Add data.held_out to finetunes/old.yaml"
        assert bare("evaluate", "old") == (
            1,
            f"old has no held-out examples, so nothing can be measured\n    {remedy}.\n",
        )
        missing = "old has no evaluated build: there are no held-out examples"
        out = str(tmp_path / "out.json")
        code, text = bare("export", "old", "--format", "promptfoo", "--out", out)
        assert (code, text.partition("\n")[0]) == (1, missing)
        assert remedy in text
        bare.write("ftctl.yaml", f"tracking: {{tensorboard: {{folder: {tmp_path / 'board'}}}}}\n")
        code, text = bare("track", "old")
        assert (code, text.partition("\n")[0]) == (1, missing)

    def test_what_can_be_done_works(self, bare, tmp_path):
        assert bare("chat", "old", "-m", "안녕") == (0, "안녕\n")
        assert "  prompted    ft:acme:old::Ab, nothing was trained\n" in bare("show", "old")[1]
        assert "  data        none\n" in bare("show", "old")[1]
        assert bare("plan")[1].startswith("No changes. The one fine-tune matches its spec.")
        assert bare("report", "--out", str(tmp_path / "report"))[0] == 0
        page = json.loads((tmp_path / "report/old.json").read_text())
        assert page["headline"]["why"].startswith("Nothing is trained, and there were no held-out")
        for command in ("build", "stats", "preview"):
            code, text = bare("data", command, "old")
            assert code == 0, text


def test_a_report_before_the_first_apply_names_the_next_command(told, tmp_path):
    assert told("report", "--out", str(tmp_path / "report"))[0] == 0
    page = json.loads((tmp_path / "report/faq.json").read_text())
    assert page["headline"]["verdict"] == "not recorded"


def test_a_rival_that_needs_no_training_is_named_everywhere_with_what_to_write(told, tmp_path):
    rivals = "evaluation: {metrics: [exact_match], compare_to: [base, base_few_shot]}"
    told.declare(more=f"seed: 7\n{rivals}\ngate: [exact_match >= 0.9]\n")
    told("apply", "--auto-approve")
    code, text = told("apply", "--auto-approve")
    (note,) = told.json("show", "faq")[1]["notes"]
    assert note == (
        "no training is needed: base_few_shot passes the same gate, and is better: base_few_shot "
        "has exact_match 1, this build 0; the difference is between -1 and -0.2913. To declare it, write in the spec: `method: prompt`, `prompt: {few_shot: 4}`; and "
        "remove `seed`"
    )
    shown = " ".join(told("show", "faq")[1].split())
    assert note in shown
    assert f"Note: faq: {note}" in told("plan")[1]
    assert told("report", "--out", str(tmp_path / "report"))[0] == 0
    page = json.loads((tmp_path / "report/faq.json").read_text())
    assert f"N{note[1:]}." in page["notes"]
    # What it says is enough: written, it is what the plan asks for, and nobody is asked again.
    told.declare(
        more=f"method: prompt\nprompt: {{few_shot: 4}}\n{rivals}\ngate: [exact_match >= 0.9]\n"
    )
    code, text = told("apply", "--auto-approve")
    assert code == 0, text
    assert "is in production" in text
    assert told.json("show", "faq")[1]["notes"] == []
