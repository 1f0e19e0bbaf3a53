"""`ftctl init --github`: what it writes, what it leaves alone, what it refuses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from controller.cli import run
from controller.lockfile.model import dump_lockfile, parse_lockfile
from tests.workflows.repositories import ENVIRONMENT, LOCKFILE, ROOT, entry, fingerprint, git

SHA = "3d3c42e5aac5ba805825da76410c181273ba90b1"
USES = ("--uses", f"acme/ftctl@{SHA}")
WORKFLOW = ".github/workflows/fine-tunes.yml"
COMMENT = ".github/workflows/fine-tunes-comment.yml"
SPEC = """\
backend: openai
base_model: gpt-4o-mini-2024-07-18
data:
  train: [{path: ../../common/rows/*.jsonl}, {path: data/own.jsonl}]
  held_out: [{path: ../held.jsonl}]
"""

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def top(tmp_path):
    git(tmp_path, "init", "--quiet", "--initial-branch=trunk")
    return tmp_path


@pytest.fixture
def init(capsys):
    def type_init(folder, *options):
        code = run(["init", "--github", str(folder), *options])
        out, err = capsys.readouterr()
        return code, out + err

    return type_init


def workflow(top, name=WORKFLOW):
    return yaml.load((top / name).read_text(), Loader=yaml.BaseLoader)


def test_a_new_repository_gets_specs_and_workflows(top, init):
    code, said = init(top, *USES)
    assert code == 0, said
    job = workflow(top)["jobs"]["ftctl"]
    assert job["uses"] == f"acme/ftctl/.github/workflows/ftctl.yml@{SHA}"
    assert "with" not in job
    assert workflow(top)["on"]["push"] == {
        "branches": ["trunk"],
        "paths": ["finetunes/**", "ftctl.yaml", "!**/ftctl.lock"],
    }
    assert len((top / WORKFLOW).read_text().splitlines()) <= 17
    assert not (top / COMMENT).exists()
    assert init(top, *USES, "--forks")[0] == 0
    comment = workflow(top, COMMENT)
    assert comment["on"]["workflow_run"]["workflows"] == [workflow(top)["name"]]
    assert comment["jobs"]["ftctl"]["permissions"] == {"actions": "read", "pull-requests": "write"}
    assert (top / "finetunes/opening-hours.yaml").exists()
    assert "wrote .gitattributes" in said


def test_a_repository_below_the_top_with_data_elsewhere_and_lfs(top, init):
    (top / "ml/a team/finetunes").mkdir(parents=True)
    (top / "ml/a team/finetunes/a.yaml").write_text(SPEC)
    (top / ".gitattributes").write_text("*.jsonl filter=lfs diff=lfs merge=lfs -text")
    code, said = init(top / "ml/a team", *USES, "--branch", "master", "--set", "runner=gpu")
    assert code == 0, said
    assert workflow(top)["on"]["push"] == {
        "branches": ["master"],
        "paths": [
            "ml/a team/finetunes/**",
            "ml/a team/ftctl.yaml",
            "ml/common/rows/*.jsonl",
            "ml/a team/held.jsonl",
            "!**/ftctl.lock",
        ],
    }
    assert workflow(top)["jobs"]["ftctl"]["with"] == {
        "folder": "ml/a team",
        "lfs": "true",
        "runner": "gpu",
    }
    lines = (top / ".gitattributes").read_text().splitlines()
    assert lines == [
        "*.jsonl filter=lfs diff=lfs merge=lfs -text",
        "/ml/a?team/finetunes/ftctl.lock merge=ftctl",
    ]


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("../rows/a.jsonl", "rows/a.jsonl"),
        ("../행/질문 답.jsonl", "행/질문 답.jsonl"),
        ("../rows/**/*.jsonl", "rows/**/*.jsonl"),
        ("../c++/a.jsonl", r"c\+\+/a.jsonl"),
        ("../!rows/a.jsonl", r"\!rows/a.jsonl"),
        ("../rows/2026-0?.jsonl", "rows/2026-0*.jsonl"),
        ("../rows/[ab].jsonl", "rows/*.jsonl"),
        ("../rows/[!a-c]?.jsonl", "rows/**.jsonl"),
        ("../rows/a[.jsonl", r"rows/a\[.jsonl"),
        ("../saved", "saved/**"),
    ],
)
def test_data_elsewhere_starts_an_apply_as_github_reads_patterns(top, init, written, pattern):
    (top / "finetunes").mkdir()
    (top / "saved").mkdir()
    spec = SPEC.replace("../../common/rows/*.jsonl", f'"../{written.removeprefix("../")}"')
    (top / "finetunes/a.yaml").write_text(spec)
    code, said = init(top, *USES)
    assert code == 0, said
    assert workflow(top)["on"]["push"]["paths"] == [
        "finetunes/**",
        "ftctl.yaml",
        pattern,
        "held.jsonl",
        "!**/ftctl.lock",
    ]


