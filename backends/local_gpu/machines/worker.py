"""The worker on another machine: it trains one run, whose folder is in a store.

`python -m backends.local_gpu.machines.worker --store ADDRESS --run NAME [--node N]`, which a launcher
places. It claims the run, fetches what it needs, and starts the same training as on the machine of
ftctl, in a folder of its own. Meanwhile it writes signs of life, progress and checkpoints into the
store; last of all the result. On SIGTERM it saves a checkpoint and exits with 143; whoever is
started next continues from there. Imports no training package.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, cast

from backends.atomic_files import append_line
from backends.contract.errors import FtctlError
from backends.contract.inspector import Json
from backends.local_gpu.jobs.child_process import require_packages, require_quantization
from backends.local_gpu.jobs.device_queue import BOUND
from backends.local_gpu.jobs.rank_protocol import STOPPED
from backends.local_gpu.jobs.run_dir import RunDir, read_request, write_end
from backends.local_gpu.jobs.workers.local_process import LocalProcess
from backends.local_gpu.jobs.workers.workers import WorkerState
from backends.local_gpu.machines.claims import Claim, list_run, say, take_claim
from backends.local_gpu.machines.nodes import Call, await_call, call_nodes, is_on, join_nodes
from backends.local_gpu.machines.objects import (
    CANCEL,
    LOG,
    PAUSE,
    PROGRESS,
    StoredRun,
    key_of,
    step_of,
)
from backends.local_gpu.machines.placed_request import (
    PlacedRequest,
    fetch_placed,
    read_placed,
    require_same_version,
)
from backends.local_gpu.machines.publishing import (
    Growing,
    fetch_checkpoint,
    fetch_halvings,
    record_result,
    reported_by_all,
    send_checkpoint,
    send_halvings,
)
from backends.local_gpu.machines.scratch import scratch_folder
from backends.lock_files import hand_on, try_lock
from backends.stores.objects import SharedStore, StoreError
from backends.stores.open_store import open_store

_LOOK_S: Final = 0.25
"""Seconds between two looks at the training."""
_ASK_S: Final = 2.0
"""Seconds between two looks for a wish to stop, in the store."""
_ALONG_S: Final = 5.0
"""Seconds between two looks of another node for the first one, in the store."""
_SEND_S: Final = 5.0
"""Seconds between two reports to the store."""


@dataclass(slots=True)
class Stop:
    """Handler of SIGTERM, which a scheduler sends before it takes the machine away.

    Attributes:
        signals: The signals so far.
    """

    signals: list[int] = field(default_factory=list)

    @property
    def asked(self) -> bool:
        """True once this worker is to stop."""
        return bool(self.signals)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal."""
        del frame
        self.signals.append(number)


@dataclass(slots=True, kw_only=True)
class Work:
    """A claimed run, as this worker trains it.

    Attributes:
        claim: The right to train it.
        run: Its folder on this machine.
        fingerprint: Of the run.
        saved: Step of the newest checkpoint in the store.
        halvings: Halvings of batches that the store knows of.
        facts: Facts of the placement, for the result.
        growing: Files that are copied to the store while they grow.
    """

    claim: Claim
    run: RunDir
    fingerprint: str
    saved: int = 0
    halvings: int = 0
    facts: dict[str, Json] = field(default_factory=dict)
    growing: tuple[Growing, ...] = ()

    def say(self, message: str, **data: Json) -> None:
        """Add a line for people to the run's events and to this worker's output."""
        say(message)
        line = {"time_s": time.time(), "message": message, **data}
        append_line(self.run.progress, json.dumps(line).encode())

    def send(self) -> None:
        """Bring the store up to date; an error waits for the next time."""
        try:
            for one in self.growing:
                one.send()
            self.halvings = send_halvings(self.claim.store, self.run, self.halvings)
            self.saved = send_checkpoint(self.claim, self.run, self.fingerprint, self.saved)
        except StoreError as error:
            say(f"not reported: {error.message}")


