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
CPU_DEVICES: Final = "FTCTL_CPU_DEVICES"
"""Environment variable: memory in MiB of each device that the CPU stands for, such as `4096,4096`.
With it, jobs on several devices can be tried on a machine without GPUs."""
DEVICE: Final = "FTCTL_DEVICE"
"""Environment variable that names a child's device."""
POLL_S: Final = 0.25
"""Seconds between two attempts of a waiting process to take a device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLock:
    """A device that this process has for itself."""

    device: str
    """`cpu`, the place of a device that the CPU stands for, or the value for CUDA_VISIBLE_DEVICES."""
    handle: int
    """The open lock file; the device is free again once it is closed."""


def is_cpu(device: str) -> bool:
    """Return True if a device, or a list of devices, is the CPU."""
    return device.partition(":")[0] == CPU


def visible_devices(environment: Mapping[str, str]) -> list[str]:
    """Return the devices that may be used: GPUs if there are any, else the CPU."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        # CUDA reads the list up to the first invalid entry, such as -1.
        named = [entry.strip() for entry in chosen.split(",")]
        usable = named[: named.index("-1")] if "-1" in named else named
        return [entry for entry in usable if entry] or _cpus(environment)
    return _gpus() or _cpus(environment)


def too_few(gpus: int, devices: list[str]) -> tuple[str, str] | None:
    """Return why devices are too few for a job, and what to do; None if they are enough.

    Args:
        gpus: Devices that the job needs.
        devices: Result of `visible_devices`.
    """
    if gpus <= len(devices):
        return None
    if devices == [CPU]:
        there, fewer = "no GPU that can be used", 1
    else:
        are = "is" if len(devices) == 1 else "are"
        there, fewer = f"{len(devices)}, which {are} {', '.join(devices)}", len(devices)
    return (
        f"hardware.gpus is {gpus}, and this machine has {there}",
        (
            f"Write `hardware: {{gpus: {fewer}}}`, which trains the same build, or run the command "
            "where the GPUs are. CUDA_VISIBLE_DEVICES limits the GPUs that can be used."
        ),
    )


def acquire(devices: list[str], waiting: Callable[[], None]) -> DeviceLock:
    """Wait until one of the devices is free, and take it.

    Args:
        devices: Result of `visible_devices`.
        waiting: Called between two attempts.
    """
    return acquire_several(devices, 1, waiting)[0]


def acquire_several(
    devices: list[str], count: int, waiting: Callable[[], None]
) -> list[DeviceLock]:
    """Wait until some devices are free, and take them all at once.

    Nobody who waits holds a device, so jobs that wait for each other's devices cannot exist. Who
    waits for several reserves the devices: jobs for a single device, which could always come first,
    take none of these until then.

    Args:
        devices: Result of `visible_devices`.
        count: Number of devices to take; no more than there are.
        waiting: Called between two attempts.
    """
    folder = Path(tempfile.gettempdir()) / f"ftctl-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    reserved: list[int] = []
    while True:
        if count > 1 and not reserved:
            reserved = _reserve(folder, devices)
        held = _free(folder, devices, count, is_reserved=bool(reserved))
        if len(held) == count:
            for handle in reserved:
                os.close(handle)
            return held
        for one in held:
            os.close(one.handle)
        waiting()
        time.sleep(POLL_S)


def _reserve(folder: Path, devices: list[str]) -> list[int]:
    """Return the locks of a reservation; none if another process has reserved a device."""
    handles: list[int] = []
    # All processes go by the same order, so of two that meet, one succeeds.
    for device in sorted(devices):
        handle = try_lock(folder / f"{_file_name(device)}.reserved")
        if handle is None:
            for other in handles:
                os.close(other)
            return []
        handles.append(handle)
    return handles


def _free(folder: Path, devices: list[str], count: int, *, is_reserved: bool) -> list[DeviceLock]:
    """Take up to some free devices: those that this process has reserved, or one that nobody has."""
    if count > 1 and not is_reserved:
        return []
    held: list[DeviceLock] = []
    for device in devices:
        if len(held) == count:
            break
        reservation = None if is_reserved else try_lock(folder / f"{_file_name(device)}.reserved")
        if reservation is None and not is_reserved:
            continue
        handle = try_lock(folder / f"{_file_name(device)}.lock")
        if reservation is not None:
            os.close(reservation)
        if handle is not None:
            held.append(DeviceLock(device=device, handle=handle))
    return held


def _file_name(device: str) -> str:
    if is_cpu(device):
        return device.replace(":", "-")
    return "gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", device)


def _cpus(environment: Mapping[str, str]) -> list[str]:
    sizes = environment.get(CPU_DEVICES)
    return [f"{CPU}:{place}" for place, _ in enumerate(sizes.split(","))] if sizes else [CPU]


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
