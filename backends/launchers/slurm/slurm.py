"""The launcher of Slurm.

Names are not unique there. Jobs are therefore submitted with `--dependency=singleton`, which lets
jobs of one name and user run one after the other, and ftctl's own are told by their comment. Ended
jobs are forgotten after minutes: an absent job says nothing about its training.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from backends.contract.inspector import Json
from backends.launchers.launcher import (
    Capacity,
    LauncherError,
    Placed,
    PlacedState,
    Placement,
    SubmissionLost,
    Unanswered,
)
from backends.launchers.slurm.answers import (
    ENDED_FORMAT,
    JOB_FORMAT,
    NODE_FORMAT,
    Job,
    capacity_in,
    ended_in,
    jobs_in,
)
from backends.launchers.slurm.batch_script import batch_script
from backends.launchers.slurm.code_folders import unpack
from backends.launchers.slurm.commands import Answer, Commands
from backends.launchers.slurm.refusals import INVALID_PARTITION, no_contact, refusal
from backends.launchers.slurm.settings import SIGNAL_S, SlurmSettings, parse

_MOST_NAMES: Final = 100
"""Names in one command line; of more, all jobs are listed."""
_REMEMBERED_DAYS: Final = 7
_MIB: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 16
_ENDING_S: Final = 120.0
"""Seconds for `KillWait` of the cluster (30 by default), and for its nodes to report the end."""
_GONE: Final = re.compile(r"(?i)invalid job id|already complet")
"""Errors of scancel about a job that ended in the meantime."""


class Slurm:
    """Places jobs by `sbatch`."""

    def __init__(self, settings: SlurmSettings, commands: Commands) -> None:
        self._settings = settings
        self._commands = commands
        self._has_accounting = True

    def find(self, names: Collection[str]) -> Mapping[str, Placed]:
        """Return the jobs of these names that the scheduler knows, by one call for all of them."""
        ascending = sorted(self._jobs(names), key=lambda job: job.weight) if names else []
        found = {job.name: job.placed for job in ascending}
        forgotten = sorted(set(names) - found.keys())
        return {**self._ended(forgotten), **found} if forgotten else found

    def submit(self, placement: Placement) -> None:
        """Place a job whose name is not in use by an open one."""
        if placement.image is not None:
            raise LauncherError(
                "the launcher of Slurm starts no container images",
                "Write `runtime: {venv: FOLDER}`; `options` may name an image, where the cluster has a "
                "plug-in for them.",
            )
        folder = self._settings.log_folder
        made = self._commands.run(["mkdir", "-p", "--", folder])
        if made.status != 0:
            raise LauncherError(
                f"the folder of the jobs' output cannot be made: {made.words}",
                "Correct `logs` or `runs`, or the rights of the folder.",
            )
        code = unpack(self._commands, placement.code, folder) if placement.code else None
        script = batch_script(placement, self._settings.prologue, code)
        try:
            answer = self._commands.run(self._sbatch(placement, code or folder), script)
        except Unanswered as error:
            raise SubmissionLost(error.message, error.remedy) from error
        if answer.status == 0 and _has_number(answer.output):
            return
        refused = refusal(answer, self._commands.place)
        if not isinstance(refused, SubmissionLost) and INVALID_PARTITION.search(answer.errors):
            refused.remedy = self._partitions() or refused.remedy
        raise refused

    def stop(self, name: str, *, at_once: bool) -> None:
        """End a job, if it is open."""
        jobs = [job for job in self._jobs([name]) if job.is_open and job.is_ours]
        running = [job for job in jobs if job.placed.state is PlacedState.RUNNING]
        # A waiting job has nothing to save, and takes no signal.
        killed = jobs if at_once else [job for job in jobs if job not in running]
        self._scancel([], killed)
        if not at_once and running:
            for job in running:
                # It shall not go back into the queue, should it be preempted now. Where that is
                # refused, it may.
                self._commands.run(["scontrol", "update", f"JobId={job.id}", "Requeue=0"])
            self._scancel(["--signal=TERM", "--batch"], running)

    def ending_s(self) -> float:
        """Return the seconds until Slurm has killed a job, and its nodes report the end."""
        return _ENDING_S

    def logs(self, name: str, lines: int) -> list[str]:
        """Return the last lines of the job's own output; empty if there is none."""
        path = f"{self._settings.log_folder}/{name}.log"
        answer = self._commands.run(["tail", "-c", str(_TAIL_BYTES), "--", path])
        if answer.status == 0:
            return answer.output.splitlines()[-lines:] if lines > 0 else []
        if "No such file" in answer.errors:
            return []
        raise LauncherError(f"the job's output cannot be read: {answer.words}")

    def capacity(self) -> Capacity:
        """Return what the scheduler could give if it were idle."""
        partition = self._settings.partition
        of_partition = [f"--partition={partition}"] if partition else []
        answer = self._ask(["sinfo", "--Node", f"--format={NODE_FORMAT}", *of_partition])
        capacity = capacity_in(answer.output, partition, self._settings.gpu_type)
        if partition and not capacity.nodes:
            raise LauncherError(f"Slurm has no nodes in partition {partition}", self._partitions())
        return capacity

    def _jobs(self, names: Collection[str]) -> list[Job]:
        """Return all jobs of some names that the controller has not forgotten."""
        command = ["squeue", "--states=all", f"--format={JOB_FORMAT}"]
        if len(names) <= _MOST_NAMES:
            command.append(f"--name={','.join(sorted(names))}")
        return jobs_in(self._ask(command).output, frozenset(names))

    def _ended(self, names: Sequence[str]) -> Mapping[str, Placed]:
        """Return how jobs have ended that the controller has forgotten, if the accounting knows."""
        if not self._has_accounting or len(names) > _MOST_NAMES:
            return {}
        command = [
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--name={','.join(names)}",
        ]
        command += [f"--starttime=now-{_REMEMBERED_DAYS}days", f"--format={ENDED_FORMAT}"]
        try:
            answer = self._commands.run(command)
        except LauncherError:
            answer = None
        # Many clusters keep no accounts; those that do not answer shall not be waited for again.
        self._has_accounting = answer is not None and answer.status == 0
        return ended_in(answer.output, names) if answer and self._has_accounting else {}

    def _sbatch(self, placement: Placement, folder: str) -> list[str]:
        settings = self._settings
        # In the name of a file, sbatch replaces what follows a `%`.
        log = f"{settings.log_folder}/{placement.name}.log".replace("%", "%%")
        kind = f"{settings.gpu_type}:" if settings.gpu_type else ""
        wanted = {
            "gpus-per-node": f"{kind}{placement.gpus}" if placement.gpus else None,
            "mem": f"{-(-placement.memory_bytes // _MIB)}M" if placement.memory_bytes else None,
            "partition": settings.partition,
            "account": settings.account,
            "qos": settings.qos,
            "time": settings.time,
        }
        return [
            *("sbatch", "--parsable", f"--job-name={placement.name}"),
            *(f"--comment={placement.comment}", "--dependency=singleton", "--requeue"),
            *(f"--signal=B:TERM@{SIGNAL_S}", "--open-mode=append", f"--output={log}"),
            *(f"--chdir={folder}", f"--nodes={placement.nodes}"),
            "--ntasks-per-node=1",
            *(f"--{option}={value}" for option, value in wanted.items() if value),
            *settings.options,
        ]

    def _scancel(self, options: list[str], jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        answer = self._commands.run(["scancel", *options, *(str(job.id) for job in jobs)])
        lines = [line for line in answer.errors.splitlines() if not _GONE.search(line)]
        if answer.status != 0 and lines:
            place = self._commands.place
            raise no_contact(answer.words, place) or LauncherError(
                f"the job cannot be ended: {answer.words}"
            )

    def _ask(self, command: list[str]) -> Answer:
        answer = self._commands.run(command)
        if answer.status != 0:
            raise no_contact(answer.words, self._commands.place) or LauncherError(
                f"`{command[0]}` on {self._commands.place} failed: {answer.words}"
            )
        return answer

    def _partitions(self) -> str:
        """Return a remedy that names the partitions; empty if Slurm does not list them."""
        try:
            answer = self._commands.run(["sinfo", "--noheader", "--format=%R"])
        except LauncherError:
            return ""
        names = sorted({line.strip() for line in answer.output.splitlines() if line.strip()})
        return f"Use one of: {', '.join(names)}." if names and answer.status == 0 else ""


def create(settings: Mapping[str, Json], environment: Mapping[str, str]) -> Slurm:
    """Return the launcher of a machine. Nothing is asked of its scheduler.

    Args:
        settings: The machine's settings that are the launcher's own, and `runs` if it is a folder.
        environment: Variables of this process.

    Raises:
        InvalidInput: With every problem of the settings; `field` is a key.
    """
    parsed = parse(settings)
    return Slurm(parsed, Commands(environment, parsed.ssh))


def _has_number(output: str) -> bool:
    """Return whether sbatch told the number of a job: `17`, or `17;cluster`."""
    return any(re.fullmatch(r"\d+(;.*)?", line.strip()) for line in output.splitlines())
