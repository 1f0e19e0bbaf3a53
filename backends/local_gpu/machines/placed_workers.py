"""Workers on another machine, which a launcher places and the store tells of."""

import hashlib
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from backends.contract.errors import BackendError, SubmissionUnknown
from backends.contract.jobs import Hardware, Machine, TrainRequest
from backends.launchers.launcher import (
    COMMENT_PREFIX,
    Launcher,
    LauncherError,
    Placed,
    PlacedState,
    Placement,
    SubmissionLost,
)
from backends.local_gpu.jobs.child_process import log_tail
from backends.local_gpu.jobs.run_dir import RunDir, folder_stem, read_request
from backends.local_gpu.jobs.worker_record import Worker
from backends.local_gpu.jobs.workers.workers import LOG_LINES, MAX_STARTS, WorkerState
from backends.local_gpu.json_files import json_bytes, parse_json, read_json
from backends.local_gpu.machines.claims import list_run, list_runs, lost_after_s, mark_of
from backends.local_gpu.machines.mirror import make_mirror, refresh
from backends.local_gpu.machines.objects import (
    CANCEL,
    PAUSE,
    RESULT,
    StoredRun,
    claim_name,
    key_of,
    placed_name,
    released_name,
    silent_name,
)
from backends.local_gpu.machines.placed_request import write_placed
from backends.local_gpu.machines.placements import Command, placement_on
from backends.stores.objects import SharedStore
from backends.stores.probe import require_conditions
from backends.stores.push import Report

FRESH_S: Final = 2.0
"""Seconds for which a look at the store and at the scheduler counts."""
_WORKER: Final = "backends.local_gpu.machines.worker"
_LONGEST: Final = 20
"""Characters of a fine-tune's name in the name of a job."""
_DIGITS: Final = 12
_STARTING: Final = 5
"""A worker may start for so many times as long as it may show no sign of life later."""
_LOOK_AGAIN_S: Final = (0.5, 2.0, 5.0)
"""Pauses before the looks for a job whose submission got no answer."""


def job_name(request: TrainRequest, mark: str) -> str:
    """Return the name of a request's job, the same at every scheduler.

    Args:
        request: The request.
        mark: Of the store. Two teams on one cluster may train the same in stores of their own.
    """
    key = f"{request.fingerprint} {request.attempt} {mark}"
    key = hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]
    name = re.sub(r"[^a-z0-9]+", "-", request.name.lower())[:_LONGEST].strip("-")
    return f"ftctl-{name}-{key}"