def test_prompts_that_are_retained_start_an_apply_too(top, init):
    (top / "finetunes").mkdir()
    retain = "evaluation: {retain: [{name: own, path: ../common/own.jsonl, metric: exact_match}]}\n"
    spec = SPEC.replace("../../common", "../common")
    (top / "finetunes/a.yaml").write_text(spec + retain)
    code, said = init(top, *USES)
    assert code == 0, said
    assert "common/own.jsonl" in workflow(top)["on"]["push"]["paths"]


def everything(top):
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(top).parts
    }


def test_typed_again_it_changes_nothing(top, init):
    init(top, *USES)
    before = everything(top)
    code, said = init(top, *USES)
    assert code == 0
    assert everything(top) == before
    assert f"kept {WORKFLOW}, which is as it should be" in said
    assert "wrote" not in said


def test_what_a_person_wrote_is_left_alone_unless_asked(top, init):
    init(top, *USES)
    (top / WORKFLOW).write_text("name: mine\n")
    (top / ".github/CODEOWNERS").write_text("* @us\n")
    code, said = init(top, *USES, "--forks")
    assert code == 1
    assert f"left {WORKFLOW} alone, which says something else" in said
    assert "type the command again with --overwrite" in said
    assert (top / WORKFLOW).read_text() == "name: mine\n"
    assert (top / COMMENT).exists()
    assert init(top, *USES, "--overwrite")[0] == 0
    assert workflow(top)["name"] == "ftctl"
    assert (top / ".github/CODEOWNERS").read_text() == "* @us\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--uses", "ftctl"), "is not OWNER/REPOSITORY@COMMIT"),
        (("--uses", f"acme/ftctl@{SHA}\n    secrets: inherit"), "is not OWNER/REPOSITORY@COMMIT"),
        ((*USES, "--branch", 'main"]\n  x: ["'), "is not the name of a branch"),
        ((*USES, "--set", "runners=gpu"), "Use one of the inputs: approve, environment, folder"),
        ((*USES, "--set", "runner"), "is not INPUT=VALUE"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(top, init, options, said):
    code, output = init(top, *options)
    assert code == 1
    assert said in output
    assert not (top / ".github/workflows").exists()


def test_a_value_is_one_value_whatever_it_says(top, init):
    value = '"] x: ${{ secrets.A }} # {'
    assert init(top, *USES, "--set", f"runner={value}")[0] == 0
    assert workflow(top)["jobs"]["ftctl"]["with"] == {"runner": value}


def test_without_git_or_without_a_home_of_the_workflows(tmp_path, init):
    code, said = init(tmp_path, *USES)
    assert (code, "is not in a git repository" in said) == (1, True)
    assert "Type `git init` there first." in said


def test_nothing_is_written_through_a_link(top, init):
    outside = top.parent / f"{top.name}-outside"
    outside.mkdir()
    (top / ".github").symlink_to(outside)
    code, said = init(top, *USES)
    assert code == 1
    assert "Remove the link." in said
    assert list(outside.iterdir()) == []


def test_options_of_the_workflows_need_github(capsys):
    assert run(["init", "--uses", "a/b@c"]) == 1
    assert "Add --github." in capsys.readouterr().err


def test_git_merges_the_lockfile_with_the_driver(top, init, monkeypatch):
    """Two branches that record neighbours: git alone has a conflict, with the driver it has none."""
    assert init(top, *USES)[0] == 0
    assert git(top, "config", "merge.ftctl.driver").strip() == "ftctl lockfile merge %O %A %B"
    command = f"{sys.executable} -m controller lockfile merge %O %A %B"
    git(top, "config", "merge.ftctl.driver", command)
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", str(ROOT))
    record(top, {"b": entry(1)}, "trunk")
    git(top, "checkout", "--quiet", "-b", "one")
    record(top, {"a": entry(2), "b": entry(1, 3)}, "one")
    git(top, "checkout", "--quiet", "trunk")
    record(top, {"b": entry(1, 4), "c": entry(5)}, "trunk")
    git(top, "merge", "--quiet", "one")
    merged = json.loads((top / LOCKFILE).read_text())["finetunes"]
    assert sorted(merged) == ["a", "b", "c"]
    assert set(merged["b"]["builds"]) == {fingerprint(number) for number in (1, 3, 4)}


def record(top, entries, branch):
    text = json.dumps({"_": "", "format": 1, "finetunes": entries}).encode()
    (top / LOCKFILE).write_bytes(dump_lockfile(parse_lockfile(text, LOCKFILE)))
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", f"Record on {branch}")


@pytest.mark.parametrize("below", ["", "ml/team"])
def test_what_it_writes_passes_the_checks_of_our_own_workflows(top, init, below):
    assert init(top / below, *USES, "--set", "runner=gpu")[0] == 0
    programs = Path(sys.executable).parent
    if not (programs / "zizmor").exists() or not (programs / "check-jsonschema").exists():
        pytest.skip("needs zizmor and check-jsonschema")
    files = sorted((top / ".github/workflows").glob("*.yml"))
    for command in (
        [programs / "zizmor", "--quiet", "--offline", "--pedantic", "--no-config", top],
        [programs / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


# ---- GitLab

SOURCE = f"https://gitlab.example/acme/ftctl.git@{SHA}"


def test_gitlab_gets_jobs_and_keeps_its_pipeline(top, capsys):
    (top / ".gitlab-ci.yml").write_text("stages: [test]\n")
    assert run(["init", "--gitlab", str(top / "ml"), "--uses", SOURCE]) == 1
    said = capsys.readouterr().err
    assert "left .gitlab-ci.yml alone" in said
    assert "Add to .gitlab-ci.yml:\ninclude:\n  - local: .gitlab/fine-tunes.yml" in said
    (top / ".gitlab-ci.yml").write_text("include: [{local: .gitlab/fine-tunes.yml}]\n")
    assert run(["init", "--gitlab", str(top / "ml"), "--uses", SOURCE]) == 0
    assert "wrote" not in capsys.readouterr().out
    jobs = workflow(top, ".gitlab/fine-tunes.yml")
    assert jobs[".fine-tunes"]["variables"]["FOLDER"] == "ml"
    # The push of the lockfile by this job, and nothing that a person starts.
    own = '$CI_PIPELINE_SOURCE == "push" && $CI_COMMIT_TITLE == "Record fine-tunes"'
    assert jobs["apply fine-tunes"]["rules"][0] == {"if": own, "when": "never"}
    message = (ROOT / ".github/scripts/anywhere.sh").read_text()
    assert 'MESSAGE="Record fine-tunes"' in message
    # A merge request may change this file, so its job gets nothing that pushes or pays.
    planning = json.dumps([jobs[".fine-tunes"], jobs["plan fine-tunes"]])
    assert "FTCTL_PUSH_TOKEN" not in planning
    assert "environment" not in jobs["plan fine-tunes"]
    checker = Path(sys.executable).parent / "check-jsonschema"
    if checker.exists():
        subprocess.run(
            [checker, "--builtin-schema", "vendor.gitlab-ci", top / ".gitlab/fine-tunes.yml"],
            check=True,
            timeout=60,
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--uses", "acme/ftctl@main"), "is not URL@COMMIT"),
        (("--uses", f"https://a/b.git; id@{SHA}"), "is not URL@COMMIT"),
        (("--uses", SOURCE, "--github"), "name two homes"),
        (("--uses", SOURCE, "--branch", "main"), "are for --github"),
    ],
)
def test_gitlab_refuses(top, capsys, options, said):
    assert run(["init", "--gitlab", str(top), *options]) == 1
    assert said in capsys.readouterr().err
    assert not (top / ".gitlab").exists()


def test_forgejo_gets_one_workflow_and_keeps_what_a_person_wrote(top, capsys):
    (top / "ml/finetunes").mkdir(parents=True)
    (top / "ml/finetunes/a.yaml").write_text(SPEC)
    typed = ["init", "--forgejo", str(top / "ml"), "--uses", SOURCE, "--set", "runner=gpu"]
    assert run(typed) == 0
    file = top / ".forgejo/workflows/fine-tunes.yml"
    found = yaml.load(file.read_text(), Loader=yaml.BaseLoader)
    assert found["on"]["push"]["branches"] == ["trunk"]
    assert "ml/finetunes/**" in found["on"]["push"]["paths"]
    assert found["env"]["FOLDER"] == "ml"
    assert found["jobs"]["plan"]["runs-on"] == "docker"
    assert found["jobs"]["apply"]["runs-on"] == "gpu"
    assert "secrets." not in json.dumps(found["jobs"]["plan"])
    assert "@" not in "".join(re.findall(r"@[A-Z]+@", file.read_text()))
    assert "/ml/finetunes/ftctl.lock merge=ftctl" in (top / ".gitattributes").read_text()
    assert run(typed) == 0
    file.write_text("name: mine\n")
    assert run(typed) == 1
    assert file.read_text() == "name: mine\n"
    assert "left .forgejo/workflows/fine-tunes.yml alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--uses", "acme/ftctl@main"), "is not URL@COMMIT"),
        (("--uses", SOURCE, "--gitlab"), "name two homes"),
        (("--uses", SOURCE, "--forks"), "are for --github"),
        (("--uses", SOURCE, "--set", "approve=plan"), "takes no input but runner"),
    ],
)
def test_forgejo_refuses(top, capsys, options, said):
    assert run(["init", "--forgejo", str(top), *options]) == 1
    assert said in capsys.readouterr().err
    assert not (top / ".forgejo").exists()
