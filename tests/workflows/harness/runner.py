"""Runs workflows as they are written: called workflows, jobs in order, steps, composite actions.

A workflow is read from the commit that started it, an action from the commit that its workflow names. A
job gets a token with the permissions that it asks for and no others. What these workflows do not use is
not imitated, and is an error.
"""

import hashlib
import json
import re
import subprocess

import yaml

from tests.workflows.harness import expressions
from tests.workflows.harness.actions import ACTIONS, unpack
from tests.workflows.harness.machine import Caches, Machine
from tests.workflows.repositories import git

LEVELS = {None: 0, "none": 0, "read": 1, "write": 2}
_OUTPUT = re.compile(r"^([\w-]+)=(.*)$")


class Run:
    """One run of a workflow of a repository, started by an event."""

    def __init__(self, hub, folder, image, repository, event, **options):
        self.hub, self.folder, self.image = hub, folder, image
        self.repository = hub.repositories[repository]
        self.event = event
        self.secrets = options.pop("secrets", {})
        self.vars = options.pop("vars", {})
        self.app_key = options.pop("app_key", None)
        self.caches = options.pop("caches", None) or Caches(folder / "caches")
        self.machines = options.pop("machines", {})
        """Machines that stay, by label; other labels mean a new one for each job."""
        self.on_step = options.pop("on_step", lambda _job, _step: None)
        """Called before each step."""
        self.from_fork = options.pop("from_fork", False)
        self.github = options
        self.results, self.outputs, self.log = {}, {}, []
        self.jobs = []

    def go(self, file):
        """Run a workflow of the commit; return the results by job, `ftctl / plan / Plan`."""
        name, sha = self.repository["name"], self.github["sha"]
        reference = f"{name}/{file}@refs/heads/{self.repository['default_branch']}"
        self.number = self.hub.add_run(
            name,
            self.github["event_name"],
            path=file,
            head_sha=self.github.get("head_sha", sha),
            head_branch=self.github.get("head_ref") or self.github.get("ref_name", ""),
            head_repository=self.github.get("head_repository"),
        )
        self.github = {
            "repository": name,
            "run_id": str(self.number),
            "run_attempt": "1",
            "workflow_ref": reference,
            "event": self.event,
            "server_url": self.hub.url,
            **self.github,
        }
        workflow = self.read(name, sha, file)
        self.call(workflow, (name, sha), {}, self.secrets, {"*": "write"}, prefix="")
        ended = "failure" if "failure" in self.results.values() else "success"
        self.hub.repositories[name]["runs"][self.number]["conclusion"] = ended
        return self.results

    def read(self, repository, commit, file):
        """Return a workflow or action of a commit; values are text."""
        path = self.hub.repositories[repository]["path"]
        return yaml.load(git(path, "show", f"{commit}:{file}"), Loader=yaml.BaseLoader)

    def call(self, workflow, home, inputs, secrets, most, prefix):
        """Run the jobs of a workflow; return their results by ID."""
        assert workflow["permissions"] == {}
        needs = {}
        for identity, job in self.ordered(workflow["jobs"]):
            context = self.context(inputs, secrets, needs, job)
            # A job's condition knows how the jobs before it ended.
            functions = self.functions([one["result"] for one in context["needs"].values()])
            if not expressions.condition(job.get("if"), context, functions):
                needs[identity] = {"result": "skipped", "outputs": {}}
                continue
            allowed = _narrowed(job["permissions"], most)
            name = f"{prefix}{job.get('name', identity)}"
            if "uses" in job:
                needs[identity] = self.call_workflow(job, home, context, functions, allowed, name)
            else:
                needs[identity] = Job(self, job, name, home, context, allowed).go()
                self.results[name] = needs[identity]["result"]
        return needs

    def call_workflow(self, job, home, context, functions, allowed, name):
        """Run the workflow that a job calls."""
        repository, commit, file = resolve(job["uses"], home)
        workflow = self.read(repository, commit, file)
        declared = workflow["on"]["workflow_call"] or {}
        given = {
            key: expressions.expand(value, context, functions)
            for key, value in job.get("with", {}).items()
        }
        inputs = _with_defaults(declared.get("inputs", {}), given)
        passed = {
            key: expressions.as_text(expressions.expand(value, context, functions))
            for key, value in job.get("secrets", {}).items()
        }
        assert set(passed) <= set(declared.get("secrets", {})), "a secret that is not declared"
        results = self.call(
            workflow, (repository, commit), inputs, passed, allowed, f"{name} / "
        ).values()
        ends = {one["result"] for one in results}
        worst = next((one for one in ("failure", "cancelled", "success") if one in ends), "skipped")
        return {"result": worst, "outputs": {}}

    def context(self, inputs, secrets, needs, job):
        """Return the contexts that a job's own keys may use."""
        wanted = job.get("needs", [])
        wanted = [wanted] if isinstance(wanted, str) else wanted
        known = {one: needs[one] for one in wanted}
        github = {**self.github, "token": None}
        return {
            "github": github,
            "inputs": inputs,
            "secrets": secrets,
            "vars": self.vars,
            "needs": known,
        }

    def functions(self, results):
        """Return the functions of conditions, by how what came before has ended."""
        bad = [one for one in results if one != "success"]
        return {
            "always": lambda: True,
            "success": lambda: not bad,
            "failure": lambda: "failure" in bad,
            "cancelled": lambda: "cancelled" in bad,
            "format": lambda text, *given: text.format(*given),
            "contains": lambda many, one: one in (many or []),
            "startsWith": lambda text, start: (text or "").casefold().startswith(start.casefold()),
        }

    @staticmethod
    def ordered(jobs):
        """Yield jobs after those that they need."""
        waiting = dict(jobs)
        while waiting:
            for identity, job in list(waiting.items()):
                needs = job.get("needs", [])
                if not {*([needs] if isinstance(needs, str) else needs)} & set(waiting):
                    yield identity, waiting.pop(identity)