def main(arguments: list[str]) -> int:
    """Train a run of a store; return the exit status."""
    parser = argparse.ArgumentParser(prog="ftctl worker")
    parser.add_argument("--store", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--node", type=int, default=0)
    given = parser.parse_args(arguments)
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.receive)
    try:
        store = cast("SharedStore", open_store(given.store, Path("/"), private=False))
        if given.node:
            return work_along(store, given.run, given.node, stop)
        return work(store, given.run, stop)
    except FtctlError as error:
        say(f"{error}")
        return 1


def work(store: SharedStore, name: str, stop: Stop) -> int:
    """Claim a run and train it, unless another worker has it.

    Args:
        store: The store with the run's folder.
        name: Name of the run.
        stop: Tells when to stop.

    Returns:
        The exit status: 0 also where there is nothing to do.

    Raises:
        FtctlError: The store has no such run, refuses or does not answer.
    """
    placed = _placed(store, name)
    before = list_run(store, name)
    claim = take_claim(store, name)
    if claim is None:
        say(f"nothing to do: {name} has ended, or another worker trains it")
        return 0
    try:
        with scratch_folder(name, claim.generation) as state:
            return _train(claim, placed, before, state, stop)
    except (FtctlError, OSError) as error:
        claim.release(str(error))
        say(f"{error}")
        return 1


def work_along(store: SharedStore, name: str, node: int, stop: Stop) -> int:
    """Train a run together with the first node, which has claimed it.

    Args:
        store: The store with the run's folder.
        name: Name of the run.
        node: Number of this node; the first is 0.
        stop: Tells when to stop.

    Returns:
        The exit status.

    Raises:
        FtctlError: The store has no such run, refuses or does not answer, or its checkpoint cannot be
            used on this node.
    """
    placed = _placed(store, name)
    call = await_call(store, name, stop.signals)
    if call is None:
        return STOPPED if stop.asked else 0
    require_same_version(placed)
    with scratch_folder(f"{name}-node-{node}", call.generation) as state:
        run = RunDir(path=state / "runs" / name)
        run.path.mkdir(parents=True)
        fetch_placed(store, placed, run)
        stored = list_run(store, name)
        halvings = fetch_halvings(run, stored)
        _continue_with(call, store, run, placed.fingerprint, stored)
        join_nodes(call, node, _nodes(placed))
        _start(run)
        _await_end(run, stop, lambda: is_on(store, name, call))
        send_halvings(store, run, halvings)
        sys.stdout.write(run.log.read_text(errors="replace") if run.log.exists() else "")
    return STOPPED if stop.asked else 0


def _continue_with(
    call: Call, store: SharedStore, run: RunDir, fingerprint: str, stored: StoredRun
) -> None:
    """Fetch the checkpoint that the first node continues from.

    Raises:
        StoreError: It cannot be used here. From another step, this node would train other weights.
    """
    marks = [one for one in stored.checkpoints if step_of(one) == call.step]
    step, skipped = fetch_checkpoint(store, run, fingerprint, marks)
    if step != call.step:
        why = skipped[0] if skipped else f"the checkpoint of step {call.step} is not in the store"
        raise StoreError(
            f"{why}; the first node continues from it",
            "Give all nodes the same versions of torch, transformers and peft, and the same store.",
        )


def _nodes(placed: PlacedRequest) -> int:
    hardware = placed.request.get("hardware")
    return int(str(hardware.get("nodes", 1))) if isinstance(hardware, dict) else 1


def _placed(store: SharedStore, name: str) -> PlacedRequest:
    placed = read_placed(store, name)
    if placed is None:
        raise StoreError(f"{store.url} has no run {name}", "Check that the folder is shared.")
    return placed


def _train(claim: Claim, placed: PlacedRequest, before: StoredRun, state: Path, stop: Stop) -> int:
    """Fetch what a run needs, and train it."""
    run = RunDir(path=state / "runs" / claim.run)
    run.path.mkdir(parents=True)
    growing = tuple(
        Growing(claim=claim, kind=kind, path=path)
        for kind, path in ((PROGRESS, run.progress), (LOG, run.log))
    )
    made = Work(claim=claim, run=run, fingerprint=placed.fingerprint, growing=growing)
    try:
        require_same_version(placed)
        require_packages()
        fetch_placed(claim.store, placed, run)
        require_quantization(read_request(run).hyperparameters)
        resume(made, before)
        if _nodes(placed) > 1:
            join_nodes(call_nodes(claim, made.saved), 0, _nodes(placed))
        _follow(made, stop)
    except (FtctlError, OSError) as error:
        with run.log.open("a", encoding="utf-8") as log:
            log.write(f"ftctl: {error}\n")
        raise
    finally:
        made.send()
    return _end(made, stop)


