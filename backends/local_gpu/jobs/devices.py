"""The devices of this machine, one lock file each: a device works for one process at a time.

The files live in a folder shared by everything this user runs here; the kernel releases a lock
when its holder dies, however it dies.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CPU: Final = "cpu"
DEVICE: Final = "FTCTL_DEVICE"
"""Environment variable that tells the real work which device it has."""
POLL_S: Final = 0.25
"""How often a waiting process looks for a free device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A device that this process has for itself."""

    device: str
    """`cpu`, or what CUDA_VISIBLE_DEVICES is to hold."""
    handle: int
    """The open lock file; whoever keeps it open keeps the device."""


def visible(environment: Mapping[str, str]) -> list[str]:
    """Return the devices that may be used: GPUs if there are any, else the CPU."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        # CUDA reads the list up to the first invalid entry, which -1 is.
        named = [entry.strip() for entry in chosen.split(",")]
        usable = named[: named.index("-1")] if "-1" in named else named
        return [entry for entry in usable if entry] or [CPU]
    return _gpus() or [CPU]


def acquire(devices: list[str], waiting: Callable[[], None]) -> Held:
    """Wait until one of the devices is free, and take it.

    Args:
        devices: As `visible` returned them.
        waiting: Called before every look but the first.
    """
    folder = Path(tempfile.gettempdir()) / f"ftctl-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for device in devices:
            handle = os.open(folder / f"{_file_name(device)}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return Held(device=device, handle=handle)
        waiting()
        time.sleep(POLL_S)


def _file_name(device: str) -> str:
    return device if device == CPU else "gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", device)


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=True, timeout=30
        )
    except (subprocess.SubprocessError, OSError):
        return []
    return re.findall(r"^GPU (\d+):", answer.stdout, flags=re.MULTILINE)
