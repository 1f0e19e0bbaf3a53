"""Reports, output, checkpoints and the result, which a worker writes into the store."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from backends.atomic_files import write_atomic
from backends.contract.inspector import Json
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.json_files import json_bytes, parse_json, read_json
from backends.local_gpu.machines.claims import Claim, list_run, say
from backends.local_gpu.machines.objects import (
    CHECKPOINTS,
    PART,
    PROGRESS,
    RESULT,
    StoredRun,
    checkpoint_name,
    halvings_name,
    key_of,
    part_name,
    step_of,
)
from backends.local_gpu.machines.shipping import (
    checkpoints_of,
    clear,
    files_of,
    pull_folder,
    push_folder,
)
from backends.local_gpu.training.checkpoints import STATE, checkpoints
from backends.stores.objects import SharedStore, StoreError

_KEPT: Final = 2
"""Checkpoints that stay in the store: the newest may prove to be damaged."""
PATIENCE_S: Final = 3600.0
"""Seconds for which a worker keeps a result that the store does not take."""
AGAIN_S: Final = 5.0
"""Pause between two attempts."""
_LIBRARIES: Final = ("torch", "transformers", "peft")


@dataclass(slots=True, kw_only=True)
class Growing:
    """A file that grows, and its copy in parts in the store.

    Attributes:
        claim: The right to write.
        kind: `PROGRESS` or `LOG`.
        path: The file.
        sent: Bytes of it that are in the store.
    """

    claim: Claim
    kind: str
    path: Path
    sent: int = 0

    def send(self) -> None:
        """Write what the file has gained.

        Raises:
            StoreError: The store refuses or does not answer.
        """
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return
        while self.sent < size:
            part = self.sent // PART
            with self.path.open("rb") as file:
                file.seek(part * PART)
                data = file.read(PART)
            name = part_name(self.kind, self.claim.generation, part)
            self.claim.store.write(key_of(self.claim.run, name), data)
            self.sent = part * PART + len(data)


def send_checkpoint(claim: Claim, run: RunDir, fingerprint: str, newest: int) -> int:
    """Write the newest checkpoint into the store if it is not there, its mark last.

    Args:
        claim: The right to write.
        run: The run.
        fingerprint: Of the run.
        newest: Step of the newest checkpoint in the store.

    Returns:
        The step of the newest checkpoint in the store.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    found = [path for path in checkpoints(run.checkpoints) if (path / STATE).exists()]
    step = int(found[-1].name.rpartition("-")[2]) if found else -1
    if step <= newest:
        return newest
    store = checkpoints_of(claim.store, claim.run)
    try:
        digest = push_folder(store, fingerprint, found[-1], files_of(found[-1]))
    except FileNotFoundError:
        return newest  # a newer one has replaced it
    if not claim.holds():
        return newest
    mark: dict[str, Json] = {"files": digest, "libraries": {**_libraries()}, "time_s": time.time()}
    name = checkpoint_name(step, claim.generation)
    claim.store.write(key_of(claim.run, name), json_bytes(mark))
    # Later ones are of an earlier worker, which this one could not continue: its own are the newest.
    marks = list_run(claim.store, claim.run).checkpoints
    old = [one for one in marks if step_of(one) <= step][_KEPT:]
    claim.store.remove([key_of(claim.run, one) for one in old])
    return step


