"""The request to a worker on another machine: an object of the store that names files by digest."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, cast

from backends.atomic_files import write_atomic
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.local_gpu.jobs.run_dir import RunDir, read_request
from backends.local_gpu.json_files import json_bytes, read_json
from backends.local_gpu.machines.bases import place_base, place_folder, ship_base, ship_folder
from backends.local_gpu.machines.objects import REQUEST, key_of
from backends.local_gpu.machines.shipping import pull_folder, push_folder
from backends.stores.objects import SharedStore, StoreError
from backends.stores.push import Report

FORMAT: Final = 1
_VERSION: Final = version("ftctl")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRequest:
    """The request of a run in the store."""

    request: Mapping[str, Json]
    """The run's own `request.json`."""
    data: str
    """Digest of the manifest of the examples."""
    base: Mapping[str, Json]
    """Source of the base model: the result of `ship_base`."""
    adapter: str | None
    """Digest of the manifest of the adapter that is trained on; None for a new one."""
    ftctl: str = _VERSION
    """Version of the ftctl that asks."""
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the run."""
        return str(self.request.get("fingerprint"))


def write_placed(store: SharedStore, run: RunDir, report: Report) -> None:
    """Write what a run needs to the store, unless it is there.

    Raises:
        BackendError: The store has a run of the same name that is another one.
        StoreError: The store refuses or does not answer.
    """
    key = key_of(run.name, REQUEST)
    found = read_placed(store, run.name)
    owner = read_request(run).fingerprint
    if found is None:
        store.create(key, json_bytes(asdict(_shipped(store, run, report))))
        found = read_placed(store, run.name)
    if found is None or found.fingerprint != owner:
        other = "nothing" if found is None else found.fingerprint
        raise BackendError(
            f"{store.url}: {key} is the request of {other}, not of {owner}",
            "Move that folder of the store away, or raise the attempt with `ftctl retry NAME`.",
        )


def read_placed(store: SharedStore, name: str) -> PlacedRequest | None:
    """Return the request of a run in the store; None if there is none.

    Raises:
        StoreError: It is damaged, or the store does not answer.
        BackendError: A newer ftctl wrote it.
    """
    key = key_of(name, REQUEST)
    data = store.read(key)
    if data is None:
        return None
    try:
        raw = json.loads(data)
        if raw["format"] > FORMAT:
            raise BackendError(f"{store.url}: {key} was written by a newer ftctl", "Upgrade ftctl.")
        return PlacedRequest(**raw)
    except (ValueError, TypeError, KeyError) as error:
        message = f"{store.url}: {key} is damaged"
        raise StoreError(message, "Remove that object; the next run writes it anew.") from error


def require_same_version(placed: PlacedRequest) -> None:
    """Require that this worker's ftctl is the one that asks.

    Raises:
        BackendError: It is another version.
    """
    if placed.ftctl != _VERSION:
        raise BackendError(
            f"this machine has ftctl {_VERSION}, and the job was placed by {placed.ftctl}",
            f"Install ftctl {placed.ftctl} there, or write `runtime: wheel` for the machine.",
        )


def fetch_placed(store: SharedStore, placed: PlacedRequest, run: RunDir) -> None:
    """Fill the run folder of a worker from the store.

    Base models lie beside the folders of all workers of this machine, and are fetched once.

    Args:
        store: The store.
        placed: The request.
        run: The run.

    Raises:
        StoreError: Something is missing or damaged, or the store does not answer.
        OSError: The disk refuses.
    """
    data = run.path / "data"
    pull_folder(store, placed.fingerprint, placed.data, data)
    for path in data.iterdir():
        path.replace(run.path / path.name)
    data.rmdir()
    state = run.path.parent.parent
    raw = cast("Mapping[str, Any]", placed.request["base_model"])
    base = place_base(store, placed.base, raw, state)
    if placed.adapter is not None:
        name = Path(str(raw["adapter"])).name
        base["adapter"] = str(place_folder(store, placed.adapter, state, name))
    write_atomic(run.request, json_bytes({**placed.request, "base_model": base}))


def _shipped(store: SharedStore, run: RunDir, report: Report) -> PlacedRequest:
    """Write the files of a run to the store; return its request."""
    request = read_request(run)
    owner, base = request.fingerprint, request.base_model
    names = [path.name for path in (run.train, run.held_out, run.origins)]
    data = push_folder(store, owner, run.path, names, report)
    return PlacedRequest(
        request=read_json(run.request) or {},
        data=data,
        base=ship_base(store, base, report),
        adapter=None if base.adapter is None else ship_folder(store, Path(base.adapter), report),
    )
