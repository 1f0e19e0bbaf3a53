"""States of jobs, by the queue and by the accounting."""

import pytest

from backends.launchers.launcher import (
    LauncherError,
    PlacedState,
)
from tests.backends.launchers.slurm.slurm_names import NAME


@pytest.mark.parametrize(
    ("state", "reason", "known", "words"),
    [
        ("PENDING", "Resources", PlacedState.QUEUED, "PENDING (Resources)"),
        ("PENDING", "None", PlacedState.QUEUED, "PENDING"),
        (
            "PENDING",
            "JobHeldUser",
            PlacedState.QUEUED,
            "PENDING (JobHeldUser): held; `scontrol release 17` releases it",
        ),
        ("CONFIGURING", "None", PlacedState.QUEUED, "CONFIGURING"),
        ("REQUEUED", "BeginTime", PlacedState.QUEUED, "REQUEUED (BeginTime)"),
        ("RUNNING", "None", PlacedState.RUNNING, "RUNNING"),
        ("COMPLETING", "None", PlacedState.RUNNING, "COMPLETING"),
        ("SUSPENDED", "None", PlacedState.RUNNING, "SUSPENDED"),
        ("NEW_IN_2030", "None", PlacedState.RUNNING, "NEW_IN_2030"),
        ("COMPLETED", "None", PlacedState.ENDED, "COMPLETED"),
        ("FAILED", "NonZeroExitCode", PlacedState.ENDED, "FAILED (NonZeroExitCode)"),
        ("PREEMPTED", "None", PlacedState.ENDED, "PREEMPTED"),
        ("NODE_FAIL", "None", PlacedState.ENDED, "NODE_FAIL"),
        ("TIMEOUT", "TimeLimit", PlacedState.ENDED, "TIMEOUT (TimeLimit)"),
        ("OUT_OF_MEMORY", "OutOfMemory", PlacedState.ENDED, "OUT_OF_MEMORY (OutOfMemory)"),
        ("CANCELLED", "None", PlacedState.ENDED, "CANCELLED"),
    ],
)
def test_states_and_reasons(host, state, reason, known, words):
    host.lists(f"17|{state}|{reason}|{NAME}|ftctl abc 1")
    placed = host.launcher().find([NAME])[NAME]
    assert (placed.state, placed.words, placed.comment) == (known, words, "ftctl abc 1")


def test_a_forgotten_job_is_absent(host):
    host.lists()
    assert host.launcher().find([NAME]) == {}


def test_the_accounting_knows_how_a_forgotten_job_has_ended(host):
    host.lists()
    rows = ["FAILED|1:0|{}|ftctl abc 1", "OUT_OF_MEMORY|0:125|{}|ftctl abc 1", "RUNNING|0:0|other|"]
    host.has("sacct", "\n".join(row.format(NAME) for row in rows))
    (placed,) = host.launcher().find([NAME]).values()
    assert (placed.state, placed.words) == (PlacedState.ENDED, "OUT_OF_MEMORY, exit code 0:125")
    assert placed.comment == "ftctl abc 1"
    assert f"--name={NAME}" in host.given("sacct")


def test_what_the_accounting_calls_running_has_ended_if_it_is_not_queued(host):
    host.lists()
    host.has("sacct", f"RUNNING|0:0|{NAME}|")
    assert host.launcher().find([NAME])[NAME].state is PlacedState.ENDED


@pytest.mark.parametrize("first", ["", "exec sleep 60"])
def test_a_cluster_without_accounting_is_asked_for_it_once(host, first):
    host.lists()
    host.has("sacct", "", "Slurm accounting storage is disabled", 1, first=first)
    launcher = host.launcher(timeout_s=0.5)
    assert launcher.find([NAME]) == launcher.find([NAME]) == {}
    assert host.calls() == ["squeue", "sacct", "squeue"]


@pytest.mark.parametrize(
    "rows",
    [
        ("16|FAILED|None|{}|ftctl abc 1", "17|RUNNING|None|{}|ftctl abc 1"),
        ("17|RUNNING|None|{}|ftctl abc 1", "18|FAILED|None|{}|ftctl abc 1"),
        ("17|RUNNING|None|{}|ftctl abc 1", "18|PENDING|Dependency|{}|ftctl abc 1"),
        ("17|RUNNING|None|{}|ftctl abc 1", "18|RUNNING|None|{}|(null)"),
    ],
)
def test_of_two_jobs_of_one_name_the_open_one_of_ours_counts(host, rows):
    host.lists(*(row.format(NAME) for row in rows))
    placed = host.launcher().find([NAME])[NAME]
    assert (placed.words, placed.comment) == ("RUNNING", "ftctl abc 1")


@pytest.mark.parametrize(("comment", "told"), [("(null)", ""), ("a|b", "a|b"), ("x\ny", "x")])
def test_a_job_of_others_is_told_as_it_is(host, comment, told):
    host.lists(f"17|RUNNING|None|{NAME}|{comment}", f"18|RUNNING|None|other|{NAME}|ftctl abc 1")
    found = host.launcher().find([NAME])
    assert {name: placed.comment for name, placed in found.items()} == {NAME: told}


def test_all_names_are_looked_up_by_one_call(host):
    names = [f"ftctl-m{number}-0123456789ab" for number in range(1000)]
    rows = [f"{at}|RUNNING|None|{name}|ftctl abc 1" for at, name in enumerate(names, 1)]
    host.lists(*rows, "5000|RUNNING|None|ftctl-other-0123456789ab|ftctl abc 1")
    assert set(host.launcher().find(names)) == set(names)
    assert host.calls() == ["squeue"]
    assert max(len(one) for one in host.given("squeue")) < 100
    host.launcher().find(names[:2])
    assert f"--name={names[0]},{names[1]}" in host.given("squeue")


def test_without_names_nothing_is_asked(host):
    assert host.launcher().find([]) == {}


@pytest.mark.parametrize(
    "output", ["", "Welcome to the cluster!\n", "17|RUNNING|None|x|y\n", "\0\xff"]
)
def test_garbage_is_not_the_absence_of_a_job(host, output):
    host.has("squeue", output)
    with pytest.raises(LauncherError, match="cannot be read"):
        host.launcher().find([NAME])


def test_a_greeting_before_the_answer_is_skipped(host):
    host.has(
        "squeue",
        "Welcome!\nftctl|JOBID|STATE|REASON|NAME|COMMENT\n"
        f"ftctl|17|RUNNING|None|{NAME}|ftctl abc 1\n",
    )
    assert host.launcher().find([NAME])[NAME].state is PlacedState.RUNNING


def test_a_controller_that_is_down_is_not_the_absence_of_a_job(host):
    errors = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    host.has("squeue", "ftctl|JOBID|STATE|REASON|NAME|COMMENT\n", errors, 1)
    with pytest.raises(LauncherError, match="controller cannot be reached"):
        host.launcher().find([NAME])
