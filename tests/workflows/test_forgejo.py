"""`ftctl init --forgejo`: its jobs' own lines in real git repositories, with a stand-in for the API.

The stand-in answers the calls of the scripts as Forgejo's documentation says; no Forgejo runs here.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.controller.server.serve_helpers import serving
from tests.workflows.harness import expressions
from tests.workflows.harness.hub import Hub
from tests.workflows.harness.machine import Machine
from tests.workflows.harness.second import BASE, KEY, ROOT, SPEC, publish_own, rows
from tests.workflows.repositories import ENVIRONMENT, LOCKFILE, git

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("bash") is None or shutil.which("git") is None, reason="needs bash and git"
    ),
]
NAME, FILE = "acme/models", ".forgejo/workflows/fine-tunes.yml"


class Forge:
    """A repository at the stand-in, with its workflow, and what its events start."""

    def __init__(self, folder, image, trainer):
        self.folder, self.image, self.trainer = folder, image, trainer
        (folder / "hub").mkdir()
        self.hub = Hub(folder / "hub")
        self.hub.bot = "forgejo-actions"
        self.repository = self.hub.add_repository(NAME)
        self.bare = self.repository["path"]
        commit = publish_own(folder / "own", folder / "own.git")
        self.work = folder / "work"
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.work))
        git(self.work, "remote", "add", "origin", str(self.bare))
        (self.work / "finetunes/data").mkdir(parents=True)
        (self.work / "ftctl.yaml").write_text(
            f"endpoints:\n  own: {{kind: compatible, base_url: {trainer.url}, api_key_env: OWN_KEY}}\n"
        )
        uses = f"{(folder / 'own.git').as_uri()}@{commit}"
        command = [sys.executable, "-m", "controller", "init", "--forgejo", ".", "--uses", uses]
        subprocess.run(
            command,
            cwd=self.work,
            env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
            check=True,
            timeout=100,
        )
        self.push("main")

    def push(self, branch, **specs):
        git(self.work, "checkout", "--quiet", "-B", branch)
        for name, salt in specs.items():
            (self.work / f"finetunes/data/{name}.jsonl").write_text(rows(24, salt))
            text = SPEC.format(base=BASE, data=f"data/{name}.jsonl", epochs=1)
            (self.work / f"finetunes/{name}.yaml").write_text(text)
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--allow-empty", "--message", branch)
        git(self.work, "push", "--quiet", "--force", "origin", branch)
        return git(self.work, "rev-parse", "HEAD").strip()

    def pull(self, branch):
        number, head = self.hub.number(), git(self.bare, "rev-parse", branch).strip()
        git(self.bare, "update-ref", f"refs/pull/{number}/head", head)
        pull = {"number": number, "state": "open", "head": {"sha": head}}
        self.repository["pulls"][number] = pull
        return pull

    def merge(self, branch, message):
        git(self.work, "checkout", "--quiet", "main")
        git(self.work, "pull", "--quiet", "--ff-only", "origin", "main")
        git(self.work, "merge", "--quiet", "--no-ff", "-m", message, branch)
        git(self.work, "push", "--quiet", "origin", "main")

    def run(self, event_name, **event):
        """Run the jobs that an event starts; return their exit codes, and what was printed."""
        text = git(self.bare, "show", f"main:{FILE}")
        workflow = yaml.load(text, Loader=yaml.BaseLoader)
        token = self.hub.token(
            NAME, dict.fromkeys(("contents", "pull-requests", "statuses"), "write")
        )
        github = {
            "event_name": event_name,
            "event": event,
            "token": token,
            "server_url": self.hub.url,
        }
        codes, printed = {}, []
        for name, job in workflow["jobs"].items():
            context = {"github": github, "secrets": {}, "steps": {}}
            if name != "plan":
                context["secrets"] = {"FTCTL_ENV": f"OWN_KEY={KEY}"}
            if not expressions.condition(job["if"], context, {"success": lambda: True}):
                continue
            machine = Machine(self.folder / f"job-{self.hub.number()}", self.image)
            workspace, output = machine.folder / "workspace", machine.folder / "output"
            workspace.mkdir()
            codes[name] = 0
            for step in job["steps"]:
                functions = {"success": lambda code=codes[name]: code == 0, "always": lambda: True}
                if not expressions.condition(step.get("if"), context, functions):
                    continue
                output.write_text("")
                given = {**workflow["env"], **step.get("env", {})}
                variables = machine.variables() | {
                    "GITHUB_API_URL": self.hub.url,
                    "GITHUB_SERVER_URL": self.hub.url,
                    "GITHUB_REPOSITORY": NAME,
                    "GITHUB_RUN_ID": "1",
                    "GITHUB_OUTPUT": str(output),
                }
                variables |= {
                    key: expressions.as_text(expressions.expand(value, context, {}))
                    for key, value in given.items()
                }
                code, said = machine.run(step["run"], workspace, variables)
                printed.append(said)
                codes[name] = codes[name] or code
                outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
                context["steps"][step.get("id", "")] = {"outputs": outputs}
        return codes, "".join(printed)

    def lockfile(self):
        return json.loads(git(self.bare, "show", f"main:{LOCKFILE}"))["finetunes"]

    @property
    def jobs(self):
        return self.trainer.client.fine_tuning.jobs.list().data


@pytest.fixture
def forge(tmp_path, image, trainer):
    with serving(trainer) as server:
        made = Forge(tmp_path, image, server)
        yield made
        made.hub.close()


def test_a_pull_request_is_planned_and_what_a_merge_names_is_applied(forge):
    forge.push("more", hours="새 ")
    pull = forge.pull("more")
    codes, said = forge.run("pull_request", pull_request=pull)
    assert codes == {"plan": 0}, said
    (comment,) = forge.repository["comments"].values()
    assert "1 to train" in comment["body"]
    forge.run("pull_request", pull_request=pull)
    assert len(forge.repository["comments"]) == 1

    # Nobody approved anything: nothing is trained, and the plan is there to be approved.
    forge.merge("more", "Merge")
    codes, said = forge.run("push")
    assert codes == {"apply": 6}, said
    assert "Nobody approved this plan." in said
    assert forge.jobs == []
    (plan,) = re.findall(r"Plan ID: ([0-9a-f]{16})", said)

    # An approval of another plan approves nothing either.
    codes, said = forge.run("workflow_dispatch", inputs={"train": "", "plan": "0" * 16})
    assert codes == {"apply": 6}, said
    assert forge.jobs == []

    forge.push("approve")
    forge.merge("approve", f"Approve it\n\nFtctl-Plan: {plan}")
    codes, said = forge.run("push")
    assert codes == {"apply": 0}, said
    assert len(forge.jobs) == 1
    assert KEY not in said.replace(f"::add-mask::{KEY}", "")
    tip = git(forge.bare, "rev-parse", "main").strip()
    assert forge.repository["statuses"][tip][-1]["context"] == "ftctl"
    for _ in range(5):
        if "production" in forge.lockfile()["hours"]:
            break
        codes, said = forge.run("schedule")
        assert codes == {"reconcile": 0}, said
    assert "production" in forge.lockfile()["hours"]
    codes, said = forge.run("push")  # approved long ago, and done
    assert codes == {"apply": 0}, said


def test_a_pull_request_is_trained_before_its_merge_and_a_fork_is_not(forge):
    head = forge.push("more", hours="새 ")
    codes, said = forge.run("workflow_dispatch", inputs={"train": f"12 {head}", "plan": ""})
    assert codes == {"train": 0}, said
    assert len(forge.jobs) == 1
    assert git(forge.bare, "for-each-ref", "refs/ftctl/pr-12")
    forge.merge("more", "Merge")
    _, said = forge.run("push")
    (plan,) = re.findall(r"Plan ID: ([0-9a-f]{16})", said)
    codes, said = forge.run("workflow_dispatch", inputs={"train": "", "plan": plan})
    assert codes == {"apply": 0}, said
    assert "nothing was trained" in said
    assert "production" in forge.lockfile()["hours"]
    assert len(forge.jobs) == 1
    assert git(forge.bare, "for-each-ref", "refs/ftctl/pr-12") == ""

    forge.push("evil", hours="나쁜 ")
    head = git(forge.bare, "rev-parse", "evil").strip()
    git(forge.bare, "update-ref", "refs/pull/13/head", head)
    git(forge.bare, "update-ref", "-d", "refs/heads/evil")  # it is a branch of the fork
    codes, said = forge.run("workflow_dispatch", inputs={"train": f"13 {head}", "plan": ""})
    assert codes == {"train": 1}, said
    assert "Forks are never trained." in said
    codes, said = forge.run("workflow_dispatch", inputs={"train": "13 $(id)", "plan": ""})
    assert codes == {"train": 64}, said
    assert len(forge.jobs) == 1
