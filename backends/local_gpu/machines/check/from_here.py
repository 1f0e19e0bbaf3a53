"""`ftctl doctor --machine`: the store, the scheduler, and what a job finds out on the machine."""

import json
import secrets
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from backends.contract.errors import BackendError
from backends.contract.jobs import Hardware, Machine, MachineCheck
from backends.launchers.launcher import (
    COMMENT_PREFIX,
    Capacity,
    Launcher,
    LauncherError,
    Placed,
    PlacedState,
    SubmissionLost,
)
from backends.launchers.table import MANUAL
from backends.local_gpu.machines.check.findings import apart, clock_check, findings
from backends.local_gpu.machines.check.objects import AFTER, ANSWER, ASKED, NOT_SHARED, probe_key
from backends.local_gpu.machines.placements import Command, placement_on
from backends.stores.objects import SharedStore, StoreError
from backends.stores.probe import require_conditions

_MODULE: Final = "backends.local_gpu.machines.check"
_LOOK_S: Final = 0.5
_ASK_S: Final = 2.0
"""Seconds between two questions to the scheduler."""
_LATE_S: Final = 10.0
"""Seconds after its end in which a job's answer may become visible in a folder on a network."""
_LINES: Final = 4
"""Lines of a job's output in a message."""

_Checks: TypeAlias = Generator[MachineCheck, None, Mapping[str, Any] | None]


