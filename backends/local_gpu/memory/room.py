"""The memory of a device, read without torch."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from backends.local_gpu.jobs.devices import CPU, CPU_DEVICES, is_cpu

_CGROUPS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_HALF_FROM: Final = 8.0
"""Compute capability from which a GPU computes in bfloat16."""
_CONTEXT: Final = {"cpu": 450 * 2**20, "gpu": 600 * 2**20}
"""Bytes that Python and torch take of a device, by its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory of a device."""

    device: str
    """Result of `visible_devices`."""
    size: int
    """All bytes."""
    half: bool
    """True if the device computes in bfloat16 unless told otherwise."""

    @property
    def process(self) -> int:
        """Bytes that a training's process takes before it loads a model."""
        return _CONTEXT["cpu" if is_cpu(self.device) else "gpu"]

    @property
    def usable(self) -> int:
        """Bytes that models and activations may use."""
        return self.size - self.process


def least_room(devices: list[str], gpus: int) -> Room | None:
    """Return the memory of the device that a job may run on; of several, that with the least.

    Args:
        devices: Result of `visible_devices`.
        gpus: Devices of the job.
    """
    rooms = [room_of(device) for device in (devices if gpus > 1 else devices[:1])]
    known = [room for room in rooms if room is not None]
    return min(known, key=lambda room: room.size) if len(known) == len(rooms) else None


@cache
def room_of(device: str) -> Room | None:
    """Return the memory of a device; None where it is not known.

    Args:
        device: Result of `visible_devices`.
    """
    if device == CPU:
        size = _machine()
        return None if size is None else Room(device=device, size=size, half=False)
    if is_cpu(device):
        return _stand_in(device)
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = ["--query-gpu=memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            [program, f"--id={device}", *query],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        size_mib, capability = answer.stdout.splitlines()[0].split(",")
        return Room(
            device=device,
            size=int(float(size_mib) * 2**20),
            half=float(capability) >= _HALF_FROM,
        )
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None


def _stand_in(device: str) -> Room | None:
    """Return the memory of a device that the CPU stands for."""
    sizes, place = os.environ.get(CPU_DEVICES, "").split(","), int(device.partition(":")[2])
    try:
        return Room(device=device, size=int(float(sizes[place]) * 2**20), half=False)
    except (IndexError, ValueError):
        return None


def _machine() -> int | None:
    """Return the bytes of this machine's memory, or of the part that its container may use."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
    for path in map(Path, _CGROUPS):
        try:
            size = min(size, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return size