class Job:
    """One job on a machine."""

    def __init__(self, run, job, name, home, context, permissions):
        self.run, self.job, self.name, self.home = run, job, name, home
        self.hub = run.hub
        self.permissions = permissions
        self.token = self.hub.token(run.repository["name"], permissions)
        self.context = {**context, "github": {**context["github"], "token": self.token}}
        functions = run.functions([])
        label = expressions.expand(job["runs-on"], self.context, functions)
        folder = run.folder / f"job-{self.hub.number()}"
        self.machine = run.machines.get(label) or Machine(folder, run.image)
        self.workspace = folder / "work/repository"
        self.temp = folder / "work/temp"
        for path in (self.workspace, self.temp):
            path.mkdir(parents=True)
        self.context["runner"] = {"environment": self.machine.environment, "temp": str(self.temp)}
        self.files = {
            name: self.temp / f"_{name}" for name in ("ENV", "PATH", "OUTPUT", "STEP_SUMMARY")
        }
        self.added, self.path = {}, []
        self.at_end = []
        self.ends = []
        environment = job.get("environment")
        if environment is not None:
            # Its secrets are there for jobs of this environment alone.
            name = expressions.expand(environment, self.context, functions)
            self.environment = name
            for key, value in run.secrets.get(f"environment:{name}", {}).items():
                self.context["secrets"] = {**self.context["secrets"], key: value}
        run.jobs.append(self)

    def go(self):
        """Run the steps; return the result and the outputs."""
        steps = {}
        self.context["env"] = {
            key: expressions.as_text(expressions.expand(value, self.context, {}))
            for key, value in self.job.get("env", {}).items()
        }
        self.steps(self.job["steps"], self.context, steps, self.home, None)
        if self.machine.lost.is_set():
            return {"result": "failure", "outputs": {}}
        if "failure" not in self.ends:
            for last in self.at_end:
                last()
        context = {**self.context, "steps": steps}
        outputs = {
            key: expressions.as_text(expressions.expand(value, context, {}))
            for key, value in self.job.get("outputs", {}).items()
        }
        return {"result": "failure" if "failure" in self.ends else "success", "outputs": outputs}

    def steps(self, listed, context, steps, home, action):
        """Run steps of the job, or of a composite action."""
        for step in listed:
            context = {**context, "steps": steps}
            functions = {**self.run.functions(self.ends), "hashFiles": self.hash_files}
            if self.machine.lost.is_set():
                return
            if not expressions.condition(step.get("if"), context, functions):
                continue
            self.run.on_step(self, step)
            code, outputs = self.step(step, context, functions, home, action)
            if self.machine.lost.is_set():
                return
            if "id" in step:
                steps[step["id"]] = {
                    "outputs": outputs,
                    "outcome": "failure" if code else "success",
                }
            if code and step.get("continue-on-error") != "true":
                self.ends.append("failure")

    def step(self, step, context, functions, home, action):
        """Run one step; return its exit code and outputs."""
        given = {
            key: expressions.as_text(expressions.expand(value, context, functions))
            for key, value in step.get("with", {}).items()
        }
        if "run" in step:
            environment = {
                key: expressions.as_text(expressions.expand(value, context, functions))
                for key, value in step.get("env", {}).items()
            }
            return self.script(step, environment, action)
        if "@" in step["uses"] and step["uses"].partition("@")[0] in ACTIONS:
            try:
                return 0, ACTIONS[step["uses"].partition("@")[0]](self, given)
            except subprocess.CalledProcessError as error:
                self.note(step, 1, str(error.stderr))
                return 1, {}
        repository, commit, path = resolve(step["uses"], home)
        folder = unpack(self.hub, repository, commit, self.run.folder)
        composite = yaml.load(
            (folder / path / "action.yml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader
        )
        assert set(given) <= set(composite.get("inputs", {})), f"{path}: {given}"
        inner = {name: value for name, value in context.items() if name != "secrets"}
        defaults = {
            key: expressions.as_text(expressions.expand(one.get("default", ""), context, functions))
            for key, one in composite.get("inputs", {}).items()
        }
        inner["inputs"] = {**defaults, **given}
        before, own = len(self.ends), {}
        failed_before = list(self.ends)
        self.ends = []
        self.steps(composite["runs"]["steps"], inner, own, (repository, commit), folder / path)
        code = int("failure" in self.ends)
        self.ends = failed_before[:before]
        outputs = {
            key: expressions.as_text(
                expressions.expand(one["value"], {**inner, "steps": own}, functions)
            )
            for key, one in composite.get("outputs", {}).items()
        }
        return code, outputs

    def script(self, step, environment, action):
        """Run a script with the files and variables that GitHub gives it."""
        github = self.context["github"]
        for path in self.files.values():
            path.write_text("")
        event = self.temp / "_event.json"
        event.write_text(json.dumps(self.run.event))
        ref = github.get("ref_name", self.run.repository["default_branch"])
        variables = self.machine.variables() | self.context["env"] | self.added
        variables |= {f"GITHUB_{name}": str(path) for name, path in self.files.items()}
        variables |= {
            "GITHUB_API_URL": self.hub.url,
            "GITHUB_SERVER_URL": self.hub.url,
            "GITHUB_REPOSITORY": github["repository"],
            "GITHUB_RUN_ID": github["run_id"],
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REF_NAME": ref,
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_WORKSPACE": str(self.workspace),
        }
        variables["PATH"] = ":".join([*reversed(self.path), variables["PATH"]])
        if action is not None:
            variables["GITHUB_ACTION_PATH"] = str(action)
        variables |= environment
        code, said = self.machine.run(step["run"], self.workspace, variables)
        self.note(step, code, said)
        outputs = {}
        for line in self.files["OUTPUT"].read_text().splitlines():
            key, value = _OUTPUT.match(line).groups()
            outputs[key] = value
        self.added |= dict(
            _OUTPUT.match(line).groups() for line in self.files["ENV"].read_text().splitlines()
        )
        self.path += self.files["PATH"].read_text().splitlines()
        return code, outputs

    def note(self, step, code, said):
        """Keep what a step printed."""
        title = step.get("name") or step.get("id") or step.get("run", step.get("uses"))
        self.run.log.append((self.name, title.strip().splitlines()[0], code, said))

    def require(self, permission):
        """Fail if the job's token may not do something."""
        assert self.hub.allowed(self.token, self.run.repository["name"], permission), permission

    def authorization(self):
        """Return the options by which git shows the job's token."""
        scheme = subprocess.run(
            ["base64", "-w0"],
            input=f"x-access-token:{self.token}".encode(),
            capture_output=True,
            check=True,
            timeout=10,
        ).stdout.decode()
        return ["-c", f"http.{self.hub.url}/.extraheader=AUTHORIZATION: basic {scheme}"]

    def hash_files(self, *patterns):
        """Return the digest of the workspace's files that match; empty if none does."""
        digest, found = hashlib.sha256(), False
        for pattern in patterns:
            for path in sorted(self.workspace.glob(pattern.removeprefix("./"))):
                if path.is_file():
                    found = True
                    digest.update(path.read_bytes())
        return digest.hexdigest() if found else ""


def resolve(uses, home):
    """Return repository, commit and path of `$/path` or `OWNER/REPO/path@COMMIT`."""
    if uses.startswith("$/"):
        return (*home, uses.removeprefix("$/"))
    path, _, ref = uses.partition("@")
    owner, name, *rest = path.split("/")
    assert re.fullmatch(r"[0-9a-f]{40}", ref), f"{uses} is not pinned"
    return f"{owner}/{name}", ref, "/".join(rest)


def _narrowed(asked, most):
    """Return the permissions of a job; GitHub refuses a called workflow that asks for more."""
    for name, level in asked.items():
        limit = most.get(name, most.get("*"))
        assert LEVELS[level] <= LEVELS[limit], f"{name}: {level} is more than the caller allows"
    return dict(asked)


def _with_defaults(declared, given):
    assert set(given) <= set(declared), f"not declared: {set(given) - set(declared)}"
    values = {}
    for key, one in declared.items():
        value = given.get(key, one.get("default", ""))
        values[key] = str(value).lower() == "true" if one["type"] == "boolean" else value
    return values