@dataclass(slots=True, kw_only=True)
class Checking:
    """One look at a machine.

    Attributes:
        machine: The machine.
        store: The store that it shares with this one.
        launcher: Places its jobs.
        state: Folder of this machine for what goes with the job.
        timeout_s: Seconds after which the job is given up.
        probe: Name of the objects in the store.
        is_written: True from the moment in which the store may have an object of the probe.
        is_placed: True from the moment in which the scheduler may have the job.
    """

    machine: Machine
    store: SharedStore
    launcher: Launcher
    state: Path
    timeout_s: float
    probe: str
    is_written: bool = False
    is_placed: bool = False

    @property
    def job(self) -> str:
        """Name of the job."""
        return f"ftctl-check-{self.probe}"

    def checks(self) -> Iterator[MachineCheck]:
        """Yield what is found; what is written and placed for it is removed at the end."""
        subject = "store"
        try:
            yield self._store()
            subject = "scheduler"
            yield self._scheduler()
            subject = "job"
            if self.machine.launcher == MANUAL:
                yield MachineCheck(subject=subject, detail="not tried: somebody else starts jobs")
                return
            answer = yield from self._answer()
            if answer is not None:
                yield from findings(self.machine, answer, self._stamp())
        except BackendError as error:
            yield MachineCheck(subject=subject, detail=error.message, remedy=error.remedy, ok=False)
        finally:
            left = self._tidy()
        if left:
            remedy = f"Remove what is below {probe_key(self.probe, '')} there, and end {self.job}."
            yield MachineCheck(subject="rest", detail=left, remedy=remedy, ok=False)

    def _store(self) -> MachineCheck:
        """Check the store from here, before anything is placed."""
        require_conditions(self.store)
        self.is_written = True
        self.store.write(probe_key(self.probe, ASKED), b"{}")
        apart_s = time.time() - self._modified_s(ASKED)
        if apart(apart_s):
            return clock_check("store", f"this machine and {self.store.url}", apart_s)
        return MachineCheck(subject="store", detail=f"{self.store.url}, keeps to conditions")

    def _scheduler(self) -> MachineCheck:
        self.launcher.find([self.job])
        words = _capacity_words(self.launcher.capacity())
        name = self.machine.launcher
        return MachineCheck(subject="scheduler", detail=f"{name}, {words or 'answers'}")

    def _answer(self) -> _Checks:
        """Place the job, and return what it wrote; None if that is not to come."""
        placement = placement_on(
            self.machine,
            self.state,
            Command(module=_MODULE, arguments=("--probe", self.probe)),
            Hardware(),
            name=self.job,
            comment=f"{COMMENT_PREFIX}check {self.probe}",
        )
        began_s = time.monotonic()
        self.is_placed = True
        try:
            self.launcher.submit(placement)
        except SubmissionLost as error:
            # It may have been placed: what follows finds out, and `_tidy` ends it.
            yield _waiting(f"no clear answer to the submission: {error.message}")
        answer = yield from self._awaited(began_s)
        if answer is not None:
            took_s = time.monotonic() - began_s
            detail = f"ran on {answer.get('host')}, and answered after {took_s:.0f} s"
            yield MachineCheck(subject="job", detail=detail)
        return answer

    def _awaited(self, began_s: float) -> _Checks:
        """Wait for the object that the job writes."""
        words, asked_s, ended_s = "", 0.0, None
        while time.monotonic() - began_s < self.timeout_s:
            data = self.store.read(probe_key(self.probe, ANSWER))
            if data is not None:
                return _parsed(data)
            if ended_s is not None and time.monotonic() - ended_s > _LATE_S:
                yield self._ended(words)
                return None
            if time.monotonic() - asked_s > _ASK_S:
                asked_s = time.monotonic()
                found, now = self._asked()
                if now != words:
                    yield _waiting(now)
                words = now
                is_over = found is None or found.state is PlacedState.ENDED
                ended_s = (ended_s or asked_s) if is_over else None
            time.sleep(_LOOK_S)
        yield self._late(words)
        return None

    def _asked(self) -> tuple[Placed | None, str]:
        """Return what the scheduler knows of the job, and its words."""
        try:
            found = self.launcher.find([self.job]).get(self.job)
        except LauncherError as error:
            # Its silence is no end of the job.
            words = f"no answer: {error.message}"
            return Placed(state=PlacedState.QUEUED, words=words, comment=""), words
        return found, "it does not know the job" if found is None else found.words

    def _ended(self, words: str) -> MachineCheck:
        """Return the check for a job that ended without a word in the store."""
        output = self._output()
        if NOT_SHARED in output:
            remedy = f"Mount {self.store.url} on the machine, the same folder as here."
        else:
            remedy = (
                "Correct what its output says."
                if output
                else f"Check that {self.store.url} is the same folder there, and that the machine "
                f"has {self._python()}."
            )
        said = f"; its output ends: {output}" if output else ", and left no output"
        return MachineCheck(
            subject="job",
            detail=f"it ended without an answer in {self.store.url} ({words}){said}",
            remedy=remedy,
            ok=False,
        )

    def _late(self, words: str) -> MachineCheck:
        """Return the check for a job that did not answer in time."""
        try:
            capacity = self.launcher.capacity()
        except LauncherError:
            capacity = Capacity()
        lacking = ""
        if self.machine.has_gpus and capacity.gpus == 0:
            lacking = "; it asks for a GPU, and the machine has none"
        has = _capacity_words(capacity)
        there = f" of the {has} there" if has else " there"
        return MachineCheck(
            subject="job",
            detail=f"no answer for {self.timeout_s:.0f} s: {words}{lacking}",
            remedy=(
                "Write `devices: cpu` for the machine, or choose one that has GPUs."
                if lacking
                else f"Wait for other jobs{there}, or allow more time: --timeout SECONDS"
            ),
            ok=False,
        )

    def _python(self) -> str:
        machine = self.machine
        return f"the image {machine.image}" if machine.image else f"{machine.venv or 'python3'}"

    def _output(self) -> str:
        try:
            return " | ".join(self.launcher.logs(self.job, _LINES))
        except LauncherError as error:
            return error.message

    def _stamp(self) -> float:
        """Return how much later than the job's answer an object is dated that is written now."""
        self.store.write(probe_key(self.probe, AFTER), b"")
        return self._modified_s(AFTER) - self._modified_s(ANSWER)

    def _modified_s(self, name: str) -> float:
        for one in self.store.find(probe_key(self.probe, "")):
            if one.key == probe_key(self.probe, name):
                return one.modified_s
        raise StoreError(
            f"{self.store.url} does not list what it was given",
            "Use another store: workers could not be seen in this one.",
        )

    def _tidy(self) -> str:
        """End the job and remove the objects; return why that failed, empty if it did not."""
        if not self.is_written:
            return ""
        left = ""
        if self.is_placed:
            try:
                found = self.launcher.find([self.job]).get(self.job)
                if found is not None and found.state is not PlacedState.ENDED:
                    self.launcher.stop(self.job, at_once=True)
            except LauncherError as error:
                left = f"the job may be left: {error.message}"
        try:
            self.store.remove([one.key for one in self.store.find(probe_key(self.probe, ""))])
        except StoreError as error:
            left = left or f"objects may be left: {error.message}"
        return left


def check_machine(
    machine: Machine, store: SharedStore, launcher: Launcher, state: Path, timeout_s: float
) -> Iterator[MachineCheck]:
    """Look at a machine; yield what is found.

    Args:
        machine: The machine.
        store: The store that it shares with this one.
        launcher: Places its jobs.
        state: Folder of this machine for what goes with the job.
        timeout_s: Seconds after which the job is given up.
    """
    return Checking(
        machine=machine,
        store=store,
        launcher=launcher,
        state=state,
        timeout_s=timeout_s,
        probe=secrets.token_hex(6),
    ).checks()


def _waiting(words: str) -> MachineCheck:
    return MachineCheck(subject="job", detail=words, is_waiting=True)


def _capacity_words(capacity: Capacity) -> str:
    counts = ((capacity.gpus, "GPU"), (capacity.nodes, "node"))
    return ", ".join(
        f"{count:,} {noun}{'' if count == 1 else 's'}"
        for count, noun in counts
        if count is not None
    )


def _parsed(data: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise StoreError("the job's answer is damaged", "Use another store: it damages objects.")
    return value