def resume(made: Work, before: StoredRun) -> None:
    """Fetch the newest checkpoint, and say what was lost since, and what was spent.

    Args:
        made: The work, with the run's request.
        before: The run before this worker claimed it.

    Raises:
        StoreError: The store does not answer.
        OSError: The disk refuses.
    """
    claim = made.claim
    reported = reported_by_all(claim.store, before)
    lost = reported.lost
    step, skipped = fetch_checkpoint(claim.store, made.run, made.fingerprint, before.checkpoints)
    made.saved, made.halvings = step, fetch_halvings(made.run, before)
    for why in skipped:
        made.say(f"{why}; an earlier one is used, or none")
    if claim.generation > 1:
        again = max(0, reported.step - step)
        lost += again
        begins = f"continues from step {step}" if step else "starts from its beginning"
        made.say(
            f"worker {claim.generation} {begins}; {again} steps are lost",
            steps_lost=again,
            # The training counts on from here: its budget is that of all workers together.
            spent_s=reported.spent_s,
        )
    made.facts = {"workers": claim.generation, "steps_lost": lost}


def _start(run: RunDir) -> None:
    """Start to train in a child of this process, which does not outlive it."""
    lock = try_lock(run.lock)
    if lock is None:
        raise StoreError(f"{run.path} is in use", "Set TMPDIR to a folder of this machine's own.")
    os.environ[BOUND] = str(os.getpid())
    hand_on(lock)
    LocalProcess().submit(run, lock, 1)
    os.close(lock)


def _await_end(run: RunDir, stop: Stop, is_on: Callable[[], bool]) -> None:
    """Wait until the training of another node than the first has ended; end it with that one."""
    workers, asked_s, stopping = LocalProcess(), time.monotonic(), False
    while workers.state(run) is not WorkerState.GONE:
        if stop.asked and not stopping:
            stopping = True
            workers.stop(run, at_once=False)
        if time.monotonic() - asked_s >= _ALONG_S:
            asked_s = time.monotonic()
            if not is_on():
                workers.stop(run, at_once=True)
        time.sleep(_LOOK_S)


def _follow(made: Work, stop: Stop) -> None:
    """Train, and keep the store up to date."""
    claim, run, workers = made.claim, made.run, LocalProcess()
    _start(run)
    asked_s = sent_s = time.monotonic()
    stopping = False
    while workers.state(run) is not WorkerState.GONE:
        now = time.monotonic()
        if claim.is_superseded:
            workers.stop(run, at_once=True)
        elif not stopping and (stop.asked or (now - asked_s >= _ASK_S and _is_asked(claim, run))):
            stopping = True
            workers.stop(run, at_once=False)
        asked_s = now if now - asked_s >= _ASK_S else asked_s
        if now - sent_s >= _SEND_S:
            sent_s = now
            made.send()
        time.sleep(_LOOK_S)


def _is_asked(claim: Claim, run: RunDir) -> bool:
    """Return whether the store asks the worker to stop, for now or for good."""
    try:
        if claim.store.has(key_of(claim.run, CANCEL)):
            run.cancel.touch()
            return True
        return claim.store.has(key_of(claim.run, PAUSE))
    except StoreError:
        return False


def _end(made: Work, stop: Stop) -> int:
    """Record how a run has ended, or release it."""
    claim, run = made.claim, made.run
    if run.cancel.exists() and not run.result.exists():
        write_end(run, "cancelled", "cancelled")
    if run.result.exists():
        record_result(claim, run, made.fingerprint, made.facts, stop.signals)
        claim.ended.set()
        return 0
    if not claim.holds():
        return 0
    if stop.asked or claim.store.has(key_of(claim.run, PAUSE)):
        claim.release()
        return STOPPED
    claim.release("its training ended without a result")
    return 1


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
