"""A scheduler of real processes on this machine, which behaves as badly as schedulers do."""

import contextlib
import dataclasses
import os
import signal
import threading
from pathlib import Path

from backends.launchers.launcher import (
    Capacity,
    LauncherError,
    Placed,
    PlacedState,
    SubmissionLost,
)
from tests.children import child


@dataclasses.dataclass
class Scheduler:
    """Implements `Launcher`.

    Attributes:
        folder: Its logs, and the folder in which jobs run.
        is_full: Jobs are queued and not started.
        is_down: It does not answer.
        forgets: It knows of no job, whatever it runs.
        lies: It calls every job ended.
        loses: The answer to a submission is lost after the job was placed.
        keeps: It ends no job that waits, as Ray.
        kills_in_s: Seconds in which it ends a job at once, as it promises.
        elsewhere: Folder that the jobs find under the path of the store; empty for the store's own.
    """

    folder: Path
    is_full: bool = False
    is_down: bool = False
    forgets: bool = False
    lies: bool = False
    loses: bool = False
    keeps: bool = False
    kills_in_s: float = 30.0
    elsewhere: str = ""
    queued: dict = dataclasses.field(default_factory=dict)
    started: dict = dataclasses.field(default_factory=dict)
    finds: list = dataclasses.field(default_factory=list)
    submitted: list = dataclasses.field(default_factory=list)
    processes: list = dataclasses.field(default_factory=list)
    ends: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def find(self, names):
        self._answer()
        self.finds.append(sorted(names))
        return {} if self.forgets else {one: self._placed(one) for one in names if self._knows(one)}

    def submit(self, placement):
        self._answer()
        with self.lock:
            self.submitted.append(placement)
            self.queued[placement.name] = placement
            if not self.is_full:
                self.start(placement.name)
        if self.loses:
            raise SubmissionLost("no answer", "Look it up.")

    def start(self, name):
        placement = self.queued.pop(name)
        made = [self._run(placement, node) for node in range(placement.nodes)]
        self.processes += made
        self.started[name] = (made[0], placement)

    def _run(self, placement, node):
        command = list(placement.command)
        if self.elsewhere:
            command[command.index("--store") + 1] = self.elsewhere
        along = ("--node", str(node)) if placement.nodes > 1 else ()
        with (self.folder / f"{placement.name}.log").open("ab") as log:
            started = child(
                [*command, *along],
                env={**os.environ, **placement.environment},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            return self.ends.enter_context(started)

    def stop(self, name, *, at_once):
        self._answer()
        if not self.keeps:
            self.queued.pop(name, None)
        if name in self.started and self.started[name][0].poll() is None:
            self.started[name][0].send_signal(signal.SIGKILL if at_once else signal.SIGTERM)

    def ending_s(self):
        return self.kills_in_s

    def logs(self, name, lines):
        return (self.folder / f"{name}.log").read_text().splitlines()[-lines:]

    def capacity(self):
        return Capacity(gpus=2, nodes=1)

    def end(self):
        self.ends.close()

    def _answer(self):
        if self.is_down:
            raise LauncherError("the head does not answer", "Start it.")

    def _knows(self, name):
        return name in self.queued or name in self.started

    def _placed(self, name):
        if name in self.queued:
            placement, state, words = self.queued[name], PlacedState.QUEUED, "PENDING (Resources)"
        else:
            process, placement = self.started[name]
            runs = process.poll() is None and not self.lies
            state = PlacedState.RUNNING if runs else PlacedState.ENDED
            words = "RUNNING" if runs else "FAILED"
        return Placed(state=state, words=words, comment=placement.comment)
