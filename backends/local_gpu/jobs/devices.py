"""The devices of this machine, one lock file each: a device works for one process at a time.

The lock files are in a folder that everything this user runs on this machine shares.
"""

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

from backends.lock_files import try_lock

CPU: Final = "cpu"
DEVICE: Final = "FTCTL_DEVICE"
"""Environment variable that names a child's device."""
POLL_S: Final = 0.25
"""Seconds between two attempts of a waiting process to take a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLock:
    """A device that this process has for itself."""

    device: str
    """`cpu`, or the value for CUDA_VISIBLE_DEVICES."""
    handle: int
    """The open lock file; the device is free again once it is closed."""


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Return the devices that may be used: GPUs if there are any, else the CPU."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        # CUDA reads the list up to the first invalid entry, such as -1.
        named = [entry.strip() for entry in chosen.split(",")]
        usable = named[: named.index("-1")] if "-1" in named else named
        return [entry for entry in usable if entry] or [CPU]
    return _gpus() or [CPU]


def acquire(devices: list[str], waiting: Callable[[], None]) -> DeviceLock:
    """Wait until one of the devices is free, and take it.

    Args:
        devices: Result of `visible_devices`.
        waiting: Called between two attempts.
    """
    folder = Path(tempfile.gettempdir()) / f"ftctl-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        for device in devices:
            handle = try_lock(folder / f"{_file_name(device)}.lock")
            if handle is not None:
                return DeviceLock(device=device, handle=handle)
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
