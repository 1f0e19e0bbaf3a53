"""The job of `ftctl doctor --machine`: it looks at a machine from inside, and trains nothing.

`python -m backends.local_gpu.machines.check --store ADDRESS --probe ID`, which a launcher places as it
places workers. It writes one object into the store, in which the machine of ftctl finds what is here.
In a folder that is not the one that ftctl wrote to, it writes nothing. Imports no training package:
torch is asked in a child, which may hang.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, cast

from backends.contract.errors import FtctlError
from backends.contract.inspector import Json
from backends.installation import packages_of
from backends.local_gpu.machines.check.objects import (
    ANSWER,
    ASKED,
    CLOCK,
    CREATED,
    NOT_SHARED,
    probe_key,
)
from backends.local_gpu.machines.claims import say
from backends.local_gpu.machines.scratch import scratch_root
from backends.local_gpu.models.base_models import is_offline
from backends.stores.objects import SharedStore, StoreError
from backends.stores.open_store import open_store

_EXTRA: Final = "local"
_TORCH_S: Final = 90.0
"""Seconds in which torch is loaded; from a folder on a network it takes half a minute."""
_HUB_S: Final = 5.0
_LOOK: Final = """
import json, torch
found = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
print(json.dumps([[one.name, one.total_memory] for one in found]))
"""


def main(arguments: list[str]) -> int:
    """Look at this machine; return the exit status."""
    parser = argparse.ArgumentParser(prog="ftctl check")
    parser.add_argument("--store", required=True)
    parser.add_argument("--probe", required=True)
    parser.add_argument("--node", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        store = cast("SharedStore", open_store(given.store, Path("/"), private=False))
        if not store.has(probe_key(given.probe, ASKED)):
            raise StoreError(f"{store.url} on {socket.gethostname()} {NOT_SHARED}")
        answer = {**_here(), **_of_store(store, given.probe)}
        store.write(probe_key(given.probe, ANSWER), json.dumps(answer).encode())
    except FtctlError as error:
        say(f"{error}")
        return 1
    return 0


def _here() -> dict[str, Json]:
    """Return what is here, whatever the store does."""
    scratch = scratch_root()
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "host": socket.gethostname(),
        "ftctl": version("ftctl"),
        "python": sys.version.split()[0],
        "packages": {name: _version(name) for name in packages_of(_EXTRA)},
        "cpus": len(os.sched_getaffinity(0)),
        "scratch": {"folder": str(scratch), "free_bytes": shutil.disk_usage(scratch).free},
        "hub": _hub(),
        **_devices(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _devices() -> dict[str, Json]:
    """Return the GPUs that torch sees, or why it cannot tell."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _LOOK],
            capture_output=True,
            text=True,
            check=False,
            timeout=_TORCH_S,
        )
    except subprocess.TimeoutExpired:
        return {"gpus": None, "torch": f"it did not answer for {_TORCH_S:.0f} seconds"}
    if done.returncode != 0:
        last = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        return {"gpus": None, "torch": last[-1]}
    return {"gpus": json.loads(done.stdout), "torch": ""}


def _hub() -> str:
    """Return why the hub of models cannot be reached from here; empty if it can."""
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if is_offline():
        return "it is set to stay offline"
    try:
        with urllib.request.build_opener().open(address, timeout=_HUB_S):
            return ""
    except urllib.error.HTTPError:
        return ""  # it answers
    except (OSError, ValueError) as error:
        return f"{address}: {getattr(error, 'reason', error)}"


def _of_store(store: SharedStore, probe: str) -> dict[str, Json]:
    """Return what the store does here, and what the clocks say."""
    key = probe_key(probe, CREATED)
    wrong = ""
    try:
        store.create(key, b"first")
        second = store.create(key, b"second")
        # A repeated request finds the object that its first, unanswered one has made.
        found = store.read(key)
        if found != b"first":
            wrong = "does not keep what it accepts"
        elif second:
            wrong = "accepts the condition to overwrite nothing, and ignores it"
        store.write(key, b"third")
        if store.read(key) != b"third":
            wrong = wrong or "does not replace objects"
        if not any(one.key == key for one in store.find(probe_key(probe, ""))):
            wrong = wrong or "does not list what it has"
    except StoreError as error:
        wrong = error.one_line
    time_s = time.time()
    store.write(probe_key(probe, CLOCK), b"")
    listed = store.find(probe_key(probe, ""))
    clock_s = next((one.modified_s for one in listed if one.key.endswith(f"/{CLOCK}")), None)
    folder = Path(store.url)
    free = shutil.disk_usage(folder).free if folder.is_absolute() else None
    return {"store": wrong, "store_free_bytes": free, "time_s": time_s, "store_time_s": clock_s}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
