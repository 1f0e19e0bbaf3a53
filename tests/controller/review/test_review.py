"""What a reviewer sees beside the plan, in real repositories: data from git, gates, commits."""

import json
import shutil
import subprocess

import pytest

from tests.controller.render.comment.github import check
from tests.controller.run.distrust.distrusted import ROWS

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def trained(shell):
    """A fine-tune that is trained, recorded and committed; nothing of this machine is left."""
    shell.declare(more="gate: ['held_out_loss < 3']\n")
    assert shell("apply", "-y")[0] == 0
    shell.commit()
    return shell


def forget(shell):
    shutil.rmtree(shell.root / ".ftctl")


def change_data(shell):
    rows = ROWS.replace("q3?,a3.", "q3?,another.").replace("q5?,a5.\n", "")
    text = rows + "새 질문 @team #12,답 </details>\n" + "n2?,m2.\nn3?,m3.\nn4?,m4.\n"
    (shell.root / "finetunes/data/faq.csv").write_text(text)


def comment(shell, *options):
    code, text = shell("plan", "--format", "github", *options)
    assert code == 0, text
    check(text)
    return text


def production(shell):
    return shell.recorded["faq"]["production"].partition(":")[2][:12]


def test_examples_of_a_build_are_found_in_git(trained):
    forget(trained)
    change_data(trained)
    text = comment(trained, "--base", "HEAD")
    assert f"Examples against build `{production(trained)}`: &#43;4 &#45;1 &#126;1" in text
    assert "&#43;4 &#45;1 &#126;1 of 27" in text
    assert "+ finetunes/data/faq.csv:" in text
    assert text.count("\n+   → m") + text.count("\n+   → 답") == 3
    assert "\n+ and 1 more\n" in text
    assert "-   q5?" in text
    assert "-   → a3.\n+   → another." in text
    assert "build " in text


def test_examples_of_a_build_are_found_in_the_cache(trained):
    change_data(trained)
    text = comment(trained)
    assert f"Examples against build `{production(trained)}`: &#43;4 &#45;1 &#126;1" in text


def test_without_base_and_cache_a_note_tells_it(trained):
    forget(trained)
    change_data(trained)
    text = comment(trained)
    build = production(trained)
    assert f"The examples of build `{build}` are not compared here: its dataset is not" in text
    assert "of 27" not in text


def test_a_base_that_was_never_trained_is_named_as_what_it_is(trained):
    forget(trained)
    (trained.root / "finetunes/data/faq.csv").write_text(ROWS + "merged?,later.\n")
    trained.commit()
    change_data(trained)
    text = comment(trained, "--base", "HEAD")
    assert "Examples against the base commit `" in text


def test_a_spec_that_the_base_does_not_have_has_nothing_to_compare(trained):
    trained.declare("new", "seed: 3\n")
    text = comment(trained, "--base", "HEAD")
    assert "Examples against" not in text
    assert "Gate, before and after" not in text


def test_a_base_whose_data_is_broken_is_a_note(trained):
    forget(trained)
    (trained.root / "finetunes/data/faq.csv").write_text("no,columns\n1,2\n")
    trained.commit()
    change_data(trained)
    text = comment(trained, "--base", "HEAD")
    assert "are not compared here" in text


def test_private_examples_are_counted_and_not_shown(trained):
    path = trained.root / "finetunes/faq.yaml"
    path.write_text(path.read_text().replace("data:\n", "data:\n  sensitivity: private\n"))
    text = path.read_text().replace("backend: odd", "backend: scripted")
    path.write_text(text)
    change_data(trained)
    code, text = trained("plan", "--format", "github", "--base", "HEAD")
    assert code == 0, text
    assert "&#43;4 &#45;1 &#126;1" in text
    assert "Examples are not shown, because the data is declared private." in text
    assert "another." not in text