def comment_of(request: TrainRequest) -> str:
    """Return the comment of a request's job, by which it is known as ours."""
    return f"{COMMENT_PREFIX}{request.fingerprint} {request.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """Answers of the store and the scheduler at one time."""

    stored: Mapping[str, StoredRun]
    placed: Mapping[str, Placed] = field(default_factory=dict)
    """Jobs by the names of the runs that were asked for."""
    asked: frozenset[str] = frozenset()
    """Names of the runs that the scheduler was asked for."""
    silent: str = ""
    """Error of a scheduler that gave no answer; empty if it did."""
    time_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True, kw_only=True)
class PlacedWorkers:
    """Implements `Workers` for one machine; see there for what each method promises.

    Attributes:
        machine: The machine.
        store: The store that it shares with this one.
        launcher: Places its jobs.
        folder: Folder below which this machine keeps its runs.
        report: Receives the progress of what is written to the store.
    """

    machine: Machine
    store: SharedStore
    launcher: Launcher
    folder: Path
    report: Report
    _view: _View | None = None
    _is_trusted: bool = False
    _mark: str = ""
    """Mark of the store, once it was read."""

    def runs(self) -> Mapping[str, StoredRun]:
        """Return the runs of the store by their names.

        Raises:
            StoreError: The store refuses or does not answer.
        """
        return self._looked().stored

    def runs_of(self, fingerprints: Iterable[str]) -> list[RunDir]:
        """Return the runs of fingerprints that the store has, with their folders here."""
        stems = {folder_stem(one) for one in fingerprints}
        return self._mirrors(name for name in self.runs() if name[:16] in stems)

    def all_runs(self) -> list[RunDir]:
        """Return every run of the store, with its folder here."""
        return self._mirrors(self.runs())

    def follow(self, runs: Iterable[RunDir]) -> _View:
        """Ask the scheduler once about all runs of which the store shows no living worker."""
        view, lost_s, listed = self._looked(), lost_after_s(), list(runs)
        names, comments = {}, {}
        for run in listed:
            one = view.stored.get(run.name)
            if one is None or not (one.has(RESULT) or one.is_held(lost_s)):
                request = read_request(run)
                names[self._job_name(request)] = run.name
                comments[self._job_name(request)] = comment_of(request)
        silent, found = "", dict[str, Placed]()
        if names:
            try:
                found = dict(self.launcher.find(list(names)))
            except LauncherError as error:
                silent = error.message
        self._view = replace(
            view,
            # Ignores a stranger's job of the same name.
            placed={
                names[name]: one for name, one in found.items() if one.comment == comments.get(name)
            },
            asked=frozenset(run.name for run in listed),
            silent=silent,
        )
        return self._view

    def find(self, run: RunDir) -> Worker | None:
        """Return the worker that claimed a run last; its starts are those without a checkpoint."""
        stored = self._stored(run)
        if stored is None or not (stored.generation or stored.placements):
            return None
        claim = parse_json(self.store.read(key_of(run.name, claim_name(stored.generation)))) or {}
        return Worker(
            pid=int(claim.get("pid", 0)),
            start="",
            host=str(claim.get("host", self.machine.name)),
            boot="",
            started_s=time.time(),
            starts=stored.failed_starts,
            device=self.machine.name,
        )

    def submit(self, run: RunDir, lock: int, starts: int) -> None:
        """Write what the run needs to the store, and place a worker.

        Raises:
            SubmissionUnknown: The scheduler gave no clear answer, and the job was not found.
            BackendError: The store or the scheduler refuses, or another job has the name.
        """
        del lock, starts
        if not self._is_trusted:
            require_conditions(self.store)
            self._is_trusted = True
        request = read_request(run)
        name, comment = self._job_name(request), comment_of(request)
        if self._is_open(run, name, comment):
            return
        placement = self._placement(run, request.hardware, name, comment)
        write_placed(self.store, run, self.report)
        self.store.remove([key_of(run.name, PAUSE)])
        number = list_run(self.store, run.name).placements + 1
        self.store.write(key_of(run.name, placed_name(number)), json_bytes({"job": name}))
        self._view = None
        try:
            self.launcher.submit(placement)
        except SubmissionLost as error:
            self._look_for(name, error)

    def state(self, run: RunDir) -> WorkerState:
        """Return the state of the run's newest worker; bring the run's folder up to date."""
        stored = self._stored(run)
        if stored is not None:
            refresh(self.store, run, stored)
            if run.result.exists():
                return WorkerState.GONE
            if stored.has(RESULT) or stored.is_held(lost_after_s()):
                return WorkerState.WORKING
        view = self._asked(run)
        if view.silent:
            # Nothing was placed that could not be seen now.
            never = stored is None or not stored.placements
            return WorkerState.GONE if never else WorkerState.WAITING
        placed = view.placed.get(run.name)
        if placed is None or placed.state is PlacedState.ENDED:
            return WorkerState.GONE
        if stored is not None and stored.failed_workers >= MAX_STARTS:
            # Whatever starts workers does so again and again: this is where a run is given up.
            return WorkerState.GONE
        if stored is None or stored.is_unclaimed:
            # Ray ends a job that waits only when it would start: then the worker stops at the mark.
            is_over = _is_stopped_waiting(placed, stored)
            return WorkerState.GONE if is_over else WorkerState.WAITING
        is_waiting = placed.state is PlacedState.QUEUED or self._may_start(run, stored)
        return WorkerState.WAITING if is_waiting else WorkerState.GONE

    def words(self, run: RunDir) -> str:
        """Return what the scheduler says of a run, and why its last worker ended."""
        view, stored = self._asked(run), self._stored(run)
        if view.silent:
            return f"{self.machine.name} does not answer: {view.silent}"
        placed, reason = view.placed.get(run.name), self._reason(stored)
        is_given_up = stored is not None and stored.failed_workers >= MAX_STARTS
        if placed is not None and _is_stopped_waiting(placed, stored):
            return f"stopped while it waited on {self.machine.name}; it continues when submitted"
        if placed is not None and placed.state is not PlacedState.ENDED and not is_given_up:
            last = f"; its last worker failed: {reason}" if reason else ""
            return f"placed on {self.machine.name}: {placed.words}{self._lacking(run)}{last}"
        reason = reason or ("" if placed is None else placed.words)
        ended = f"its worker on {self.machine.name} has ended"
        return f"{ended}{f' ({reason})' if reason else ''}; it continues when submitted"

    def stop(self, run: RunDir, *, at_once: bool) -> None:
        """Ask the worker to stop by the store; end a job that only waits at its scheduler."""
        mark = CANCEL if run.cancel.exists() else PAUSE
        self.store.write(key_of(run.name, mark), b"")
        name = self._job_name(read_request(run))
        placed = self.launcher.find([name]).get(name)
        # A worker that lives sees the mark, and has all the time that it needs to save its work.
        if placed is not None and (at_once or placed.state is PlacedState.QUEUED):
            self.launcher.stop(name, at_once=True)
        self._view = None

    def ended(self, run: RunDir) -> None:
        """Tell the store how a run ended that no worker will end."""
        ended = {"result": read_json(run.result), "model": None, "generation": 0}
        if not self.store.create(key_of(run.name, RESULT), json_bytes(ended)):
            # A worker was quicker: what it recorded counts, and is fetched at the next look.
            run.result.unlink(missing_ok=True)
        # A worker that starts all the same finds that there is nothing to do.
        with suppress(LauncherError):
            self._end_at_scheduler(read_request(run))
        self._view = None

    def placement(self, run: RunDir) -> Placement:
        """Return the job of a run, as it is placed."""
        request = read_request(run)
        return self._placement(run, request.hardware, self._job_name(request), comment_of(request))

    def logs(self, run: RunDir, lines: int = LOG_LINES) -> list[str]:
        """Return the last lines of the worker's output, as the store has them."""
        written = log_tail(run.log, lines)
        written = written or self.launcher.logs(self._job_name(read_request(run)), lines)
        return written or self._reason(self._stored(run)).splitlines()[-lines:]

    def _job_name(self, request: TrainRequest) -> str:
        if not self._mark:
            self._mark = mark_of(self.store)
        return job_name(request, self._mark)

    def _may_start(self, run: RunDir, stored: StoredRun) -> bool:
        """Return True if a running worker without a sign of life may be one that starts.

        The scheduler does not tell whether it means a worker that is cut off or its successor.
        """
        mark = stored.objects.get(silent_name(stored))
        if mark is None:
            self.store.create(key_of(run.name, silent_name(stored)), b"")
            return True
        return stored.now_s - mark.modified_s < _STARTING * lost_after_s()

    def _looked(self) -> _View:
        """Return what the store told a moment ago, or tells now."""
        if self._view is None or time.monotonic() - self._view.time_s > FRESH_S:
            self._view = _View(stored=list_runs(self.store))
        return self._view

    def _mirrors(self, names: Iterable[str]) -> list[RunDir]:
        found = (make_mirror(self.store, self.folder, name) for name in names)
        return [run for run in found if run is not None]

    def _stored(self, run: RunDir) -> StoredRun | None:
        return self.runs().get(run.name)

    def _reason(self, stored: StoredRun | None) -> str:
        """Return why the last worker of a run failed, in its own words; empty if it did not."""
        if stored is None or not stored.is_released:
            return ""
        why = self.store.read(key_of(stored.name, released_name(stored.generation)))
        return (why or b"").decode(errors="replace")

    def _asked(self, run: RunDir) -> _View:
        """Return a view for which the scheduler was asked about a run."""
        view = self._looked()
        return view if run.name in view.asked else self.follow([run])

    def _end_at_scheduler(self, request: TrainRequest) -> None:
        """End an open job of ours, which has nothing left to do."""
        name = self._job_name(request)
        placed = self.launcher.find([name]).get(name)
        is_ours = placed is not None and placed.comment == comment_of(request)
        if placed is not None and is_ours and placed.state is not PlacedState.ENDED:
            self.launcher.stop(name, at_once=True)

    def _is_open(self, run: RunDir, name: str, comment: str) -> bool:
        """Return whether the scheduler has an open job of a run; end one that is cut off.

        Raises:
            BackendError: A job of that name is not ours, or does not end.
        """
        deadline = None
        while True:
            placed = self.launcher.find([name]).get(name)
            if placed is None or placed.state is PlacedState.ENDED:
                return False
            if placed.comment != comment:
                raise BackendError(
                    f"{self.machine.name} has a job called {name} that ftctl did not place "
                    f"({placed.words})",
                    "End that job, or give it another name.",
                )
            if placed.state is PlacedState.QUEUED:
                self.store.remove([key_of(run.name, PAUSE)])
                self._view = None
                return True
            if deadline is None:
                self.launcher.stop(name, at_once=True)
                deadline = time.monotonic() + self.launcher.ending_s()
            if time.monotonic() > deadline:
                raise BackendError(
                    f"the worker {name} on {self.machine.name} shows no sign of life, and the "
                    f"scheduler has not ended it in {self.launcher.ending_s():.0f} seconds "
                    f"({placed.words})",
                    "End it there, and run the same command again.",
                )
            time.sleep(_LOOK_AGAIN_S[0])

    def _look_for(self, name: str, lost: SubmissionLost) -> None:
        for pause_s in _LOOK_AGAIN_S:
            time.sleep(pause_s)
            try:
                if name in self.launcher.find([name]):
                    return
            except LauncherError:
                continue
        raise SubmissionUnknown(
            f"{self.machine.name} did not answer whether it placed {name}: {lost.message}",
            "Run the same command again: it looks for the job first.",
        )

    def _placement(self, run: RunDir, hardware: Hardware, name: str, comment: str) -> Placement:
        command = Command(module=_WORKER, arguments=("--run", run.name))
        return placement_on(
            self.machine, self.folder, command, hardware, name=name, comment=comment
        )

    def _lacking(self, run: RunDir) -> str:
        """Return words about a job that asks for more than the machine has; empty if it does not."""
        if not self.machine.has_gpus:
            return ""
        hardware = read_request(run).hardware
        try:
            has = self.launcher.capacity()
        except LauncherError:
            return ""
        if has.gpus is not None and has.gpus < hardware.gpus:
            return f"; it asks for {hardware.gpus} GPUs, and the machine has {has.gpus}"
        if has.nodes is not None and has.nodes < hardware.nodes:
            return f"; it asks for {hardware.nodes} nodes, and the machine has {has.nodes}"
        return ""


def _is_stopped_waiting(placed: Placed, stored: StoredRun | None) -> bool:
    is_stopped = stored is not None and (stored.has(CANCEL) or stored.has(PAUSE))
    return is_stopped and placed.state is PlacedState.QUEUED
