"""A state machine of people, files and runs that die, for `test_crash_machine.py`.

Rules edit, add, remove and rename specs and change prices, also while runs wait that others began;
let jobs go on or fail; wipe what a machine may lose; and start runs, alone or two at once, that die
at any call of the backend or at any change of a file (`crash_server.py`). After each rule: every
job, cancellation and model in production was approved by somebody, and no build is forgotten that
its spec still names. Then the faults stop, and a few more runs must come to what is declared, or
say why not.
"""

import json
import shutil
import subprocess
from itertools import count
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from backends.contract.jobs import JobState
from backends.testing import ScriptedBackend
from tests.controller.crash_server import declaration, write_rows

NAMES = ("a", "b", "c")
RATES = (1e-4, 2e-4, 3e-4)
PRICES = (1.0, 3.0, 1000.0)
CALLS = ("submit", "find", "observe", "complete", "cancel")
SLOW = ("queued", "running", "running", "running", "succeeded")
QUICK = ("succeeded",)
MOST_LIVE = 2
"""Runs that wait at the same time."""


class Server:
    """The process that forks runs."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process
        self._numbers = count()

    def new_run(self) -> str:
        """Return an identity for a run."""
        return str(next(self._numbers))

    def step(self, *requests: dict) -> list[dict]:
        """Do one step of each of some runs, at the same time."""
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        defects = [answer["defect"] for answer in answers if "defect" in answer]
        assert not defects, defects
        return answers


class CrashMachine(RuleBasedStateMachine):
    """A repository, people who change it, and runs that die; `machine` says where."""

    server: Server
    folder: Path
    walk = "present"
    numbers = count()
    script = SLOW
    """How the jobs of the next runs go."""

    def __init__(self) -> None:
        super().__init__()
        self.here = self.folder / str(next(self.numbers))
        self.root = self.here / "repository"
        self.lock = self.root / "finetunes" / "ftctl.lock"
        self.backend = ScriptedBackend(self.here / "service")
        self.specs: dict[str, dict] = {}
        self.trained: set[str] = set()
        self.live: list[dict] = []
        # What people approved, in all runs together.
        self.may_train: dict[tuple[str, int], float] = {}
        self.may_cancel: set[str] = set()
        self.may_serve: set[str] = set()
        self.approved_jobs = 0
        # What the lockfile once said of fine-tunes that are still declared.
        self.known: dict[str, set[str]] = {}
        write_rows(self.root)

    @initialize()
    def begin(self) -> None:
        self.declare("a", RATES[0], "")

    # --- people and their files

    @rule(name=st.sampled_from(NAMES), rate=st.sampled_from(RATES), words=st.sampled_from("xy가"))
    def declare(self, name: str, rate: float, words: str) -> None:
        self.specs[name] = declaration(rate, words)
        path = self.root / "finetunes" / f"{name}.yaml"
        path.write_text(json.dumps(self.specs[name]))

    @rule(name=st.sampled_from(NAMES[1:]))
    def withdraw(self, name: str) -> None:
        if name in self.specs and len(self.specs) > 1:
            del self.specs[name]
            self.known.pop(name, None)
            (self.root / "finetunes" / f"{name}.yaml").unlink()

    @rule(old=st.sampled_from(NAMES), new=st.sampled_from(NAMES))
    def rename(self, old: str, new: str) -> None:
        if old in self.specs and new not in self.specs:
            self.specs[new] = self.specs.pop(old)
            self.known[new] = self.known.pop(old, set())
            folder = self.root / "finetunes"
            (folder / f"{old}.yaml").rename(folder / f"{new}.yaml")

    @rule(name=st.sampled_from(NAMES))
    def break_a_spec(self, name: str) -> None:
        """The next `declare` of the same name corrects it."""
        if name in self.specs:
            text = json.dumps({**self.specs[name], "sed": 1})
            (self.root / "finetunes" / f"{name}.yaml").write_text(text)

    @rule(usd=st.sampled_from(PRICES))
    def change_the_price(self, usd: float) -> None:
        (self.here / "service").mkdir(exist_ok=True)
        (self.here / "service" / "price").write_text(str(usd))

    # --- runs

    def request(self, **faults) -> dict:
        return {
            "run": self.server.new_run(),
            "step": "begin",
            "root": str(self.root),
            "service": str(self.here / "service"),
            "script": self.script,
            "crash_at": {},
            "die_at": 0,
            "approves": True,
            "walk": self.walk,
            **faults,
        }

    def start(self, *requests: dict) -> None:
        """Show plans, and approve them."""
        for answer in self.server.step(*requests):
            for seen in answer.get("approved", ()):
                self.may_serve |= set(seen["builds"])
                self.may_cancel.add(seen["cancels"])
                if seen["trains"]:
                    key = tuple(seen["trains"])
                    self.may_train[key] = max(seen["usd"], self.may_train.get(key, 0.0))
                    self.approved_jobs += 1

    def whole_runs(self, *requests: dict) -> list[dict]:
        self.start(*requests)
        answers = self.server.step(*({**request, "step": "go on"} for request in requests))
        self.server.step(*({**request, "step": "end"} for request in requests))
        return answers

    @rule(times=st.integers(1, 3))
    def run(self, times: int) -> None:
        for _ in range(times):
            self.whole_runs(self.request())

    @rule()
    def a_run_that_nobody_approved(self) -> None:
        self.whole_runs(self.request(approves=False))

    @precondition(lambda self: len(self.live) < MOST_LIVE)
    @rule(passes=st.integers(0, 2), approves=st.sampled_from([True, True, False]))
    def a_run_begins_and_waits(self, passes: int, *, approves: bool = True) -> None:
        request = self.request(approves=approves)
        self.start(request)
        self.live.append(request)
        for _ in range(passes):
            self.server.step({**request, "step": "go on"})

    @precondition(lambda self: self.live)
    @rule(index=st.integers(0, MOST_LIVE - 1))
    def a_waiting_run_goes_on(self, index: int) -> None:
        request = self.live[index % len(self.live)]
        self.server.step({**request, "step": "go on"})

    @precondition(lambda self: len(self.live) > 1)
    @rule(rounds=st.integers(1, 4))
    def waiting_runs_take_turns(self, rounds: int) -> None:
        for _ in range(rounds):
            for request in self.live:
                self.server.step({**request, "step": "go on"})

    @precondition(lambda self: self.live)
    @rule()
    def the_oldest_waiting_run_ends(self) -> None:
        self.server.step({**self.live.pop(0), "step": "end"})

    @rule(call=st.sampled_from(CALLS), moment=st.sampled_from(["before", "after"]))
    def run_that_dies_at_a_call(self, call: str, moment: str) -> None:
        self.whole_runs(self.request(crash_at={call: moment}))

    @rule(number=st.integers(1, 60))
    def run_that_dies_at_a_change_of_a_file(self, number: int) -> None:
        self.whole_runs(self.request(die_at=number))

    @rule(number=st.integers(0, 60), call=st.sampled_from(CALLS))
    def two_runs_at_once(self, number: int, call: str) -> None:
        self.whole_runs(self.request(die_at=number), self.request(crash_at={call: "after"}))

    # --- what a machine may lose, and what jobs do

    @rule(cut=st.integers(1, 400))
    def tear_the_journal(self, cut: int) -> None:
        journal = self.root / ".ftctl" / "journal.jsonl"
        if journal.exists():
            text = journal.read_bytes()
            last = text.rstrip(b"\n").rfind(b"\n") + 1
            journal.write_bytes(text[: max(last, len(text) - cut)])

    @rule()
    def lose_the_lockfile(self) -> None:
        self.lock.unlink(missing_ok=True)
        self.known.clear()

    @rule()
    def wipe_the_state_folder(self) -> None:
        shutil.rmtree(self.root / ".ftctl", ignore_errors=True)

    @rule(state=st.sampled_from(["succeeded", "failed", "running", "interrupted"]))
    def a_job_goes_on(self, state: str) -> None:
        for job in self.backend.jobs:
            if job.state.is_open:
                self.backend.set_script(job.id, state, *SLOW[1:])
                return

    # --- what always holds

    def entries(self) -> dict[str, dict]:
        """Return what the lockfile itself says; what waits in the journal is not certain yet."""
        text = self.lock.read_bytes() if self.lock.exists() else b"{}"
        return json.loads(text).get("finetunes", {})

    def records(self) -> list[dict]:
        path = self.here / "service" / "scripted" / "jobs.json"
        return json.loads(path.read_bytes()) if path.exists() else []

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        jobs = self.backend.jobs
        self.trained |= {job.fingerprint for job in jobs if job.state is JobState.SUCCEEDED}
        keys = [(job.fingerprint, job.attempt) for job in jobs]
        assert len(set(keys)) == len(keys)
        living = [
            job.fingerprint for job in jobs if job.state.is_open or job.state is JobState.SUCCEEDED
        ]
        assert len(set(living)) == len(living)

    @invariant()
    def nothing_is_submitted_or_cancelled_that_nobody_approved(self) -> None:
        for record in self.records():
            key = record["fingerprint"], record["attempt"]
            assert key in self.may_train, f"{record['id']} was never approved"
            assert record["usd"] <= self.may_train[key], f"{record['id']} costs more"
            if record["script"][record["step"]] == JobState.CANCELLED:
                assert record["id"] in self.may_cancel, f"{record['id']} was cancelled unseen"

    @invariant()
    def there_are_no_more_jobs_than_approvals(self) -> None:
        assert len(self.records()) <= self.approved_jobs

    @invariant()
    def nothing_goes_into_production_that_nobody_approved(self) -> None:
        serving = {entry.get("production") for entry in self.entries().values()}
        assert serving - {None} <= self.may_serve

    @invariant()
    def no_build_is_forgotten_that_its_spec_still_names(self) -> None:
        entries = self.entries()
        recorded = {key for entry in entries.values() for key in entry.get("builds", ())}
        for name, builds in self.known.items():
            assert builds <= recorded, f"a build of {name} was forgotten"
        for name, entry in entries.items():
            if name in self.specs:
                self.known.setdefault(name, set()).update(entry.get("builds", ()))

    # --- the end: faults stop

    def settle(self) -> dict:
        for _ in range(16):
            (answer,) = self.whole_runs(self.request())
            assert "error" not in answer, answer
            if not answer["waiting"] and set(answer["actions"]) <= {"Blocked"}:
                break
        else:
            raise AssertionError(f"never comes to rest: {answer}")
        return answer

    def teardown(self) -> None:
        for request in self.live:
            self.server.step({**request, "step": "end"})
        self.live.clear()
        if self.walk == "present":
            self.come_to_rest()
        shutil.rmtree(self.here)

    def come_to_rest(self) -> None:
        self.script = QUICK
        for name in list(self.specs):  # whatever was broken is corrected
            self.declare(name, self.specs[name]["hyperparameters"]["learning_rate"], "")
        answer = self.settle()
        self.nothing_is_paid_twice()
        recorded = self.entries()
        assert recorded.keys() == self.specs.keys()
        for name, wanted in answer["wanted"].items():
            reached = recorded[name].get("production") == wanted
            assert reached or answer["blocked"][name], (name, recorded[name])
            assert reached or "failed" in answer["blocked"][name], answer
        self.resting_writes_nothing()
        self.going_back_is_free()

    def resting_writes_nothing(self) -> None:
        before = self.lock.read_bytes(), self.lock.stat().st_mtime_ns
        self.whole_runs(self.request())
        assert (self.lock.read_bytes(), self.lock.stat().st_mtime_ns) == before

    def going_back_is_free(self) -> None:
        """Declare everything that ever became a model once more."""
        name = next(iter(self.specs))
        for rate in RATES:
            self.declare(name, rate, "back")
            submitted = self.backend.submitted
            (answer,) = self.whole_runs(self.request())
            if answer["wanted"][name] in self.trained:
                self.settle()
                assert self.entries()[name]["production"] == answer["wanted"][name]
                assert self.backend.submitted == submitted


def machine(server: Server, folder: Path, walk: str = "present") -> type[CrashMachine]:
    """Return the machine for a server and a folder; `walk` names what its runs do."""
    return type("Bound", (CrashMachine,), {"server": server, "folder": folder, "walk": walk})