def test_a_gate_is_shown_before_and_after_with_what_production_tells(trained):
    trained.declare(more="gate: ['held_out_loss < 0.1']\nseed: 2\n")
    text = comment(trained, "--base", "HEAD")
    assert "- held_out_loss < 3\n+ held_out_loss < 0.1\n" in text
    assert f"build `{production(trained)}`, which is in production, would not pass it:" in text
    trained.declare(more="gate: ['held_out_loss < 2.5']\nseed: 2\n")
    assert "would pass it. The new build is measured" in comment(trained, "--base", "HEAD")


def test_a_gate_that_allows_a_worse_model_is_shown_though_neither_has_conditions(shell):
    shell.declare(more="seed: 1\n")
    assert shell("apply", "-y")[0] == 0
    shell.commit()
    shell.declare(more="seed: 2\n")
    assert "Gate, before and after:" not in comment(shell, "--base", "HEAD")

    shell.declare(more="seed: 2\ngate: []\n")

    text = comment(shell, "--base", "HEAD")
    assert "to retrain (another gate)" in text
    assert (
        "- (no worse than its base model)\n"
        "+ gate: [] (promoted even if it is worse than its base model)\n"
    ) in text


def test_a_verdict_that_recorded_scores_decide_is_foreseen(trained):
    build = production(trained)
    trained.declare(more="gate: ['held_out_loss < 0.1']\n")
    text = comment(trained, "--base", "HEAD")
    assert f"By its recorded scores, build `{build}` does not pass: " in text
    trained.declare(more="gate: ['held_out_loss < 2.5']\n")
    assert f"By its recorded scores, build `{build}` passes." in comment(trained, "--base", "HEAD")


def test_the_comment_names_its_commits(trained):
    def commit(name):
        command = ["git", "-C", str(trained.root), "rev-parse", name]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    base = commit("HEAD").strip()
    trained.declare(more="seed: 2\n")
    trained.commit()
    head = commit("HEAD").strip()
    for options in (["--base", "HEAD~1"], ["--base", base, "--head", "HEAD"]):
        text = comment(trained, *options)
        bound = json.loads(text.splitlines()[1].removeprefix("<!-- ftctl:bound ")[:-4])
        assert (bound["base"], bound["head"]) == (base, head)
        assert f"of commit `{head[:12]}`, compared with `{base[:12]}`." in text


@pytest.mark.parametrize("option", ["--base", "--head"])
def test_a_revision_that_git_does_not_know_is_refused(trained, option):
    code, text = trained("plan", "--format", "github", option, "nowhere")
    assert code == 1
    assert "'nowhere' is not a revision that git knows here" in text


def test_a_repository_without_git_has_a_comment_too(shell):
    shell.declare()
    text = comment(shell)
    assert '"head": null, "base": null' in text


def test_options_of_the_comment_belong_to_it(shell):
    shell.declare()
    for options in (["--base", "HEAD"], ["--head", "HEAD"]):
        code, text = shell("plan", *options)
        assert code == 1
        assert "Add --format github." in text
    code, text = shell("plan", "--format", "github", "--json")
    assert code == 1
    assert "--json and --format github" in text


def test_problems_are_the_comment_where_there_is_no_plan(shell):
    shell.declare(more="sed: 1\n")
    code, text = shell("plan", "--format", "github")
    shown = text.partition(
        "finetunes/faq.yaml:",
    )[0]
    assert code == 1
    assert shown.startswith("<!-- ftctl:plan -->\n<!-- ftctl:bound ")
    assert "**There is no plan: the fine-tunes have problems.**" in shown
    assert text.count("sed: is not a known key") == 2  # in the comment, and as the error


def test_the_plan_id_stands_whatever_the_clock_and_the_order(trained):
    trained.declare("zz", "seed: 4\n")
    trained.declare("aa", "seed: 5\n")
    one = json.loads(trained("plan", "--json")[1])
    for name in ("zz", "aa"):
        path = trained.spec(name)
        text = path.read_text()
        path.unlink()
        path.write_text("# a comment\n" + text)
    two = json.loads(trained("plan", "--json")[1])
    assert one["id"] == two["id"]
    assert f"Plan `{one['id']}`" in comment(trained)
