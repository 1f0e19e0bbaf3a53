"""Whatever a person edits and whenever a run dies: nothing is paid twice, and the specs are reached.

Rules edit specs, let jobs go on or fail, wipe what a machine may lose, and start runs, alone or two
at once, that die at any call of the backend or at any change of a file (`crash_server.py`). Then
the faults stop, and a few more runs must come to what is declared, or say why not.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from backends.base import JobState
from backends.testing import ScriptedBackend

NAMES = ("a", "b")
RATES = (1e-4, 2e-4, 3e-4)
CALLS = ("submit", "find", "observe", "complete", "cancel")
EXAMPLES = int(os.environ.get("FTCTL_CRASH_EXAMPLES", "35"))
SLOW = ("queued", "running", "running", "running", "succeeded")


class Server:
    """The process that forks runs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("crash_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def run(self, *requests: dict) -> list[dict]:
        """Run the walk in as many processes at once."""
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        defects = [answer["defect"] for answer in answers if "defect" in answer]
        assert not defects, defects
        return answers

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def folder(tmp_path: Path):
    """Return a folder in memory, where there is one: thousands of fsyncs cost nothing there."""
    memory = Path("/dev/shm")
    where = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    yield where
    shutil.rmtree(where)


def machine(server: Server, folder: Path) -> type[RuleBasedStateMachine]:  # noqa: C901 - rules
    numbers = iter(range(1_000_000))

    class CrashMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.here = folder / str(next(numbers))
            self.root = self.here / "repository"
            self.lock = self.root / "finetunes" / "ftctl.lock"
            self.backend = ScriptedBackend(self.here / "service")
            self.specs: dict[str, dict] = {}
            self.trained: set[str] = set()
            (self.root / "finetunes").mkdir(parents=True)
            rows = "".join(f"q{n}?,a{n}.\n" for n in range(14))
            (self.root / "finetunes" / "faq.csv").write_text("question,answer\n" + rows)

        @initialize()
        def begin(self) -> None:
            self.declare("a", RATES[0], "")

        def request(self, **faults) -> dict:
            return {
                "root": str(self.root),
                "service": str(self.here / "service"),
                "script": SLOW,
                "crash_at": {},
                "die_at": 0,
                **faults,
            }

        @rule(
            name=st.sampled_from(NAMES), rate=st.sampled_from(RATES), words=st.sampled_from("xy가")
        )
        def declare(self, name: str, rate: float, words: str) -> None:
            columns = {"user": "question", "assistant": "answer"}
            self.specs[name] = {
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
            path = self.root / "finetunes" / f"{name}.yaml"
            path.write_text(json.dumps(self.specs[name]))

        @rule()
        def withdraw(self) -> None:
            if "b" in self.specs:
                del self.specs["b"]
                (self.root / "finetunes" / "b.yaml").unlink()

        @rule(times=st.integers(1, 3))
        def run(self, times: int) -> None:
            for _ in range(times):
                server.run(self.request())

        @rule(call=st.sampled_from(CALLS), moment=st.sampled_from(["before", "after"]))
        def run_that_dies_at_a_call(self, call: str, moment: str) -> None:
            server.run(self.request(crash_at={call: moment}))

        @rule(number=st.integers(1, 60))
        def run_that_dies_at_a_change_of_a_file(self, number: int) -> None:
            server.run(self.request(die_at=number))

        @rule(number=st.integers(0, 60), call=st.sampled_from(CALLS))
        def two_runs_at_once(self, number: int, call: str) -> None:
            server.run(self.request(die_at=number), self.request(crash_at={call: "after"}))

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

        @rule()
        def wipe_the_state_folder(self) -> None:
            shutil.rmtree(self.root / ".ftctl", ignore_errors=True)

        @rule(state=st.sampled_from(["succeeded", "failed", "running", "interrupted"]))
        def a_job_goes_on(self, state: str) -> None:
            for job in self.backend.jobs:
                if job.state.is_open:
                    self.backend.set_script(job.id, state, *SLOW[1:])
                    return

        @invariant()
        def nothing_is_paid_twice(self) -> None:
            jobs = self.backend.jobs
            self.trained |= {job.fingerprint for job in jobs if job.state is JobState.SUCCEEDED}
            keys = [(job.fingerprint, job.attempt) for job in jobs]
            assert len(set(keys)) == len(keys)
            living = [
                job.fingerprint
                for job in jobs
                if job.state.is_open or job.state is JobState.SUCCEEDED
            ]
            assert len(set(living)) == len(living)

        def settle(self) -> dict:
            for _ in range(16):
                (answer,) = server.run(self.request())
                assert "error" not in answer, answer
                if not answer["waiting"] and not answer["actions"]:
                    break
                if not answer["waiting"] and set(answer["actions"]) == {"Blocked"}:
                    break
            else:
                raise AssertionError(f"never comes to rest: {answer}")
            return answer

        def teardown(self) -> None:
            answer = self.settle()
            self.nothing_is_paid_twice()
            recorded = json.loads(self.lock.read_bytes())["finetunes"]
            assert recorded.keys() == self.specs.keys()
            for name, wanted in answer["wanted"].items():
                reached = recorded[name].get("production") == wanted
                assert reached or answer["blocked"][name], (name, recorded[name])
                assert reached or "failed" in answer["blocked"][name], answer
            self.resting_writes_nothing()
            self.going_back_is_free()
            shutil.rmtree(self.here)

        def resting_writes_nothing(self) -> None:
            before = self.lock.read_bytes(), self.lock.stat().st_mtime_ns
            server.run(self.request())
            assert (self.lock.read_bytes(), self.lock.stat().st_mtime_ns) == before

        def going_back_is_free(self) -> None:
            """Declare everything that ever became a model once more."""
            for rate in RATES:
                self.declare("a", rate, "back")
                submitted = self.backend.submitted
                (answer,) = server.run(self.request())
                if answer["wanted"]["a"] in self.trained:
                    self.settle()
                    recorded = json.loads(self.lock.read_bytes())["finetunes"]
                    assert recorded["a"]["production"] == answer["wanted"]["a"]
                    assert self.backend.submitted == submitted

    return CrashMachine


def test_whatever_happens_nothing_is_paid_twice_and_the_specs_are_reached(
    server: Server, folder: Path
):
    run_state_machine_as_test(
        machine(server, folder),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            derandomize=EXAMPLES == 35,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_a_run_may_die_at_every_single_change_of_a_file(server: Server, folder: Path, names):
    """From an empty repository, over and over, one change of a file further each time."""
    kind = machine(server, folder)
    deaths = 0
    for number in range(1, 400, 1 if names == ("a",) else 7):
        one = kind()
        for name, rate in zip(names, RATES, strict=False):
            one.declare(name, rate, "")
        (answer,) = server.run(one.request(die_at=number, script=["succeeded"]))
        settled = one.settle()
        assert one.backend.submitted == len(names)
        recorded = json.loads(one.lock.read_bytes())["finetunes"]
        reached = {name: entry["production"] for name, entry in recorded.items()}
        assert reached == settled["wanted"]
        if not answer.get("died"):
            break
        deaths += 1
    assert deaths > 20 // len(names)
    assert not answer.get("died")
