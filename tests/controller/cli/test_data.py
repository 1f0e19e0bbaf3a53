"""`ftctl data` on real files, with an installed scripted backend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.cli.data import preview as preview_module

pytestmark = pytest.mark.usefixtures("installed")

PREPARED = "  prepare: {pii: mask, collapse_whitespace: true}\n"


def git(root: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        **{
            f"GIT_{who}_{what}": "t@t"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(
        command,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=110,
    ).stdout


def rows(count: int, **answers: str) -> str:
    lines = (f"질문 {n}?,{answers.get(f'n{n}', f'답 {n}.')}\n" for n in range(count))
    return "question,answer\n" + "".join(lines)


@pytest.fixture
def cafe(shell):
    shell.declare()
    shell.write("finetunes/data/faq.csv", rows(40) + "질문 3?,답 3.\n")
    return shell


@pytest.fixture
def committed(cafe):
    cafe.write(".gitignore", ".ftctl/\nmodels/\n")
    git(cafe.root, "init", "-q")
    git(cafe.root, "add", "-A")
    git(cafe.root, "commit", "-qm", "one")
    return cafe


# --- build ------------------------------------------------------------------------------------


def test_build_says_what_became_of_every_row(cafe):
    code, text = cafe("data", "build", "faq")
    assert code == 0
    assert "finetunes/data/faq.csv  train    41        1        40" in text
    assert "  finetunes/data/faq.csv:42: the same as finetunes/data/faq.csv:5" in text
    assert "x 3 epochs = " in text
    assert "personal data" not in text


def test_build_as_json_has_what_the_text_has(cafe):
    code, value = cafe.json("data", "build", "faq")
    assert code == 0
    assert value["train"]["examples"] + value["held_out"]["examples"] == 40
    assert value["train"]["digest"].startswith("sha256:")
    assert value["train"]["tokens"] * 3 == value["billable_tokens"] > 0
    assert {step["name"]: step["dropped"] for step in value["steps"]}["deduplicate"] == 1
    assert value["sources"][0]["path"] == "finetunes/data/faq.csv"
    assert (
        "deduplicate" in Path(value["reasons"].replace("/repository", str(cafe.root))).read_text()
    )
    assert value["warnings"] == []
    assert cafe.json("data", "build", "faq")[1] == value


def test_data_that_is_uploaded_unseen_is_said(shell, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shell.declare(backend="openai", base="gpt-4.1-mini-2025-04-14")
    assert "! personal data was not searched" in shell("data", "build", "faq")[1]
    shell.declare(more=PREPARED, backend="openai", base="gpt-4.1-mini-2025-04-14")
    assert "personal data" not in shell("data", "build", "faq")[1]


def test_examples_that_the_model_cannot_read_whole_are_counted(shell, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shell.declare(more=PREPARED, backend="openai", base="gpt-4.1-mini-2025-04-14")
    shell.write("finetunes/data/faq.csv", rows(40, n3="long answer " * 40_000))
    _, value = shell.json("data", "build", "faq")
    assert value["warnings"] == [
        "examples longer than the base model reads, which are cut there: 1"
    ]


def test_what_cannot_count_says_what_to_install(shell):
    # The fixture's model has a tokenizer in name only.
    shell.declare(backend="local-gpu", base="../models/tiny")
    code, value = shell.json("data", "build", "faq")
    assert code == 0
    assert (value["train"]["tokens"], value["billable_tokens"]) == (None, None)
    assert value["tokens_note"]
    code, text = shell("data", "stats", "faq")
    assert code == 0
    assert text.startswith("Tokens were not counted: ")


# --- stats ------------------------------------------------------------------------------------


def test_stats_show_lengths_labels_and_languages(shell):
    shell.declare()
    answers = {f"n{n}": "환불" if n % 2 else "배송" for n in range(40)}
    shell.write("finetunes/data/faq.csv", rows(40, **answers))
    code, text = shell("data", "stats", "faq")
    assert code == 0
    for expected in ("LENGTH", "█", "배송", "환불", "ko: 100.0 %", "Duplicates: none"):
        assert expected in text
    code, value = shell.json("data", "stats", "faq")
    assert sum(value["labels"]["배송"].values()) == 20
    assert value["train"]["tokens"]["total"] > 0
    assert sum(one["counts"]["train"] for one in value["histogram"]) == value["train"]["examples"]


def test_stats_count_what_is_beyond_the_limit(shell):
    shell.declare(more="  prepare: {max_tokens: 60, over_length: truncate}\n")
    assert (
        "Longer than 60 tokens (data.prepare.max_tokens): none" in shell("data", "stats", "faq")[1]
    )


def test_a_second_look_reads_no_example(cafe, monkeypatch):
    first = cafe("data", "stats", "faq")

    def fail(path: Path):
        raise AssertionError(f"{path} is read")

    monkeypatch.setattr("controller.data.reports.token_counts.read_blocks", fail)
    monkeypatch.setattr("controller.data.reports.statistics.read_blocks", fail)
    assert cafe("data", "stats", "faq") == first


# --- preview ----------------------------------------------------------------------------------


def test_preview_marks_what_is_learnt(cafe):
    code, text = cafe("data", "preview", "faq", "-n", "2")
    assert code == 0
    assert "between ⟦ and ⟧" in text
    assert "# train 1, finetunes/data/faq.csv:2, " in text
    assert text.count("# train") == 2
    assert "⟦ 답 0.\n⟧" in text


def test_preview_in_a_terminal_is_coloured_unless_not_wanted(cafe, monkeypatch):
    monkeypatch.setattr(preview_module.sys.stdout, "isatty", lambda: True)
    assert "⟦" not in cafe("data", "preview", "faq")[1]
    assert "⟦" in cafe("--no-color", "data", "preview", "faq")[1]


def test_preview_of_one_example_one_line_and_the_other_side(cafe):
    code, value = cafe.json("data", "preview", "faq", "--example", "3")
    assert (code, value[0]["number"]) == (0, 3)
    origin = value[0]["origin"]
    assert cafe.json("data", "preview", "faq", "--line", origin)[1] == value
    code, held_out = cafe.json("data", "preview", "faq", "--held-out", "-n", "1")
    assert (code, held_out[0]["part"]) == (0, "held_out")


@pytest.mark.parametrize(
    ("arguments", "expected", "expected_code"),
    [
        (["--line", "data/faq.csv:42"], "ftctl data explain faq finetunes/data/faq.csv:42", 1),
        (["--example", "4000"], "Name one from 1 to ", 1),
        (["--line", "data/faq.csv"], "Write it as FILE:LINE", 1),
        (["--line", "faq.csv:2", "--held-out"], "--line names the example", 64),
        (["-n", "0"], "Usage:", 64),
    ],
)
def test_preview_of_what_is_not_there(cafe, arguments, expected, expected_code):
    code, text = cafe("data", "preview", "faq", *arguments)
    assert code == expected_code
    assert expected in text


def test_what_data_says_to_a_terminal_is_made_visible(shell):
    shell.declare()
    shell.write("finetunes/data/faq.csv", rows(40, n0="\x1b[2J⟦지움⟧", n1="\u202e거꾸로"))
    for command in (["preview", "faq", "-n", "40"], ["explain", "faq", "data/faq.csv:2"]):
        _, text = shell("data", *command)
        assert "\x1b" not in text
        assert "\\x1b[2J" in text


# --- diff -------------------------------------------------------------------------------------


def test_diff_against_a_revision_leaves_the_working_tree_alone(committed):
    committed.write("finetunes/data/faq.csv", rows(60, n7="다른 답."))
    status = git(committed.root, "status", "--porcelain")
    index = (committed.root / ".git" / "index").read_bytes()
    code, text = committed("data", "diff", "faq", "HEAD")
    assert code == 0
    assert text.startswith("faq against revision HEAD: +20 ~1 (")
    assert "- 답 7.\n    + 다른 답." in text
    assert git(committed.root, "status", "--porcelain") == status
    assert (committed.root / ".git" / "index").read_bytes() == index
    assert not list((committed.root / ".ftctl").glob("revision-*"))


def test_diff_takes_the_spec_of_the_revision_too(committed):
    git(committed.root, "mv", "finetunes/data/faq.csv", "finetunes/data/other.csv")
    spec = committed.root / "finetunes" / "faq.yaml"
    spec.write_text(spec.read_text().replace("data/faq.csv", "data/*.csv"))
    code, value = committed.json("data", "diff", "faq", "HEAD")
    assert code == 0
    assert (value["added"], value["removed"], value["changed"]) == (0, 0, 0)


def test_diff_in_a_folder_of_a_repository(committed, tmp_path, shell, monkeypatch):
    inner = tmp_path / "outer" / "models"
    inner.parent.mkdir()
    committed.root.rename(inner)
    (inner / ".git").rename(inner.parent / "git-of-before")
    git(inner.parent, "init", "-q")
    git(inner.parent, "add", "models")
    git(inner.parent, "commit", "-qm", "one")
    monkeypatch.setattr(shell, "root", inner)
    shell.write("finetunes/data/faq.csv", rows(41))
    code, text = shell("data", "diff", "faq", "HEAD")
    assert code == 0
    assert "+1 (+1 " in text


def test_diff_against_the_recorded_build(cafe):
    code, text = cafe("data", "diff", "faq")
    assert code == 1
    assert "ftctl data diff faq HEAD~1" in text
    cafe("apply", "--auto-approve")
    assert "in production: no example differs" in cafe("data", "diff", "faq")[1]
    cafe.write("finetunes/data/faq.csv", rows(50))
    code, text = cafe("data", "diff", "faq")
    assert code == 0
    assert "in production: +10 (" in text
    cafe.write("finetunes/data/faq.csv", rows(50))
    for folder in (cafe.root / ".ftctl" / "data" / "datasets").iterdir():
        (folder / "dataset.json").unlink()
    code, text = cafe("data", "diff", "faq")
    assert code == 1
    assert "is not on this machine" in text


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("nonsense", "is not a revision"),
        ("--upload-pack=x", "Usage:"),
        ("HEAD~9", "is not a revision"),
    ],
)
def test_diff_against_what_git_does_not_know(committed, revision, expected):
    code, text = committed("data", "diff", "faq", revision)
    assert code in {1, 64}
    assert expected in text


def test_problems_of_a_revision_are_said_to_be_its(committed):
    committed.write("finetunes/data/faq.csv", rows(3))
    git(committed.root, "commit", "-qam", "two")
    committed.write("finetunes/data/faq.csv", rows(40))
    code, text = committed("data", "diff", "faq", "HEAD")
    assert code == 1
    assert text.startswith("HEAD:finetunes/faq.yaml")
    committed.declare("later")
    code, text = committed("data", "diff", "later", "HEAD")
    assert code == 1
    assert "HEAD has no finetunes/later.yaml" in text


# --- explain ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("data/faq.csv:2", "See it as the model does: ftctl data preview faq --line"),
        ("faq.csv:42", "deduplicate: the same as finetunes/data/faq.csv:5\nNot in the dataset:"),
        ("./finetunes/data/faq.csv:5", "질문 3?"),
    ],
)
def test_explain_says_what_became_of_a_row(cafe, place, expected):
    code, text = cafe("data", "explain", "faq", place)
    assert code == 0
    assert expected in text


def test_explain_of_rows_that_were_not_wanted(shell):
    shell.declare()
    spec = shell.root / "finetunes" / "faq.yaml"
    wanted = '      where: ["question != 질문 1?"]\n      limit: 30\n  held_out'
    spec.write_text(spec.read_text().replace("  held_out", wanted))
    shell.write("finetunes/data/faq.csv", rows(40))
    assert (
        "where: question != 질문 1? does not hold"
        in shell("data", "explain", "faq", "faq.csv:3")[1]
    )
    assert "limit: beyond the first 30" in shell("data", "explain", "faq", "faq.csv:40")[1]


def test_explain_finds_the_row_that_a_line_is_inside_of(shell):
    shell.declare()
    shell.write("finetunes/data/faq.csv", rows(20) + '"여러\n줄\n질문",답\n' + "끝?,네\n")
    _, value = shell.json("data", "explain", "faq", "faq.csv:23")
    assert value["origin"] == "finetunes/data/faq.csv:22"
    assert value["row"]["question"] == "여러\n줄\n질문"


def test_explain_and_preview_of_a_row_of_an_array(shell):
    shell.declare()
    spec = shell.root / "finetunes" / "faq.yaml"
    spec.write_text(spec.read_text().replace("faq.csv", "faq.json"))
    items = [{"question": f"질문 {n}?", "answer": f"답 {n}."} for n in range(40)]
    shell.write("finetunes/data/faq.json", json.dumps(items))
    code, text = shell("data", "explain", "faq", "faq.json[17]")
    assert code == 0
    assert "질문 17?" in text
    assert "ftctl data preview faq --line 'finetunes/data/faq.json[17]'" in text
    code, text = shell("data", "preview", "faq", "--line", "faq.json[17]")
    assert (code, "# " in text, "finetunes/data/faq.json[17]" in text) == (0, True, True)
    code, text = shell("data", "explain", "faq", "faq.json:1")
    assert code == 1
    assert "line 1 of finetunes/data/faq.json holds 40 rows" in text
    assert shell("data", "stats", "faq")[0] == 0


@pytest.mark.parametrize(
    "place", ["faq.csv:1000", "faq.csv:0", "other.csv:2", "faq.csv", "faq.csv:x"]
)
def test_explain_of_no_row_is_1_with_a_hint(cafe, place):
    code, text = cafe("data", "explain", "faq", place)
    assert code == 1
    assert "\n    " in text


# --- all of them ------------------------------------------------------------------------------

COMMANDS = [["build"], ["stats"], ["preview"], ["diff"], ["explain"]]


@pytest.mark.parametrize("command", COMMANDS)
def test_problems_are_those_of_this_fine_tune_alone(cafe, command):
    more = ["faq.csv:2"] if command == ["explain"] else []
    cafe.write("finetunes/broken.yaml", "backend: [\n")
    code, text = cafe("data", *command, "broken", *more)
    assert code == 1
    assert "finetunes/broken.yaml:" in text
    code, text = cafe("data", *command, "nobody", *more)
    assert code == 1
    assert "no fine-tune is called nobody" in text
    if command != ["diff"]:
        assert cafe("data", *command, "faq", *more)[0] == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_problems_of_the_data_are_said_with_their_lines(cafe, command):
    more = ["faq.csv:2"] if command == ["explain"] else []
    cafe.write("finetunes/data/faq.csv", rows(40) + "질문,\n")
    code, value = cafe.json("data", *command, "faq", *more)
    assert code == 1
    assert [(one["file"], one["line"]) for one in value["problems"]] == [
        ("finetunes/data/faq.csv", 42)
    ]


def test_help_is_fast_and_loads_nothing_of_the_data(cafe):
    program = (
        "import sys; from controller.cli import run; run(['--help']);"
        "assert not any(name.startswith('controller.data') for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "data " in done.stdout
    assert json.dumps(cafe("data", "--help")[1]).count("explain") == 1
