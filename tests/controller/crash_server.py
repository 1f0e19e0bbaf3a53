"""Runs of the walk in processes that die. One process imports everything and forks for each run.

Reads one JSON list of requests a line, answers with one line. A request begins a run, lets one that
has begun continue, or ends it: between these, others edit specs and prices, and run too. It names
the repository, the folder of the service, and where the run dies: at a call of the backend, or at
the Nth thing it does to the file system, counted by the interpreter's own audit events. Dying is
`os._exit`: no `finally` runs.
"""

import gc
import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from backends.contract.jobs import JobState
from backends.testing import ScriptedBackend
from controller.apply.context import ApplyContext
from controller.apply.dispatch import apply_action
from controller.errors import FtctlError
from controller.lockfile.store import lock_lockfile
from controller.plan.actions import Blocked, Deferred, Restore, Resume, Train, Wait
from controller.plan.approval import approve
from controller.plan.plan import make_plan
from controller.project.project import Project
from controller.run.observe import observe
from controller.run.reconcile import prepare_run, run_until_settled
from controller.run.result import RunResult
from controller.run.state import RunOptions

DIED = 99
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}


def declaration(rate: float, words: str) -> dict:
    """Return a spec whose data `write_rows` writes."""
    columns = {"user": "question", "assistant": "answer"}
    return {
        "description": words,
        "backend": "scripted",
        "base_model": "acme/base",
        "data": {
            "train": [{"path": "faq.csv", "columns": columns}],
            "held_out": {"fraction": 0.2},
        },
        "hyperparameters": {"learning_rate": rate},
        "gate": ["held_out_loss < base.held_out_loss"],
    }


def write_rows(root: Path) -> None:
    """Make a repository with data and without a spec."""
    (root / "finetunes").mkdir(parents=True)
    rows = "".join(f"q{n}?,a{n}.\n" for n in range(14))
    (root / "finetunes" / "faq.csv").write_text("question,answer\n" + rows)


class Quiet:
    def starting(self, action) -> None:
        pass

    def done(self, outcome) -> None:
        pass

    def progress(self, jobs) -> None:
        pass

    def download(self, name, done, total) -> None:
        pass

    def transfer(self, name, what, done, total) -> None:
        pass

    def told(self, message) -> None:
        pass

    def notice(self, message) -> None:
        pass


class Forgetful(ScriptedBackend):
    """Knows only the jobs that this process submitted: submitting twice would pay twice.

    The contract asks backends for more. Here the walk alone must see to it: look, then submit.
    Its price is a file, so that it can change at any moment; each job remembers its own.
    """

    def __init__(self, state: Path, **settings) -> None:
        super().__init__(state, **settings)
        self._price = state / "price"

    def estimate(self, request, examples, tokens):
        self.usd = (0.0, self.price())
        return super().estimate(request, examples, tokens)

    def price(self) -> float:
        return float(self._price.read_text()) if self._price.exists() else 1.0

    def submit(self, request):
        mine = self.__dict__.setdefault("mine", set())
        key = (request.fingerprint, request.attempt)
        mine |= {_key(job) for job in self.jobs if job.state is JobState.INTERRUPTED}
        if key in mine:
            return super().submit(request)
        mine.add(key)
        with self.calling("submit"):
            return self.add_job(request, usd=self.price())


def _key(job) -> tuple[str, int]:
    return job.fingerprint, job.attempt


def die(call: str) -> NoReturn:
    del call
    os._exit(DIED)


