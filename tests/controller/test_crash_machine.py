"""Whatever people do and whenever a run dies: nothing is paid twice, nothing unapproved is done.

The machine and its rules are in `crash_machine.py`, the runs that die in `crash_server.py`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    run_state_machine_as_test,
)

from tests.children import child
from tests.controller.crash_machine import QUICK, RATES, Server, machine

EXAMPLES = int(os.environ.get("FTCTL_CRASH_EXAMPLES", "35"))
FEW = min(EXAMPLES, 15)
"""Examples of the fast set, which also lets runs die at each seventh change of a file only."""
ALL = pytest.mark.slow
STEPS = int(os.environ.get("FTCTL_CRASH_STEPS", "12"))
# More examples may take longer.
pytestmark = pytest.mark.timeout(600 * max(1, EXAMPLES // 35) * max(1, STEPS // 12))


@pytest.fixture(scope="module")
def server():
    program = [sys.executable, str(Path(__file__).with_name("crash_server.py"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(program, text=True, cwd=Path(__file__).parents[2], **pipes) as process:
        yield Server(process)


@pytest.fixture
def folder(tmp_path: Path):
    """Return a folder in memory, where there is one: thousands of fsyncs cost nothing there."""
    memory = Path("/dev/shm")
    where = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else tmp_path))
    yield where
    shutil.rmtree(where)


def explore(kind: type[RuleBasedStateMachine], **more) -> None:
    how = {
        "max_examples": EXAMPLES,
        "stateful_step_count": STEPS,
        "deadline": None,
        "derandomize": EXAMPLES == 35,
        "suppress_health_check": list(HealthCheck),
        **more,
    }
    run_state_machine_as_test(kind, settings=settings(**how))


@pytest.mark.parametrize("examples", [FEW, pytest.param(EXAMPLES, marks=ALL)])
def test_whatever_happens_nothing_is_paid_twice_and_the_specs_are_reached(
    server: Server, folder: Path, examples: int
):
    explore(machine(server, folder), max_examples=examples)


@pytest.mark.parametrize("names", [pytest.param(("a",), marks=ALL), ("a", "b")])
def test_a_run_may_die_at_every_single_change_of_a_file(server: Server, folder: Path, names):
    """From an empty repository, over and over, one change of a file further each time."""
    kind = machine(server, folder)
    kind.script = QUICK
    deaths = 0
    for number in range(1, 400, 1 if names == ("a",) else 7):
        one = kind()
        for name, rate in zip(names, RATES, strict=False):
            one.declare(name, rate, "")
        (answer,) = one.whole_runs(one.request(die_at=number))
        settled = one.settle()
        assert one.backend.submitted == len(names)
        reached = {name: entry["production"] for name, entry in one.entries().items()}
        assert reached == settled["wanted"]
        if not answer.get("died"):
            break
        deaths += 1
    assert deaths > 20 // len(names)
    assert not answer.get("died")


# --- the machine sees what went wrong before --------------------------------------------------


EDIT_WHILE_WAITING = (
    ("declare", "a", RATES[0], ""),
    ("a_run_begins_and_waits", 1),
    ("declare", "a", RATES[1], ""),
    ("a_run_begins_and_waits", 0),
    ("waiting_runs_take_turns", 3),
)
ADD_WHILE_WAITING = (
    ("declare", "a", RATES[0], ""),
    ("a_run_begins_and_waits", 1),
    ("declare", "b", RATES[1], ""),
    ("run", 1),
    ("a_job_goes_on", "succeeded"),
    ("run", 3),
    ("a_waiting_run_goes_on", 0),
)
APPROVE_ANOTHER = (
    ("declare", "a", RATES[0], ""),
    ("run", 3),
    ("a_job_goes_on", "succeeded"),
    ("run", 3),
    ("declare", "b", RATES[1], ""),
    ("a_run_begins_and_waits", 0),
    ("declare", "a", RATES[2], ""),
    ("run", 1),
    ("a_waiting_run_goes_on", 0),
)
BEFORE = {
    "R1: two runs fight": (EDIT_WHILE_WAITING, "was never approved|was cancelled unseen"),
    "R2: what was added is forgotten": (ADD_WHILE_WAITING, "was cancelled unseen|was forgotten"),
    "R3: an approval cancels another job": (APPROVE_ANOTHER, "was cancelled unseen"),
}


def play(one: RuleBasedStateMachine, steps) -> None:
    for name, *arguments in steps:
        getattr(one, name)(*arguments)
        one.nothing_is_paid_twice()
        one.nothing_is_submitted_or_cancelled_that_nobody_approved()
        one.there_are_no_more_jobs_than_approvals()
        one.nothing_goes_into_production_that_nobody_approved()
        one.no_build_is_forgotten_that_its_spec_still_names()


@pytest.mark.parametrize("name", BEFORE)
def test_what_people_do_breaks_the_walk_before_and_not_this_one(
    server: Server, folder: Path, name: str
):
    steps, finding = BEFORE[name]
    one = machine(server, folder)()
    play(one, steps)
    one.teardown()
    before = machine(server, folder, "stale")()
    with pytest.raises(AssertionError, match=finding):
        play(before, steps)
    before.teardown()


@pytest.mark.slow
@pytest.mark.skipif(EXAMPLES == 35, reason="a search of minutes: set FTCTL_CRASH_EXAMPLES")
def test_the_machine_finds_by_itself_what_was_wrong_with_the_walk_before(
    server: Server, folder: Path
):
    with pytest.raises((AssertionError, ExceptionGroup)):
        explore(
            machine(server, folder, "stale"),
            max_examples=300,
            stateful_step_count=20,
            derandomize=True,
            phases=[Phase.generate],
            database=None,
        )
