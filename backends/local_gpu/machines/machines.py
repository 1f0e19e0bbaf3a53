"""The machines that jobs may be placed on, and this one; ftctl contacts each only when it needs it."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from backends.contract.errors import BackendError
from backends.contract.jobs import Hardware, Machine, MachineCheck, PlacedCommand
from backends.launchers.table import MANUAL, open_launcher
from backends.local_gpu.jobs.run_dir import NAME, RunDir, hardware_of
from backends.local_gpu.jobs.workers.local_process import LocalProcess
from backends.local_gpu.jobs.workers.workers import Workers
from backends.local_gpu.machines.check.from_here import check_machine
from backends.local_gpu.machines.placed_workers import PlacedWorkers
from backends.stores.objects import SharedStore
from backends.stores.open_store import open_store

_JOB: Final = "run-"
"""Beginning of the ID of a job; the rest is the name of its run."""


class Machines:
    """Workers of runs, wherever these are."""

    def __init__(self, state: Path, declared: Mapping[str, Machine]) -> None:
        """Learn the machines.

        Args:
            state: Folder below which this machine keeps its runs.
            declared: The machines of `ftctl.yaml`, by their names.
        """
        self._state, self._declared = state, dict(declared)
        self._here = LocalProcess()
        self._opened: dict[str, PlacedWorkers] = {}

    def privacy(self) -> dict[str, bool]:
        """Return for each machine whether private data may reach it."""
        return {name: one.is_private for name, one in self._declared.items()}

    def hardware(self, run: RunDir, wanted: Hardware) -> Hardware:
        """Return the hardware of a run that is started. A run stays on the machine that it was on.

        Its checkpoints are there, and perhaps a worker that nobody sees.

        Args:
            run: The run, which may not exist yet.
            wanted: Hardware that its request asks for now.
        """
        had = hardware_of(run) if run.request.exists() else wanted
        return wanted if had.machine == wanted.machine else had

    def workers_of(self, run: RunDir) -> Workers:
        """Return what starts and follows the worker of a run.

        Raises:
            BackendError: Its machine is not declared any more, or a package for it is missing.
        """
        return self.workers(hardware_of(run))

    def workers(self, hardware: Hardware) -> Workers:
        """Return what starts and follows workers on some hardware.

        Raises:
            BackendError: Its machine is not declared any more, or a package for it is missing.
        """
        return self._here if hardware.machine is None else self._on(hardware.machine)

    def look_up(self, fingerprints: Sequence[str] | None) -> None:
        """Bring the folders of runs here that other machines have placed, and ask about all.

        Args:
            fingerprints: Of the runs; None for all runs.

        Raises:
            BackendError: A store or a scheduler cannot be asked.
        """
        for machine in self._declared:
            placed = self._on(machine)
            placed.follow(
                placed.all_runs() if fingerprints is None else placed.runs_of(fingerprints)
            )

    def follow(self, runs: Sequence[RunDir]) -> None:
        """Ask the scheduler of each machine once about all open runs there."""
        by_machine: dict[str, list[RunDir]] = {}
        for run in runs:
            machine = hardware_of(run).machine
            if machine in self._declared and not run.result.exists():
                by_machine.setdefault(machine, []).append(run)
        for machine, there in by_machine.items():
            self._on(machine).follow(there)

    def check(self, name: str, timeout_s: float) -> Iterator[MachineCheck]:
        """Look at a machine from here and from inside; yield what is found.

        Args:
            name: One of the declared machines.
            timeout_s: Seconds after which its job is given up.

        Raises:
            BackendError: The machine is not declared, or a package for it is missing.
        """
        placed = self._on(name)
        return check_machine(placed.machine, placed.store, placed.launcher, self._state, timeout_s)

    def command(self, run: RunDir) -> PlacedCommand:
        """Return the command of a run that somebody else starts.

        Raises:
            BackendError: It is on this machine, or a scheduler starts it.
        """
        machine = self._declared.get(hardware_of(run).machine or "")
        if machine is None or machine.launcher != MANUAL:
            where = "this machine" if machine is None else f"{machine.name}, by {machine.launcher}"
            raise BackendError(
                f"its job is placed on {where}",
                "Name a machine with `launcher: manual` in the spec: `ftctl help machines`.",
            )
        made, kind = self._on(machine.name).placement(run), machine.settings.get("accelerator")
        return PlacedCommand(
            name=made.name,
            command=made.command,
            runs=machine.runs,
            environment=made.environment,
            gpus=made.gpus,
            nodes=made.nodes,
            memory_bytes=made.memory_bytes,
            image=made.image,
            accelerator=None if kind is None else str(kind),
        )

    def _on(self, name: str) -> PlacedWorkers:
        if name not in self._declared:
            raise BackendError(
                f"a job is on the machine {name}, which ftctl.yaml does not declare",
                "Declare it again: `ftctl help machines`.",
            )
        if name not in self._opened:
            machine = self._declared[name]
            self._opened[name] = PlacedWorkers(
                machine=machine,
                # A hub repository is refused where the settings are read.
                store=cast("SharedStore", open_store(machine.runs, Path("/"), private=False)),
                launcher=open_launcher(machine.launcher, machine.settings, os.environ),
                folder=self._state,
                report=_Lines(name),
            )
        return self._opened[name]


class OnMachines:
    """The part of a backend that knows machines; see `Placing` for what each method promises."""

    def __init__(self, state: Path) -> None:
        """Begin with no machine but this one.

        Args:
            state: Folder below which this machine keeps its runs.
        """
        self._state = state
        self._machines = Machines(state, {})

    def use_machines(self, machines: Mapping[str, Machine]) -> None:
        """Learn the machines that jobs may be placed on; nothing is asked of them."""
        self._machines = Machines(self._state, machines)

    def check_machine(self, name: str, timeout_s: float) -> Iterator[MachineCheck]:
        """Look at a machine from here, and from inside by a job of seconds."""
        return self._machines.check(name, timeout_s)

    def placed_command(self, job_id: str) -> PlacedCommand:
        """Return the command of a job that somebody else starts."""
        run = self._run(job_id)
        if run is None:
            raise BackendError(f"there is no job {job_id} here", "Type `ftctl reconcile`.")
        return self._machines.command(run)

    def _run(self, job_id: str) -> RunDir | None:
        name = job_id.removeprefix(_JOB)
        if not (job_id.startswith(_JOB) and NAME.fullmatch(name)):
            return None
        run = RunDir(path=self._state.absolute() / "runs" / name)
        return run if run.request.exists() else None


class _Lines:
    """Lines about what is written to a store: none of a quick transfer, else one in five seconds."""

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self._next_s = time.monotonic() + 2.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next_s:
            self._next_s = now + 5.0
            sent = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB"
            sys.stderr.write(f"» writing to the store of {self._machine}: {sent}\n")
            sys.stderr.flush()
