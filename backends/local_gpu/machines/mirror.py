"""The run folder on the machine of ftctl, filled from the store.

It then looks like that of a job that ran here, so that curves, logs, evaluation and export need to
know of no other machine. Only the examples are missing where another machine placed the job.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import locked, publish_dir, write_atomic
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.json_files import json_bytes, parse_json, read_json
from backends.local_gpu.machines.objects import (
    CANCEL,
    LOG,
    PROGRESS,
    RESULT,
    StoredRun,
    key_of,
)
from backends.local_gpu.machines.placed_request import read_placed
from backends.local_gpu.machines.shipping import pull_folder
from backends.stores.objects import SharedStore, StoredObject, StoreError

_SEEN: Final = "mirror.json"
_LOCK: Final = "mirror.lock"


def make_mirror(store: SharedStore, state: Path, name: str) -> RunDir | None:
    """Make the folder of a run that another machine placed.

    Returns:
        The run; None if the store has no request of that name.

    Raises:
        StoreError: The store refuses or does not answer.
        BackendError: A newer ftctl wrote the request.
    """
    run = RunDir(path=state.absolute() / "runs" / name)
    if not run.request.exists():
        placed = read_placed(store, name)
        if placed is None:
            return None
        run.path.mkdir(parents=True, exist_ok=True)
        write_atomic(run.request, json_bytes(placed.request))
    return run


def refresh(store: SharedStore, run: RunDir, stored: StoredRun) -> None:
    """Bring the folder of a run up to date; another process may do it at the same time.

    Args:
        store: The store.
        run: The run.
        stored: The run as the store lists it.

    Raises:
        StoreError: Something is damaged, or the store does not answer.
        OSError: The disk refuses.
    """
    if run.result.exists():
        return
    with locked(run.path / _LOCK) as mine:
        if not mine:
            return
        if stored.has(CANCEL):
            run.cancel.touch()
        seen = read_json(run.path / _SEEN) or {}
        now = {
            kind: _grown(store, path, stored.parts(kind), seen.get(kind, []))
            for kind, path in ((PROGRESS, run.progress), (LOG, run.log))
        }
        if now != seen:
            write_atomic(run.path / _SEEN, json_bytes(now))
        if stored.has(RESULT):
            _take_result(store, run)


def _grown(
    store: SharedStore, path: Path, parts: list[StoredObject], seen: list[list[Any]]
) -> list[list[Any]]:
    """Rewrite a file from its first part that has changed; return what is in it now."""
    now: list[list[Any]] = [[one.key, one.bytes, one.modified_s] for one in parts]
    same = 0
    while same < min(len(now), len(seen)) and now[same] == seen[same]:
        same += 1
    if same == len(now):
        return now
    done = []
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(sum(size for _, size, _ in now[:same]))
        file.truncate()
        for one in parts[same:]:
            data = store.read(one.key) or b""
            file.write(data)
            # It may have grown since it was listed.
            done.append([one.key, len(data), one.modified_s])
        file.flush()
        os.fsync(file.fileno())
    return now[:same] + done


def _take_result(store: SharedStore, run: RunDir) -> None:
    key = key_of(run.name, RESULT)
    ended = parse_json(store.read(key)) or {}
    result = ended.get("result")
    if not isinstance(result, dict):
        raise StoreError(f"{store.url}: {key} is damaged", "Remove that object: the run continues.")
    if ended.get("model") is not None and not run.model.exists():
        incoming = run.path / "incoming"
        owner = str((read_json(run.request) or {}).get("fingerprint"))
        pull_folder(store, owner, str(ended["model"]), incoming)
        shutil.rmtree(run.model, ignore_errors=True)
        publish_dir(incoming, run.model)
    write_atomic(run.result, json_bytes(result))