def die_at_event(number: int, below: str) -> None:
    """Die just before the Nth change of a file below a folder."""
    left = number

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event not in EVENTS or not str(arguments[0]).startswith(below):
            return
        if (
            event == "open"
            and isinstance(arguments[2], int)
            and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            return
        left -= 1
        if left == 0:
            os._exit(DIED)

    sys.addaudithook(hook)


@dataclass
class Run:
    """One run, from the plan that a person saw to the last pass."""

    request: dict

    def begin(self) -> dict:
        """Make the first plan; return what a person approves by it."""
        request = self.request
        root, service = Path(request["root"]), Path(request["service"])
        self.project = Project(root=root, state=root / ".ftctl")
        self.backend = Forgetful(
            service, script=request["script"], crash_at=request["crash_at"], crash=die
        )
        if request["die_at"]:
            die_at_event(request["die_at"], str(root.parent))
        self.prepared = prepare_run(self.project, lambda _settings: lambda _place: self.backend)
        plan = self.prepared.plan
        self.approval = None
        if request["approves"]:
            self.approval = approve(plan.actions, plan.decisions, plan.settings)
        return {"approved": [_seen(action) for action in plan.actions] if self.approval else []}

    def go_on(self) -> dict:
        """Carry out passes until there is nothing to do but wait."""
        try:
            if self.request["walk"] == "stale":
                result = stale_walk(self)
            else:
                options = RunOptions(approval=self.approval, wait=False)
                result = run_until_settled(self.prepared, Quiet(), options)
        except FtctlError as error:
            return {"error": str(error)}
        desired = prepare_run(
            self.project, lambda _settings: lambda _place: self.backend, display_only=True
        ).desired
        return {
            "wanted": {name: one.fingerprint for name, one in desired.items()},
            "waiting": sorted(result.waiting),
            "blocked": {
                outcome.action.name: outcome.message
                for outcome in result.outcomes
                if isinstance(outcome.action, Blocked) or outcome.exit_code
            },
            "actions": [type(outcome.action).__name__ for outcome in result.outcomes],
        }


def _seen(action) -> dict:
    """Return what a person allows by approving an action."""
    job = getattr(action, "job", None)
    cancels = getattr(action, "cancels", None)
    builds = list(action.entry.builds) if isinstance(action, Restore) else []
    return {
        "trains": [action.fingerprint, action.attempt] if isinstance(action, Train) else None,
        "usd": action.estimate.usd[1] if isinstance(action, Train) else 0.0,
        "cancels": cancels.job if cancels is not None else None,
        "builds": [
            *builds,
            *([action.fingerprint] if hasattr(action, "fingerprint") else []),
            *([job.fingerprint] if hasattr(job, "fingerprint") else []),
        ],
    }


def stale_walk(run: Run) -> RunResult:
    """Do what the walk did before it read again and before approvals did bind.

    Specs are resolved once, at the beginning of the run; only the submission of jobs is checked
    against what was approved, and by their inputs alone.
    """
    resolved, result = run.prepared.resolved, RunResult()
    moved = True
    while moved:
        moved = False
        with lock_lockfile(
            run.project.root, run.project.state, timeout_s=60.0, purpose="test"
        ) as locked:
            observed = observe(resolved, locked.lockfile, run.prepared.open_backend, run.project)
            plan = make_plan(resolved.desired, locked.lockfile, observed)
            context = ApplyContext(
                project=run.project,
                lockfile=locked,
                resolved=resolved,
                open_backend=run.prepared.open_backend,
            )
            for action in plan.actions:
                if action.name in result.failed or isinstance(action, Wait):
                    continue
                if isinstance(action, Train) and run.approval is None:
                    continue
                result.outcomes.append(apply_action(action, context))
                moved = moved or not isinstance(action, Blocked | Deferred | Resume)
            for name, entry in locked.entries.items():
                if entry.job is not None and entry.job.id in plan.jobs:
                    result.waiting[name] = plan.jobs[entry.job.id]
    return result


# --- processes --------------------------------------------------------------------------------


class Child:
    """A process with one run, which does a step for each line that it reads."""

    def __init__(self, request: dict) -> None:
        to_child, from_parent = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(to_child[1])
            os.close(from_parent[0])
            _live(Run(request), to_child[0], from_parent[1])
        os.close(to_child[0])
        os.close(from_parent[1])
        self._out = os.fdopen(to_child[1], "w", buffering=1)
        self._in = os.fdopen(from_parent[0])
        self.alive = True

    def tell(self, step: str) -> None:
        if self.alive:
            with suppress(BrokenPipeError):
                self._out.write(f"{step}\n")

    def answer(self) -> dict:
        line = self._in.readline() if self.alive else ""
        if line:
            return json.loads(line)
        self.close()
        return {"died": True}

    def close(self) -> None:
        if self.alive:
            # Later children have copies of the pipe: closing it alone would end nothing.
            self.tell("end")
            self.alive = False
            with suppress(BrokenPipeError):
                self._out.close()
            self._in.close()
            os.waitpid(self.pid, 0)


def _live(run: Run, commands: int, answers: int) -> NoReturn:
    steps = {"begin": run.begin, "go on": run.go_on}
    with os.fdopen(commands) as lines, os.fdopen(answers, "w", buffering=1) as out:
        for line in lines:
            if line == "end\n":
                break
            try:
                answer = steps[line.strip()]()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
                answer = {"defect": repr(error)}
            out.write(json.dumps(answer) + "\n")
    os._exit(0)


def warm_up() -> None:
    """Train a model, so that modules which are loaded late are loaded here and not in each fork."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "repository"
        write_rows(root)
        (root / "finetunes" / "a.yaml").write_text(json.dumps(declaration(1e-4, "")))
        request = {
            "root": str(root),
            "service": str(Path(name) / "service"),
            "script": ["succeeded"],
            "crash_at": {},
            "die_at": 0,
            "approves": True,
            "walk": "present",
        }
        for _ in range(3):
            run = Run(request)
            run.begin()
            run.go_on()


def serve() -> None:
    warm_up()
    # A fork that searches for cycles would make it copy what it shares with this process.
    gc.freeze()
    children: dict[str, Child] = {}
    for line in sys.stdin:
        requests = json.loads(line)
        for request in requests:
            if request["step"] == "begin":
                children[request["run"]] = Child(request)
            if request["step"] == "end":
                children.pop(request["run"]).close()
        asked = [request for request in requests if request["step"] != "end"]
        for request in asked:
            children[request["run"]].tell(request["step"])
        answers = [children[request["run"]].answer() for request in asked]
        print(json.dumps(answers), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
