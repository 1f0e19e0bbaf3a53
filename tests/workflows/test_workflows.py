"""What workflows, actions and scripts may do, and the ftctl that they install."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.workflows.repositories import GITHUB, WORKFLOWS, jobs, read, steps

pytestmark = pytest.mark.skipif(
    shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
)


ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
SCRIPTS = sorted(GITHUB.rglob("*.sh"))


INSTALL = GITHUB / "actions/setup/install.sh"


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_actions_of_others_are_pinned_by_commit_with_their_release(path):
    pinned = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    for line in path.read_text().splitlines():
        if "uses:" in line and not re.search(r"uses: \./", line):
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
    assert "concurrency" in workflow
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & {*workflow["on"]}


@pytest.mark.parametrize(("path", "name", "job"), jobs())
def test_a_job_says_what_it_needs_and_how_long_it_may_take(path, name, job):
    writes = {key for key, value in job["permissions"].items() if value == "write"}
    allowed = {
        ("ftctl-plan", "comment"): {"pull-requests"},
        ("ftctl-apply", "apply"): {"contents"},
        ("ftctl-reconcile", "reconcile"): {"contents"},
    }
    assert writes == allowed.get((path.stem, name), set())
    assert 0 < int(job["timeout-minutes"]) < 360


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name)
def test_no_checkout_leaves_a_credential_and_no_script_is_built_from_text(path):
    for step in steps(path):
        if "actions/checkout@" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] == "false"
        assert "${{" not in step.get("run", "")
        assert "${{" not in step.get("with", {}).get("script", "")


def test_planning_runs_nothing_of_the_pull_request():
    job = read(GITHUB / "workflows/ftctl-plan.yml")["jobs"]["plan"]
    assert job["permissions"] == {"contents": "read"}
    assert job["runs-on"] == "ubuntu-latest"
    assert "secrets." not in json.dumps(job)
    base, head = (step for step in job["steps"] if "checkout@" in step.get("uses", ""))
    assert (base["with"]["ref"], base["with"]["path"]) == ("${{ github.base_ref }}", "base")
    assert head["with"]["path"] == "head"
    assert head["with"]["sparse-checkout"].split() == ["/finetunes/", "/ftctl.yaml"]
    assert head["with"]["sparse-checkout-cone-mode"] == "false"
    local = [step["uses"] for step in job["steps"] if step.get("uses", "").startswith("./")]
    assert local
    assert all(use.startswith("./base/") for use in local)
    assert all(
        step["run"].startswith("bash base/.github/") for step in job["steps"] if "run" in step
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_strict_and_parse(path):
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=110)


def wheel(folder, version):
    """Write a package called ftctl whose command prints its version; return its address."""
    info = f"ftctl-{version}.dist-info"
    files = {
        "ftctl_stub.py": f"def main(): print('ftctl {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: ftctl\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nftctl = ftctl_stub:main\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    path = folder / f"ftctl-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path.as_uri()


@pytest.mark.slow
def test_another_repository_names_the_ftctl_that_its_workflows_install(tmp_path):
    repository = tmp_path / "models"
    requirements = repository / ".github/ftctl-requirements.txt"
    requirements.parent.mkdir(parents=True)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "python").symlink_to(sys.executable)

    def install():
        path = tmp_path / "path"
        path.write_text("")
        done = subprocess.run(
            ["bash", str(INSTALL)],
            env={
                "PATH": f"{bin_folder}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "SOURCE": str(repository),
                "GITHUB_PATH": str(path),
                "PIP_NO_INDEX": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        return done.stdout + done.stderr, path.read_text()

    requirements.write_text(f"ftctl @ {wheel(tmp_path, '7.1')}\n")
    said, path = install()
    assert said == "Installed: ftctl 7.1\n"
    assert (Path(path.strip()) / "ftctl").exists()
    # The next job finds it ready: children that still train import from it.
    (tmp_path / "ftctl-7.1-py3-none-any.whl").unlink()
    assert install() == (said, path)
