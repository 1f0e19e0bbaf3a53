"""What workflows, actions and scripts may do, and the ftctl that they install."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from controller.project.github import GitHubOptions, workflow_texts
from controller.spec.load import read_specs
from tests.workflows.repositories import GITHUB, ROOT, WORKFLOWS, jobs, read, steps

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
SCRIPTS = sorted(path for path in GITHUB.rglob("*.sh") if path.name != "auth.sh")
TEMPLATES = ROOT / "controller/project/workflows"


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_actions_of_others_are_pinned_by_commit_with_their_release(path):
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    for line in path.read_text().splitlines():
        if re.search(r"^\s*(- )?uses:", line) and not re.search(r"uses: \$/", line):
            assert pinned.search(line), f"{path.name}: {line.strip()}"


def test_one_release_of_each_action():
    text = "".join(path.read_text() for path in [*WORKFLOWS, *ACTIONS])
    used = {match[1]: set() for match in re.finditer(r"uses: ([\w-]+/[\w-]+)\S*@", text)}
    for match in re.finditer(r"uses: ([\w-]+/[\w-]+)\S*@(\S+ # \S+)", text):
        used[match[1]].add(match[2])
    assert {name: pins for name, pins in used.items() if len(pins) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_gives_nothing_away_by_default(path):
    workflow = read(path)
    assert workflow["permissions"] == {}
    started = {*workflow["on"]}
    assert "pull_request_target" not in started
    # Started with the rights of the default branch: it may do nothing but call one workflow.
    for event, called in (("workflow_run", "comment.yml"), ("issue_comment", "replan.yml")):
        if event in started:
            (job,) = workflow["jobs"].values()
            assert job["uses"] == f"$/.github/workflows/{called}"


def test_a_plan_with_keys_runs_nothing_of_the_pull_request():
    job = read(GITHUB / "workflows/replan.yml")["jobs"]["plan"]
    assert job["permissions"] == {"contents": "read"}
    assert job["runs-on"] == "ubuntu-latest"
    assert job["environment"]
    base, pull = (step["with"] for step in job["steps"] if "checkout@" in step.get("uses", ""))
    assert base["ref"] == "${{ github.event.repository.default_branch }}"
    assert "path" not in base  # files that name what is installed are looked for here
    assert (pull["path"], pull["fetch-depth"]) == ("pull-request", "2")
    assert all(
        step["uses"].startswith(("actions/", "$/"))
        for step in job["steps"]
        if "checkout@" not in step.get("uses", "")
    )
    assert [step for step in job["steps"] if "run" in step] == []


@pytest.mark.parametrize(("path", "name", "job"), jobs())
def test_a_job_says_what_it_needs_and_how_long_it_may_take(path, name, job):
    writes = {key for key, value in job["permissions"].items() if value == "write"}
    allowed = {
        ("comment", "comment"): {"pull-requests"},
        ("replan", "comment"): {"pull-requests"},
        ("apply", "apply"): {"contents", "statuses"},
        ("apply", "follow"): {"actions"},
        ("reconcile", "reconcile"): {"contents", "statuses"},
        ("reconcile", "follow"): {"actions"},
        ("drift", "report"): {"issues"},
        # These call others, which ask for a part of it each.
        ("ftctl", "apply"): {"actions", "contents", "statuses"},
        ("ftctl", "reconcile"): {"actions", "contents", "statuses"},
        ("ftctl", "drift"): {"issues"},
        ("fine-tunes", "ftctl"): {"actions", "contents", "issues", "statuses"},
        ("fine-tunes-comment", "ftctl"): {"pull-requests"},
        ("fine-tunes-plan", "ftctl"): {"pull-requests"},
    }
    assert writes == allowed.get((path.stem, name), set())
    if "uses" in job:
        return
    assert 0 < int(job["timeout-minutes"]) < 360
    short = {"follow", "report", "request"}  # of one run, and safe to run twice
    assert "concurrency" in job or "concurrency" in read(path) or name in short


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_no_checkout_leaves_a_credential_and_no_script_is_built_from_text(path):
    for step in steps(path):
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] == "false"
        assert "${{" not in step.get("run", "")
        assert "${{" not in step.get("with", {}).get("script", "")


def test_planning_runs_nothing_of_the_pull_request():
    """The checkout is data: ftctl and its scripts come with the actions, from the workflow's own commit."""
    job = read(GITHUB / "workflows/plan.yml")["jobs"]["plan"]
    assert job["permissions"] == {"contents": "read"}
    assert job["runs-on"] == "ubuntu-latest"
    assert "secrets." not in json.dumps(job)
    assert "environment" not in job
    assert not [step for step in job["steps"] if "run" in step]
    uses = [step["uses"].partition("@")[0] for step in job["steps"]]
    assert {use for use in uses if not use.startswith("$/.github/actions/")} == {
        "actions/checkout",
        "actions/upload-artifact",
    }


def test_only_jobs_with_an_environment_see_keys():
    seen = set()
    for path, name, job in (one.values for one in jobs()):
        secrets = set(re.findall(r"secrets\.(\w+)", json.dumps(job)))
        if "uses" in job:  # hands them on
            continue
        if secrets:
            seen.add((path.stem, name))
            assert "environment" in job
    assert seen == {
        *(("apply", "apply"), ("reconcile", "reconcile"), ("drift", "plan")),
        ("replan", "plan"),
    }


def test_a_required_check_always_reports():
    """GitHub waits for ever for a check whose workflow a filter keeps from running."""
    for path in (GITHUB / "workflows/fine-tunes.yml", TEMPLATES / "fine-tunes.yml"):
        on = (
            read(path)["on"]
            if "@" not in path.read_text()
            else yaml.load(re.sub(r"@[A-Z]+@", "x", path.read_text()), Loader=yaml.BaseLoader)["on"]
        )
        assert on["pull_request"] == ""
        assert on["merge_group"] == ""


def test_our_own_repository_uses_the_files_that_it_gives_to_others():
    options = GitHubOptions(uses=".", branch="main")
    specs, _ = read_specs(ROOT)
    for name, text in workflow_texts(ROOT, "", specs.values(), options).items():
        assert (GITHUB / "workflows" / name).read_text() == text, (
            "Type `ftctl init --github --uses .`"
        )
    assert "/finetunes/ftctl.lock merge=ftctl" in (ROOT / ".gitattributes").read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_strict_and_parse(path):
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=110)