def fetch_checkpoint(
    store: SharedStore, run: RunDir, fingerprint: str, marks: Sequence[str]
) -> tuple[int, list[str]]:
    """Read the newest checkpoint whose files are whole and whose libraries are those here.

    Args:
        store: The store.
        run: The run folder to put it into.
        fingerprint: Of the run.
        marks: Marks of the checkpoints, newest first.

    Returns:
        Its step, 0 if there is none; and why newer ones were not used.
    """
    skipped = []
    for mark in marks:
        step, data = step_of(mark), store.read(key_of(run.name, mark))
        known = parse_json(data) or {}
        differing = _differing(known.get("libraries"))
        if differing:
            skipped.append(f"the checkpoint of step {step} was written by {differing}")
            continue
        folder = run.checkpoints / f"checkpoint-{step}"
        try:
            pull_folder(checkpoints_of(store, run.name), fingerprint, str(known["files"]), folder)
        except (StoreError, KeyError) as error:
            reason = error.message if isinstance(error, StoreError) else "its mark is damaged"
            skipped.append(f"the checkpoint of step {step} cannot be used: {reason}")
            continue
        return step, skipped
    return 0, skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Sum of the reports of all workers of a run."""

    step: int
    """Step that they have reached."""
    lost: int
    """Steps that were lost before."""
    spent_s: float
    """Seconds of device time that all have used."""


def reported_by_all(store: SharedStore, stored: StoredRun) -> Reported:
    """Return what the workers of a run have reported.

    Args:
        store: The store.
        stored: The run, before the worker that asks.

    Raises:
        StoreError: The store does not answer.
    """
    reached, lost, spent_s = 0, 0, 0.0
    for part in stored.parts(PROGRESS):
        for line in (store.read(part.key) or b"").splitlines():
            value = parse_json(line) or {}
            if isinstance(value.get("step"), int):
                reached = value["step"]
            # A worker that says this continues so many steps before: nobody loses them twice.
            again = value.get("steps_lost", 0)
            reached, lost = reached - again, lost + again
            used_s = value.get("spent_s")
            spent_s = max(spent_s, used_s) if isinstance(used_s, int | float) else spent_s
    return Reported(step=reached, lost=lost, spent_s=spent_s)


def send_halvings(store: SharedStore, run: RunDir, known: int) -> int:
    """Mark in the store how often the batches of a run were halved, if that is news.

    Args:
        store: The store.
        run: The run, on the node that ran out of memory or on another.
        known: Halvings that the store has.

    Returns:
        Halvings that the store has now.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    count = int((read_json(run.halvings) or {}).get("halvings", 0))
    if count > known:
        store.create(key_of(run.name, halvings_name(count)), b"")
    return max(count, known)


def fetch_halvings(run: RunDir, stored: StoredRun) -> int:
    """Let a training begin with batches that were halved as often as before; return how often."""
    if stored.halvings:
        write_atomic(run.halvings, json_bytes({"halvings": stored.halvings}))
    return stored.halvings


def send_result(claim: Claim, run: RunDir, fingerprint: str, facts: Mapping[str, Json]) -> bool:
    """Write the model of an ended run and then its result; what only a resumption needs goes.

    Args:
        claim: The right to write.
        run: The run, which has a result.
        fingerprint: Of the run.
        facts: Facts of the placement, which are added to those of the training.

    Returns:
        False if a newer claim was seen: nothing was recorded.

    Raises:
        StoreError: The store refuses or does not answer.
    """
    result = read_json(run.result) or {}
    files = None
    if result.get("state") == "succeeded":
        result["facts"] = {**result.get("facts", {}), **facts}
        files = push_folder(claim.store, fingerprint, run.model, files_of(run.model))
    if not claim.holds():
        return False
    ended = {"result": result, "model": files, "generation": claim.generation}
    key, data = key_of(claim.run, RESULT), json_bytes(ended)
    # A repeated request finds the result that its first, unanswered one has made.
    made = claim.store.create(key, data) or claim.store.read(key) == data
    if made:
        marks = [one.key for one in claim.store.find(key_of(claim.run, CHECKPOINTS))]
        claim.store.remove(marks)
        clear(checkpoints_of(claim.store, claim.run))
    return made


def record_result(
    claim: Claim,
    run: RunDir,
    fingerprint: str,
    facts: Mapping[str, Json],
    asked_to_stop: Sequence[int],
) -> bool:
    """Do as `send_result`; ask a store that does not answer again and again for an hour.

    What was trained since the last checkpoint is on this machine alone until then.

    Args:
        claim: The right to write.
        run: The run, which has a result.
        fingerprint: Of the run.
        facts: Facts of the placement.
        asked_to_stop: Signals that this worker has received; after one, it waits no longer.

    Raises:
        StoreError: The store still refuses or does not answer.
    """
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return claim.holds() and send_result(claim, run, fingerprint, facts)
        except StoreError as error:
            if asked_to_stop or time.monotonic() > deadline:
                raise
            say(f"the result is not recorded yet: {error.message}")
            time.sleep(AGAIN_S)


def _libraries() -> dict[str, str]:
    """Return the versions of the packages that write checkpoints, without their builds."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def _differing(written: object) -> str:
    """Return which libraries wrote a checkpoint, if others are here; empty if they are the same."""
    here = _libraries()
    if not isinstance(written, dict) or written == here:
        return ""
    return ", ".join(
        f"{name} {was} (here: {here.get(name, 'none')})"
        for name, was in written.items()
        if here.get(name) != was
    )
