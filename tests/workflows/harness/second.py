"""A second repository at the stand-in for GitHub, which calls the workflows of ftctl's own."""

import copy
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.workflows.harness.hub import Hub
from tests.workflows.harness.machine import Caches
from tests.workflows.harness.runner import Run
from tests.workflows.repositories import ENVIRONMENT, ROOT, git

OWN = "acme/ftctl"
NAME = "acme/models"
WORKFLOW = ".github/workflows/fine-tunes.yml"
COMMENT = ".github/workflows/fine-tunes-comment.yml"
KEY = "a-token-for-tests"
BASE = "small-ko"
SPEC = """\
backend: openai
endpoint: own
base_model: {base}
data:
  train:
    - path: {data}
  held_out: {{fraction: 0.25}}
hyperparameters: {{n_epochs: {epochs}, batch_size: 4}}
evaluation: {{metrics: [exact_match], compare_to: [], max_tokens: 8}}
gate: []
"""


def rows(count, salt=""):
    """Return examples as JSON Lines."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"{salt}문의 {number}번입니다. 언제 여나요?"},
                    {"role": "assistant", "content": f"{number % 12 + 1}시에 엽니다."},
                ]
            },
            ensure_ascii=False,
        )
        + "\n"
        for number in range(count)
    )


def publish_own(copy, bare):
    """Commit the working tree of ftctl, as it is, to a bare repository; return the commit."""
    if not bare.exists():
        git(bare.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        git(bare, "config", "uploadpack.allowAnySHA1InWant", "true")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-coz", "--exclude-standard"],
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    git(copy, "init", "--quiet", "--initial-branch=main")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "ftctl")
    git(copy, "push", "--quiet", str(bare), "main")
    return git(copy, "rev-parse", "HEAD").strip()


class Second:
    """The repository, its people and its runs."""

    def __init__(self, folder, image, server, *, branch="main", below="", options=()):
        self.folder, self.below, self.server = folder, below, server
        (folder / "hub").mkdir()
        self.hub = Hub(folder / "hub")
        self.image = image
        self.caches = Caches(folder / "caches")
        self.machines = {}
        self.secrets = {
            "environment:fine-tunes": {"FTCTL_ENV": f"OWN_KEY={KEY}"},
            "environment:fine-tunes-reconcile": {"FTCTL_ENV": f"OWN_KEY={KEY}"},
        }
        self.vars = {}
        self.app_key = None
        self.runs = []
        bare = self.hub.add_repository(OWN)["path"]
        self.commit = publish_own(folder / "own", bare)
        self.repository = self.hub.add_repository(NAME, branch)
        self.branch = branch
        self.work = folder / "work"
        git(folder, "init", "--quiet", f"--initial-branch={branch}", str(self.work))
        git(self.work, "remote", "add", "origin", str(self.repository["path"]))
        self.root = self.work / below
        (self.root / "finetunes/data").mkdir(parents=True)
        settings = (
            f"endpoints:\n  own: {{kind: compatible, base_url: {server}, api_key_env: OWN_KEY}}\n"
        )
        (self.root / "ftctl.yaml").write_text(settings)
        self.write("hours", rows(24))
        said = self.ftctl(
            "init", "--github", str(self.root), "--uses", f"{OWN}@{self.commit}", *options
        )
        assert "wrote .github/workflows/fine-tunes.yml" in said, said

    def close(self):
        self.hub.close()

    # ---- people

    def ftctl(self, *arguments):
        """Type a command of ftctl in a terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "controller", *arguments],
            cwd=self.work,
            env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "OWN_KEY": KEY, "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        return done.stdout + done.stderr

    def write(self, name, content, *, epochs=1, data=None):
        """Write a spec and its data into the working copy."""
        data = data or f"data/{name}.jsonl"
        path = self.root / "finetunes" / data
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        text = SPEC.format(base=BASE, data=data, epochs=epochs)
        (self.root / f"finetunes/{name}.yaml").write_text(text)

    def push(self, branch, message, *, remote=None):
        """Commit everything to a branch and push it; return the commit."""
        git(self.work, "checkout", "--quiet", "-B", branch)
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--message", message)
        git(self.work, "push", "--quiet", "--force", remote or "origin", branch)
        return git(self.work, "rev-parse", "HEAD").strip()

    def update(self):
        """Go back to the newest commit of the default branch."""
        git(self.work, "fetch", "--quiet", "origin")
        git(self.work, "checkout", "--quiet", "--force", "-B", self.branch, f"origin/{self.branch}")
        git(self.work, "clean", "-fdq", "-e", ".ftctl")

    def open_pull(self, branch, *, owner="acme", files=()):
        """Open a pull request; return it."""
        number = self.hub.number()
        path = self.repository["path"]
        head = git(path, "rev-parse", branch).strip()
        names = git(path, "diff", "--name-only", f"{self.branch}...{branch}").split("\n")
        pull = {
            "number": number,
            "state": "open",
            "head": {
                "ref": branch.rpartition("/")[2],
                "sha": head,
                "owner": owner,
                "repo": {"full_name": f"{owner}/models"},
            },
            "base": {"ref": self.branch, "repo": {"full_name": NAME}},
            "files": [{"filename": name} for name in (files or names) if name],
            "changed_files": len(names),
            "labels": [],
            "merged": False,
            "merged_at": None,
        }
        self.repository["pulls"][number] = pull
        return pull

    def merged(self, *branches, message="Merge"):
        """Return a merge of branches into the default branch, made in the bare repository."""
        path, tip = self.repository["path"], self.branch
        for branch in branches:
            tree = git(path, "merge-tree", "--write-tree", tip, branch).split("\n")[0]
            parents = ["-p", tip, "-p", branch]
            tip = git(path, "commit-tree", tree, *parents, "-m", message).strip()
        return tip

    def merge(self, pull, branch):
        """Merge a pull request; return the new commit of the default branch."""
        commit = self.merged(branch, message=f"Merge pull request #{pull['number']}")
        git(self.repository["path"], "update-ref", f"refs/heads/{self.branch}", commit)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        pull |= {"state": "closed", "merged": True, "merged_at": now, "updated_at": now}
        return commit

    # ---- runs

    def run(self, event_name, event, sha, *, file=WORKFLOW, on_step=None, **github):
        """Run a workflow of a commit."""
        event = {**event, "repository": {"default_branch": self.branch, "full_name": NAME}}
        options = {
            "event_name": event_name,
            "sha": sha,
            "ref_name": self.branch,
            "ref": "",
            **github,
        }
        folder = self.folder / f"run-{len(self.runs)}"
        folder.mkdir()
        run = Run(
            self.hub,
            folder,
            self.image,
            NAME,
            event,
            secrets=self.secrets,
            vars=self.vars,
            app_key=self.app_key,
            caches=self.caches,
            machines=self.machines,
            on_step=on_step or (lambda _job, _step: None),
            **options,
        )
        self.runs.append(run)
        run.go(file)
        return run

    def plan(self, pull, branch):
        """Run what a pull request starts, and for a fork what that run's end starts."""
        owner = pull["head"]["owner"]
        repository = {"full_name": f"{owner}/models", "owner": {"login": owner}}
        run = self.run(
            "pull_request",
            {"pull_request": pull},
            self.merged(branch),
            ref_name=f"{pull['number']}/merge",
            ref=f"refs/pull/{pull['number']}/merge",
            head_ref=pull["head"]["ref"],
            head_sha=pull["head"]["sha"],
            head_repository=repository,
        )
        return run, self.comment_on(run) if owner != "acme" else run

    def comment_on(self, run):
        """Run what the end of a run starts: the workflow of the default branch."""
        record = self.repository["runs"][run.number]
        tip = git(self.repository["path"], "rev-parse", self.branch).strip()
        return self.run("workflow_run", {"workflow_run": record}, tip, file=COMMENT)

    def ask(self, pull, text, *, by):
        """Comment on a pull request; run what that starts."""
        pull |= {"mergeable": True, "merge_commit_sha": self.merged(pull["head"]["ref"])}
        event = {
            "action": "created",
            "issue": {"number": pull["number"], "pull_request": {}},
            "comment": {"body": text, "user": {"login": by}},
        }
        tip = git(self.repository["path"], "rev-parse", self.branch).strip()
        return self.run("issue_comment", event, tip)

    def label(self, pull, name="ftctl/train", *, by="owner", action="labeled", **options):
        """Set or remove a label; run what that starts."""
        known = [one for one in pull["labels"] if one["name"] != name]
        pull["labels"] = [*known, {"name": name}] if action == "labeled" else known
        event = {"event": action, "label": {"name": name}, "actor": {"login": by}}
        pull.setdefault("events", []).append(event)
        pull |= {"mergeable": True, "merge_commit_sha": self.merged(pull["head"]["sha"])}
        return self.target(pull, action, label={"name": name}, sender={"login": by}, **options)

    def target(self, pull, action, **event):
        """Run what an event of a pull request starts in the default branch."""
        event = {"action": action, "pull_request": copy.deepcopy(pull), **event}
        tip = git(self.repository["path"], "rev-parse", self.branch).strip()
        return self.run("pull_request_target", event, tip)

    def pushed(self, commit, **options):
        """Run what a push to the default branch starts."""
        return self.run("push", {"after": commit}, commit, **options)

    def follow(self, *, most=20, **options):
        """Run every workflow that jobs have started, until there is none; return the runs."""
        done = []
        while self.hub.dispatched and len(done) < most:
            repository, file, ref, inputs = self.hub.dispatched.pop(0)
            assert (repository, file, ref) == (NAME, Path(WORKFLOW).name, self.branch)
            tip = git(self.repository["path"], "rev-parse", ref).strip()
            done.append(self.run("workflow_dispatch", {"inputs": inputs}, tip, **options))
        return done

    def lockfile(self, branch=None):
        """Return what is recorded on a branch."""
        prefix = f"{self.below}/" if self.below else ""
        name = f"{branch or self.branch}:{prefix}finetunes/ftctl.lock"
        return json.loads(git(self.repository["path"], "show", name))["finetunes"]

    def comments(self, pull):
        """Return the comments of a pull request."""
        return [
            one["body"]
            for one in self.repository["comments"].values()
            if one["on"] == pull["number"]
        ]

    @staticmethod
    def said(run):
        """Return what the steps of a run printed."""
        return "\n".join(f"[{job}] {title} -> {code}\n{text}" for job, title, code, text in run.log)
