"""What workflows, actions and scripts may do, and the ftctl that they install."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from controller.project.github import GitHubOptions, workflow_texts
from controller.spec.load import read_specs
from tests.workflows.harness import expressions
from tests.workflows.harness.runner import Run
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
    # Started with the rights of the default branch: it may do nothing but call one workflow.
    called = {"workflow_run": "comment.yml", "issue_comment": "ftctl.yml"}
    for event, file in (called | {"pull_request_target": "ftctl.yml"}).items():
        if event in started:
            (job,) = workflow["jobs"].values()
            assert job["uses"] == f"$/.github/workflows/{file}"


OWN = {"head": {"repo": {"full_name": "acme/models"}}, "labels": []}
FORK = {"head": {"repo": {"full_name": "mallory/models"}}, "labels": []}
OURS = {"name": "ftctl/train"}


@pytest.mark.parametrize(
    ("name", "event", "expected"),
    [
        ("pull_request", {"pull_request": OWN}, {"plan", "comment"}),
        ("pull_request", {"pull_request": FORK}, {"plan"}),
        ("merge_group", {}, {"plan"}),
        ("push", {}, {"apply"}),
        ("schedule", {}, {"drift"}),
        ("issue_comment", {"comment": {"body": "/ftctl plan"}}, {"replan"}),
        ("issue_comment", {"comment": {"body": "LGTM"}}, set()),
        *(
            ("workflow_dispatch", {"inputs": {"action": action}}, {job})
            for action, job in {
                "apply": "apply",
                "reconcile": "reconcile",
                "follow": "reconcile",
                "drift": "drift",
                "train 1 abc": "train",
                "cancel 1": "train",
            }.items()
        ),
        ("workflow_dispatch", {"inputs": {"action": ""}}, set()),
        (
            "pull_request_target",
            {"action": "labeled", "label": OURS, "pull_request": OWN},
            {"label"},
        ),
        (
            "pull_request_target",
            {"action": "unlabeled", "label": OURS, "pull_request": FORK},
            {"label"},
        ),
        (
            "pull_request_target",
            {"action": "labeled", "label": {"name": "bug"}, "pull_request": OWN},
            set(),
        ),
        ("pull_request_target", {"action": "synchronize", "pull_request": OWN}, set()),
        (
            "pull_request_target",
            {"action": "synchronize", "pull_request": {**FORK, "labels": [OURS]}},
            {"label"},
        ),
        ("pull_request_target", {"action": "closed", "pull_request": FORK}, set()),
    ],
)
def test_an_event_starts_its_own_jobs_and_no_others(name, event, expected):
    """Also what starts with the rights of the default branch, for whatever a stranger may send."""
    run = Run.__new__(Run)
    github = {"event_name": name, "event": event, "repository": "acme/models"}
    needs = {"plan": {"result": "success"}}
    started = {
        job
        for job, written in read(GITHUB / "workflows/ftctl.yml")["jobs"].items()
        if expressions.condition(
            written["if"], {"github": github, "needs": needs}, run.functions([])
        )
    }
    assert started == expected


def test_what_hears_of_a_label_checks_nothing_out_and_sees_no_key():
    job = read(GITHUB / "workflows/ftctl.yml")["jobs"]["label"]
    assert [step["uses"] for step in job["steps"]] == ["$/.github/actions/label"]
    assert job["permissions"] == {"actions": "write", "pull-requests": "write"}
    assert "secrets" not in json.dumps(job)


def test_training_before_the_merge_runs_nothing_of_the_pull_request():
    job = read(GITHUB / "workflows/train.yml")["jobs"]["train"]
    assert job["environment"]
    assert job["if"].endswith("github.ref_name == github.event.repository.default_branch")
    base, pull = (step["with"] for step in job["steps"] if "checkout@" in step.get("uses", ""))
    assert base["ref"] == "${{ github.event.repository.default_branch }}"
    assert pull["ref"] == "${{ needs.request.outputs.merge }}"
    assert (pull["path"], pull["fetch-depth"]) == ("pull-request", "2")
    assert [step for step in job["steps"] if "run" in step] == []
    # What decides where keys are sent is looked at before, and nothing with keys runs if it differs.
    names = [step.get("id", step.get("uses")) for step in job["steps"]]
    after = job["steps"][names.index("begin") + 1 :]
    keyed = [step for step in after if "secrets." in json.dumps(step)]
    assert len(keyed) == 3
    for step in keyed:
        checks_itself = step["uses"] == "$/.github/actions/plan"
        assert "if" not in step or "steps.begin.outcome" in step["if"] or checks_itself
    assert not any(
        "secrets." in json.dumps(step) for step in job["steps"][: names.index("begin") + 1]
    )


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
        ("train", "train"): {"contents"},
        ("train", "comment"): {"pull-requests"},
        ("train", "follow"): {"actions"},
        ("train", "cancel"): {"contents"},
        ("ftctl", "label"): {"actions", "pull-requests"},
        ("apply", "apply"): {"contents", "statuses"},
        ("apply", "follow"): {"actions"},
        ("reconcile", "reconcile"): {"contents", "statuses"},
        ("reconcile", "follow"): {"actions"},
        ("drift", "report"): {"issues"},
        # These call others, which ask for a part of it each.
        ("ftctl", "apply"): {"actions", "contents", "statuses"},
        ("ftctl", "reconcile"): {"actions", "contents", "statuses"},
        ("ftctl", "drift"): {"issues"},
        ("ftctl", "comment"): {"pull-requests"},
        ("ftctl", "replan"): {"pull-requests"},
        ("ftctl", "train"): {"actions", "contents", "pull-requests"},
        ("fine-tunes", "ftctl"): {"actions", "contents", "issues", "pull-requests", "statuses"},
        ("fine-tunes-comment", "ftctl"): {"pull-requests"},
    }
    assert writes == allowed.get((path.stem, name), set())
    if "uses" in job:
        return
    assert 0 < int(job["timeout-minutes"]) < 360
    short = {"follow", "label", "report", "request"}  # of one run, and safe to run twice
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
        *(("train", "train"), ("train", "cancel")),
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
    options = GitHubOptions(uses=".", branch="main", forks=True)
    specs, _ = read_specs(ROOT)
    for name, text in workflow_texts(ROOT, "", specs.values(), options).items():
        assert (GITHUB / "workflows" / name).read_text() == text, (
            "Type `ftctl init --github --forks --uses .`"
        )
    assert "/finetunes/ftctl.lock merge=ftctl" in (ROOT / ".gitattributes").read_text()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_strict_and_parse(path):
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=110)
