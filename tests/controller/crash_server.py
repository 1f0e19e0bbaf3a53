"""Runs of the walk in processes that die. One process imports everything and forks for each run.

Reads one JSON request a line, answers with one line. A request names a repository, the folder of
the service, and where the run dies: at a call of the backend, or at the Nth thing it does to the
file system, counted by the interpreter's own audit events. Dying is `os._exit`: no `finally` runs.
"""

import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from controller.reconcile import Planned, Walk, converge, observe

from backends.base import JobState
from backends.testing import ScriptedBackend
from controller.errors import FtctlError
from controller.lock.store import read_lockfile
from controller.plan.actions import Blocked
from controller.plan.plan import make_plan
from controller.project import Project
from controller.resolve import resolve
from controller.settings import Policies
from controller.spec.load import load_specs

DIED = 99
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}


class Quiet:
    def starting(self, action) -> None:
        pass

    def done(self, outcome) -> None:
        pass

    def progress(self, jobs) -> None:
        pass


class Forgetful(ScriptedBackend):
    """Knows only the jobs that this process submitted: submitting twice would pay twice.

    The contract asks backends for more. Here the walk alone must see to it: look, then submit.
    """

    def submit(self, request):
        mine = self.__dict__.setdefault("mine", set())
        key = (request.fingerprint, request.attempt)
        mine |= {_key(job) for job in self.jobs if job.state is JobState.INTERRUPTED}
        if key in mine:
            return super().submit(request)
        mine.add(key)
        with self._call("submit"), self._records() as records:
            records.append(self._new_record(request, len(records) + 1))
        return self.jobs[-1]


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


def run(request: dict) -> dict:
    root, service = Path(request["root"]), Path(request["service"])
    project = Project(root=root, state=root / ".ftctl")
    backend = Forgetful(service, script=request["script"], crash_at=request["crash_at"], crash=die)

    def opened(_: str) -> ScriptedBackend:
        return backend

    if request["die_at"]:
        die_at_event(request["die_at"], str(root.parent))
    try:
        recorded = read_lockfile(root, project.state)
        resolved = resolve(load_specs(root), recorded, project, opened, policies=Policies())
        plan = make_plan(resolved.desired, recorded, observe(resolved, recorded, opened))
        planned = Planned(plan=plan, resolved=resolved, opened=opened)
        converged = converge(project, planned, Quiet(), Walk(approved=None, wait=False))
    except FtctlError as error:
        return {"error": str(error)}
    blocked = {
        outcome.action.name: outcome.message
        for outcome in converged.outcomes
        if isinstance(outcome.action, Blocked) or outcome.exit_code
    }
    return {
        "wanted": {name: one.fingerprint for name, one in resolved.desired.items()},
        "waiting": sorted(converged.waiting),
        "blocked": blocked,
        "actions": [type(outcome.action).__name__ for outcome in converged.outcomes],
    }


def serve() -> None:
    for line in sys.stdin:
        requests = json.loads(line)
        children = []
        for request in requests:
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reader)
                try:
                    answer = json.dumps(run(request))
                except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
                    answer = json.dumps({"defect": repr(error)})
                os.write(writer, answer.encode())
                os._exit(0)
            os.close(writer)
            children.append((child, reader))
        answers = []
        for child, reader in children:
            with os.fdopen(reader, "rb") as pipe:
                text = pipe.read()
            _, status = os.waitpid(child, 0)
            died = os.waitstatus_to_exitcode(status) == DIED
            answers.append({"died": True} if died else json.loads(text))
        print(json.dumps(answers), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
