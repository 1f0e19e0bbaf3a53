"""`check_launcher`: places small jobs and raises with every promise that was not kept."""

import json
import re
import secrets
import tempfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from backends.launchers.launcher import (
    COMMENT_PREFIX,
    Launcher,
    LauncherError,
    Placed,
    PlacedState,
    Placement,
)
from backends.testing.contract import ContractBroken

_PROGRAM: Final = """
import json, os, signal, sys, time

key = os.urandom(6).hex()

def save(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "deaf" in sys.argv:
        return
    print("told to stop", flush=True)
    time.sleep(2)
    print(key, "saved", flush=True)
    sys.exit(143)

signal.signal(signal.SIGTERM, save)
print("started", json.dumps([sys.argv[2:], os.environ.get("FTCTL_CHECK"), key]), flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    time.sleep(0.1)
print("ended", flush=True)
"""
"""A worker: runs so many seconds, and saves its work on SIGTERM."""
_ODD: Final = ("two words", "it's", '"', "$HOME", "*", "a\\nb", "\n", "카페", "")
"""Arguments that a shell changes unless each is quoted."""
_LONG_S: Final = 600
"""Seconds of a job that is stopped before its end."""
_MODULE: Final = "ftctl_check_code"
_LINES: Final = 200


def check_launcher(
    launcher: Launcher,
    *,
    python: str = "python3",
    gpus: int = 0,
    nodes: int = 1,
    timeout_s: float = 120.0,
    poll_s: float = 0.5,
) -> None:
    """Check that a launcher keeps the contract of `backends.launchers.launcher.Launcher`.

    Places a few jobs of some seconds, under names that nobody else uses.

    Args:
        launcher: The launcher.
        python: Python on the machines, 3.11 or newer.
        gpus: GPUs of each job.
        nodes: Nodes of a job on several nodes; 1 to place none.
        timeout_s: Seconds that a job may take to start, or to end.
        poll_s: Seconds between two requests about a job.

    Raises:
        ContractBroken: With every promise that was not kept.
    """
    check = _Check(
        launcher=launcher, python=python, gpus=gpus, timeout_s=timeout_s, poll_s=poll_s, findings=[]
    )
    for name in (name for name in vars(Launcher) if not name.startswith("_")):
        there = callable(getattr(launcher, name, None))
        check.expect(f"{name}: the launcher has no such method", holds=there)
    if not check.findings:
        check.strangers()
        check.life()
        check.deaf()
        check.failure()
        check.code()
        if nodes > 1:
            check.nodes(nodes)
    if check.findings:
        raise ContractBroken(check.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """One run of `check_launcher`."""

    launcher: Launcher
    python: str
    gpus: int
    timeout_s: float
    poll_s: float
    findings: list[str]

    def expect(self, finding: str, *, holds: bool) -> None:
        """Note a finding, unless the promise holds."""
        if not holds:
            self.findings.append(finding)

    def placement(self, *arguments: str) -> Placement:
        """Return a job of the program."""
        key = secrets.token_hex(6)
        return Placement(
            name=f"ftctl-check-{key}",
            comment=f"{COMMENT_PREFIX}check {key}",
            command=(self.python, "-c", _PROGRAM, *arguments),
            environment={"FTCTL_CHECK": f"a 'b' \"c\" $HOME {key}"},
            gpus=self.gpus,
        )

    def strangers(self) -> None:
        """Check a name that nobody uses, and what the scheduler could give."""
        name = self.placement().name
        self.expect("find: answers for a name nobody used", holds=not self.launcher.find([name]))
        self.expect("find: answers for no names", holds=not self.launcher.find([]))
        for at_once in (False, True):
            try:
                self.launcher.stop(name, at_once=at_once)
            except LauncherError as error:
                self.findings.append(f"stop: a job that does not exist is refused: {error}")
        logs = self.launcher.logs(name, 5)
        self.expect(f"logs: a job that does not exist has {logs}", holds=logs == [])
        capacity = self.launcher.capacity()
        for kind, count in (("GPUs", capacity.gpus), ("nodes", capacity.nodes)):
            self.expect(f"capacity: {count} {kind}", holds=count is None or count >= 0)

    def life(self) -> None:
        """Check a job that starts, is placed a second time, saves its work, and is placed again."""
        job = self.placement(str(_LONG_S), *_ODD)
        self.launcher.submit(job)
        stranger = self.placement().name
        found = self.launcher.find([stranger, job.name])
        self.expect(
            f"find: after submit of {job.name} it has {sorted(found)}", holds={*found} == {job.name}
        )
        if job.name in found:
            placed = found[job.name]
            self.expect(
                f"find: the comment is {placed.comment!r}", holds=placed.comment == job.comment
            )
            self.expect("find: no words", holds=bool(placed.words.strip()))
            is_open = placed.state is not PlacedState.ENDED
            self.expect(f"find: a new job has ended: {placed.words}", holds=is_open)
        if not self._has_started(job):
            return
        wanted = [[*_ODD], job.environment["FTCTL_CHECK"]]
        given = json.loads(self._starts(job)[-1])[:2]
        self.expect(f"submit: arguments and variable came as {given}", holds=given == wanted)
        self._place_twice(job)
        one = self.launcher.logs(job.name, 1)
        self.expect(f"logs: of one line, {len(one)}", holds=len(one) == 1)
        self.launcher.stop(job.name, at_once=False)
        if self._has_ended(job, "stop"):
            written = self.launcher.logs(job.name, _LINES)
            self.expect(
                f"stop: the job did not save its work within two seconds: {written[-3:]}",
                holds=any(line.rstrip().endswith("saved") for line in written),
            )
            self._place_again(job)

    def _place_twice(self, job: Placement) -> None:
        before = len(self._starts(job))
        # A refusal is fine, as long as the job runs on, once.
        with suppress(LauncherError):
            self.launcher.submit(job)
        time.sleep(4 * self.poll_s)
        placed = self.launcher.find([job.name]).get(job.name)
        runs_on = placed is not None and placed.state is PlacedState.RUNNING
        self.expect(f"submit: placed twice, the job is {placed}", holds=runs_on)
        self.expect("submit: placed twice, it runs twice", holds=len(self._starts(job)) == before)

    def _place_again(self, job: Placement) -> None:
        """Place a job again after its end."""
        again = replace(job, command=(*job.command[:3], "0", "again"))
        try:
            self.launcher.submit(again)
        except LauncherError as error:
            self.findings.append(f"submit: refused after the job's end: {error}")
            return
        if self._has_ended(again, "submit again"):
            ran = any('"again"' in start for start in self._starts(again))
            self.expect("submit: a job that has ended does not run again", holds=ran)
        self.launcher.stop(again.name, at_once=False)

    def deaf(self) -> None:
        """Check that a job that ignores SIGTERM is killed, in the time that is promised."""
        job = self.placement(str(_LONG_S), "deaf")
        self.launcher.submit(job)
        if self._has_started(job):
            began_s, limit_s = time.monotonic(), self.launcher.ending_s()
            self.launcher.stop(job.name, at_once=True)
            if self._has_ended(job, "stop at once"):
                took_s = time.monotonic() - began_s
                self.expect(
                    f"ending_s: {limit_s:.0f} s, and a job took {took_s:.0f}",
                    holds=took_s <= limit_s + self.poll_s,
                )

    def failure(self) -> None:
        """Check that a job that fails has ended."""
        job = replace(self.placement(), command=(self.python, "-c", "raise SystemExit('no')"))
        self.launcher.submit(job)
        self._has_ended(job, "a failed job")

    def code(self) -> None:
        """Check that a zip file becomes the working folder, or is refused."""
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "code.zip"
            with zipfile.ZipFile(archive, "w") as written:
                written.writestr(f"{_MODULE}/__main__.py", f"print(open('{_MODULE}/a.txt').read())")
                written.writestr(f"{_MODULE}/a.txt", "from the zip file")
            job = replace(self.placement(), command=(self.python, "-m", _MODULE), code=archive)
            try:
                self.launcher.submit(job)
            except LauncherError:
                return
        if self._has_ended(job, "a job with code"):
            written_lines = self.launcher.logs(job.name, _LINES)
            self.expect(
                f"submit: the code did not run: {written_lines[-3:]}",
                holds=any("from the zip file" in line for line in written_lines),
            )

    def nodes(self, count: int) -> None:
        """Check that a command runs once on each node, and saves its work on each."""
        job = replace(self.placement(str(_LONG_S)), nodes=count)
        self.launcher.submit(job)

        def numbers() -> list[str]:
            # A log may have a line twice, but each process has a key of its own.
            starts = (json.loads(start)[0] for start in {*self._starts(job)})
            return sorted(arguments[-1] for arguments in starts if "--node" in arguments)

        if not self._comes(lambda: len(numbers()) >= count):
            self.findings.append(f"submit: of {count} nodes, {numbers()} have started")
        self.expect(
            f"submit: the nodes are {numbers()}", holds=numbers() == [*map(str, range(count))]
        )
        self.launcher.stop(job.name, at_once=False)
        if self._has_ended(job, "stop"):
            written = "\n".join(self.launcher.logs(job.name, _LINES))
            saved = {*re.findall(r"\b([0-9a-f]{12}) saved$", written, re.MULTILINE)}
            self.expect(f"stop: of {count} nodes, {len(saved)} saved", holds=len(saved) == count)

    def _starts(self, job: Placement) -> list[str]:
        """Return what the program wrote at each start."""
        lines = self.launcher.logs(job.name, _LINES)
        # A launcher may put a prefix before a line.
        return [line.partition("started ")[2] for line in lines if "started [" in line]

    def _has_started(self, job: Placement) -> bool:
        if self._comes(lambda: bool(self._starts(job))):
            return True
        self.findings.append(f"submit: the job does not start: {self._placed(job)}")
        self.launcher.stop(job.name, at_once=True)
        return False

    def _has_ended(self, job: Placement, after: str) -> bool:
        def is_over() -> bool:
            placed = self._placed(job)
            # A scheduler may forget what has ended.
            return placed is None or placed.state is PlacedState.ENDED

        if self._comes(is_over):
            return True
        self.findings.append(f"{after}: the job does not end: {self._placed(job)}")
        return False

    def _placed(self, job: Placement) -> Placed | None:
        return self.launcher.find([job.name]).get(job.name)

    def _comes(self, condition: Callable[[], bool]) -> bool:
        end = time.monotonic() + self.timeout_s
        while not condition():
            if time.monotonic() >= end:
                return False
            time.sleep(self.poll_s)
        return True
