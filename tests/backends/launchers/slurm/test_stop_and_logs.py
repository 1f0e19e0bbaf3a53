"""Stopping jobs, their logs, and the capacity of a partition."""

import pytest

from backends.launchers.launcher import (
    Capacity,
    LauncherError,
)
from tests.backends.launchers.slurm.slurm_names import NAME

NODES = "ftctl|NODELIST|PARTITION|GRES"


def test_stop_lets_what_runs_save_and_removes_what_waits(host):
    host.lists(
        f"17|RUNNING|None|{NAME}|ftctl abc 1",
        f"18|PENDING|Dependency|{NAME}|ftctl abc 1",
        f"19|FAILED|None|{NAME}|ftctl abc 1",
        f"20|RUNNING|None|{NAME}|of somebody else",
    )
    for command in ("scancel", "scontrol"):
        host.install(command, f'echo {command} "$@" >>{host.noted}/typed')
    host.launcher().stop(NAME, at_once=False)
    assert (host.noted / "typed").read_text().splitlines() == [
        "scancel 18",
        "scontrol update JobId=17 Requeue=0",
        "scancel --signal=TERM --batch 17",
    ]


def test_stop_at_once_ends_all_that_are_open(host):
    host.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1", f"18|PENDING|Dependency|{NAME}|ftctl abc 1")
    host.has("scancel")
    host.launcher().stop(NAME, at_once=True)
    assert host.given("scancel") == ["17", "18"]


def test_stop_of_an_ended_job_does_nothing(host):
    host.lists(f"17|COMPLETED|None|{NAME}|ftctl abc 1")
    host.has("scancel")
    host.launcher().stop(NAME, at_once=True)
    assert host.calls() == ["squeue"]


def test_a_job_that_ends_meanwhile_is_stopped_all_the_same(host):
    host.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1")
    host.has("scontrol", "", "slurm_update error: Job has already finished", 1)
    host.has(
        "scancel", "", "scancel: error: Kill job error on job id 17: Invalid job id specified", 1
    )
    host.launcher().stop(NAME, at_once=False)


def test_a_job_that_may_not_be_stopped_is_an_error(host):
    host.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1")
    host.has("scontrol", "", "slurm_update error: Access denied", 1)
    host.has("scancel", "", "scancel: error: Kill job error on job id 17: Access denied", 1)
    with pytest.raises(LauncherError, match="Access denied"):
        host.launcher().stop(NAME, at_once=False)


def test_logs_are_the_last_lines_of_the_jobs_output(host):
    folder = host.runs / "logs"
    folder.mkdir()
    (folder / f"{NAME}.log").write_text("".join(f"Zeile {number} ü\n" for number in range(99)))
    assert host.launcher().logs(NAME, 2) == ["Zeile 97 ü", "Zeile 98 ü"]
    assert host.launcher().logs("ftctl-other-0123456789ab", 2) == []


def test_logs_that_may_not_be_read_are_an_error(host):
    host.install("tail", "echo 'tail: cannot open: Permission denied' >&2; exit 1")
    with pytest.raises(LauncherError, match="Permission denied"):
        host.launcher().logs(NAME, 2)


@pytest.mark.parametrize(
    ("settings", "rows", "nodes", "gpus"),
    [
        ({}, ["n1|cpu*|(null)", "g1|gpu|gpu:8"], 1, 0),
        ({}, ["n1|cpu|gpu:2", "n1|gpu|gpu:2", "g1|gpu|gpu:8"], 2, 10),
        (
            {"partition": "gpu"},
            ["g1|gpu|gpu:h100:8(S:0-1),nvme:1", "g2|gpu|nvme:1,gpu:a100:4"],
            2,
            12,
        ),
        (
            {"gpu_type": "a100"},
            ["g1|gpu*|gpu:h100:8(S:0-1)", "g2|gpu*|gpu:a100:4,gpu:1g.5gb:7"],
            2,
            4,
        ),
        ({}, ["g1|gpu*|gpu"], 1, 1),
        ({}, ["g1|gpu*|nvgpu:4,gpus:3"], 1, 0),
    ],
)
def test_capacity(host, settings, rows, nodes, gpus):
    host.has("sinfo", "\n".join([NODES, *(f"ftctl|{row}" for row in rows), ""]))
    assert host.launcher(**settings).capacity() == Capacity(nodes=nodes, gpus=gpus)
    assert [one for one in host.given("sinfo") if one.startswith("--part")] == [
        f"--partition={value}" for key, value in settings.items() if key == "partition"
    ]


def test_a_partition_without_nodes_is_an_error(host):
    host.has("sinfo", f"{NODES}\n")
    with pytest.raises(LauncherError, match="no nodes in partition gpus"):
        host.launcher(partition="gpus").capacity()
