"""Base models that go to a worker: a folder by its digest, or a hub's ID and revision.

A base model that is another fine-tune's adapter merged into its own base goes as these two, which
are small and shared: the worker merges.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from backends.atomic_files import locked, write_atomic
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel
from backends.local_gpu.jobs.run_dir import RunDir, read_request
from backends.local_gpu.json_files import json_bytes, read_json
from backends.local_gpu.machines.scratch import BASES
from backends.local_gpu.machines.shipping import files_of, pull_folder, push_folder
from backends.local_gpu.models.base_models import merge_note, model_folder
from backends.stores.objects import SharedStore
from backends.stores.push import Report

_ANYBODY: Final = "ft1:" + "0" * 64
"""Owner of files that several runs may share."""
_POLL_S: Final = 0.5


def ship_base(store: SharedStore, base: BaseModel, report: Report) -> dict[str, Json]:
    """Write a base model to the store; return how a worker gets it.

    Returns:
        `files` with the digest of a folder, `merge` with a fine-tune's run, or nothing for a model
        of the hub.

    Raises:
        StoreError: The store refuses or does not answer.
        OSError: A file cannot be read.
    """
    if base.revision is not None:
        return {}
    folder = model_folder(base)
    note = read_json(merge_note(folder))
    if note is None:
        return {"files": ship_folder(store, folder, report)}
    run = RunDir(path=folder.parent.parent / "runs" / str(note["run"]))
    return {
        "merge": {
            "run": run.name,
            "request": read_json(run.request) or {},
            "model": ship_folder(store, run.model, report),
            "base": ship_base(store, read_request(run).base_model, report),
        }
    }


def ship_folder(store: SharedStore, folder: Path, report: Report) -> str:
    """Write a folder that several runs may share; return the digest of its manifest."""
    return push_folder(store, _ANYBODY, folder, files_of(folder), report)


def place_base(
    store: SharedStore, shipped: Mapping[str, Any], base: Mapping[str, Any], state: Path
) -> dict[str, Any]:
    """Return a base model as a worker opens it.

    Args:
        store: The store.
        shipped: Result of `ship_base`.
        base: The base model as its own machine knows it.
        state: Folder below which the worker keeps its runs.

    Raises:
        StoreError: Something is missing or damaged, or the store does not answer.
        OSError: The disk refuses.
    """
    name = Path(str(base["reference"])).name
    if "files" in shipped:
        return {**base, "reference": str(place_folder(store, shipped["files"], state, name))}
    if "merge" not in shipped:
        return dict(base)
    merge = shipped["merge"]
    run = RunDir(path=state / "runs" / merge["run"])
    parent = dict(merge["request"])
    parent["base_model"] = place_base(store, merge["base"], parent["base_model"], state)
    pull_folder(store, _ANYBODY, merge["model"], run.model)
    write_atomic(run.request, json_bytes(parent))
    merged = state / "merged" / name
    write_atomic(merge_note(merged), json_bytes({"run": run.name}))
    return {**base, "reference": str(merged)}


def place_folder(store: SharedStore, digest: str, state: Path, name: str) -> Path:
    """Fetch a folder that all workers of this machine share, once."""
    folder = state.parent / BASES / digest.partition(":")[2][:16] / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with locked(folder.parent / "lock") as mine:
            if mine:
                pull_folder(store, _ANYBODY, digest, folder)
                return folder
        time.sleep(_POLL_S)
