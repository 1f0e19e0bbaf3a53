"""Answers of squeue and sinfo, read as jobs and nodes. Pure."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from backends.excerpt import excerpt
from backends.launchers.launcher import (
    COMMENT_PREFIX,
    Capacity,
    LauncherError,
    Placed,
    PlacedState,
)

JOB_FORMAT: Final = "ftctl|%A|%T|%r|%j|%k"
"""ID, state, reason, name and comment. The comment comes last, as it may hold anything."""
NODE_FORMAT: Final = "ftctl|%N|%P|%G"
"""Name, partition and generic resources."""
ENDED_FORMAT: Final = "State,ExitCode,JobName,Comment"
"""Columns that sacct prints for a job."""
_HEADINGS: Final = {
    JOB_FORMAT: "ftctl|JOBID|STATE|REASON|NAME|COMMENT",
    NODE_FORMAT: "ftctl|NODELIST|PARTITION|GRES",
}
_QUEUED: Final = frozenset(
    (
        *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"),
        "SPECIAL_EXIT",
    )
)
_ENDED: Final = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
    )
)
_WAITS_FOR_EVER: Final = {
    "AccountNotAllowed": "its account may not use the partition",
    "AssocGrpGRES": "the account's GPUs are in use",
    "BadConstraints": "no node has what it asks for",
    "DependencyNeverSatisfied": "what it waits for never comes",
    "InvalidAccount": "the account is not valid any more",
    "InvalidQOS": "the quality of service is not valid any more",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held; `scontrol release {id}` releases it",
    "PartitionConfig": "the partition does not have so many nodes",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "the partition does not allow so many nodes",
    "PartitionTimeLimit": "`time` is longer than the partition allows",
    "QOSNotAllowed": "the partition does not allow the quality of service",
    "ReservationDeleted": "its reservation was deleted",
    "launch failed requeued held": "it failed to start; `scontrol release {id}` tries again",
    "job requeued in held state": "held; `scontrol release {id}` releases it",
}
"""Reasons of Slurm that time alone may not remove, in plain words."""
_GPU: Final = re.compile(r"(?:^|,)gpu(?::(?P<type>[^:,()]+)(?=:))?(?::(?P<count>\d+))?(?=[(,]|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that Slurm lists."""

    id: int
    name: str
    placed: Placed

    @property
    def is_ours(self) -> bool:
        """True if ftctl submitted it."""
        return self.placed.comment.startswith(COMMENT_PREFIX)

    @property
    def is_open(self) -> bool:
        """True if it waits or runs."""
        return self.placed.state is not PlacedState.ENDED

    @property
    def weight(self) -> tuple[bool, bool, bool, int]:
        """Of several jobs of one name, the one with the largest weight counts."""
        runs = self.placed.state is PlacedState.RUNNING
        return self.is_open, self.is_ours, runs, self.id


def jobs_in(output: str, names: Collection[str]) -> list[Job]:
    """Return the jobs of some names.

    Args:
        output: Of squeue, in `JOB_FORMAT`.
        names: Names of jobs.

    Raises:
        LauncherError: It is not an answer of squeue. That a job is absent would then mean nothing.
    """
    jobs = []
    for row in _rows(output, JOB_FORMAT):
        match row.split("|", maxsplit=4):
            # The name of a job that is not ours may break its own line, and no other.
            case [number, state, reason, name, comment] if name in names and number.isdecimal():
                placed = _placed(int(number), state, reason, comment)
                jobs.append(Job(id=int(number), name=name, placed=placed))
    return jobs


def ended_in(output: str, names: Collection[str]) -> dict[str, Placed]:
    """Return the last ends of jobs; of each name, the last line counts.

    The accounting calls jobs running that were lost. A job that the controller does not list has
    ended, whatever it is called.

    Args:
        output: Of sacct, in `ENDED_FORMAT`. Clusters may keep no comments.
        names: Names of jobs.
    """
    found = {}
    for line in output.splitlines():
        match line.split("|", maxsplit=3):
            case [state, code, name, comment] if name in names:
                words = f"{state}, exit code {code}"
                found[name] = Placed(state=PlacedState.ENDED, words=words, comment=comment)
    return found


def capacity_in(output: str, partition: str | None, gpu_type: str | None) -> Capacity:
    """Return how many nodes and GPUs a partition has, in use or not.

    Args:
        output: Of sinfo, in `NODE_FORMAT`.
        partition: Names of partitions, separated by commas; None for Slurm's default.
        gpu_type: Type of the GPUs that count; None for all.

    Raises:
        LauncherError: It is not an answer of sinfo.
    """
    rows = [row.partition("|") for row in _rows(output, NODE_FORMAT)]
    nodes = [(name, *rest.partition("|")[::2]) for name, _, rest in rows]
    default = [row for row in nodes if row[1].endswith("*")]
    counted = default if partition is None and default else nodes
    resources = {name: gres for name, _, gres in counted}
    return Capacity(
        nodes=len(resources), gpus=sum(_gpus(gres, gpu_type) for gres in resources.values())
    )


def _rows(output: str, form: str) -> Iterable[str]:
    """Yield what follows the heading, without the mark that begins each line."""
    lines, heading = iter(output.splitlines()), _HEADINGS[form]
    for line in lines:
        if line.strip() == heading:
            break
    else:
        raise LauncherError(
            f"Slurm's answer cannot be read: {excerpt(output.strip())}",
            "Type `squeue` and `sinfo` there, and fix what they report.",
        )
    mark = heading.partition("|")[0] + "|"
    for line in lines:
        if line.startswith(mark):
            yield line.removeprefix(mark)


def _placed(number: int, state: str, reason: str, comment: str) -> Placed:
    """Return a job in the contract's words. A state that is not known is open: it may run."""
    known = PlacedState.RUNNING
    known = PlacedState.QUEUED if state in _QUEUED else known
    known = PlacedState.ENDED if state in _ENDED else known
    words = state if reason in {"", "None", "(null)"} else f"{state} ({reason})"
    if known is PlacedState.QUEUED and reason in _WAITS_FOR_EVER:
        words += f": {_WAITS_FOR_EVER[reason].format(id=number)}"
    return Placed(state=known, words=words, comment="" if comment == "(null)" else comment)


def _gpus(resources: str, gpu_type: str | None) -> int:
    """Return the number of GPUs in generic resources, such as `gpu:h100:8(S:0-1),nvme:1`."""
    return sum(
        int(found["count"] or 1)
        for found in _GPU.finditer(resources)
        if gpu_type is None or found["type"] == gpu_type
    )
