"""Start a Python module as a child process, with the environment that models are computed in."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.installation import install_command
from backends.lock_files import hand_on

_DIE_WITH_PARENT: Final = 1
"""PR_SET_PDEATHSIG of Linux."""
_RUN: Final = "backends.local_gpu.jobs.run_module"
_QUANTIZATION: Final = "bitsandbytes"
_PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


def require_quantization(settings: Mapping[str, Json]) -> None:
    """Require bitsandbytes where settings ask for it, without importing it.

    Args:
        settings: Complete hyperparameters.

    Raises:
        BackendError: It is needed, and not installed.
    """
    wanted = {"quantization": settings.get("quantization"), "optim": settings.get("optim")}
    named = " and ".join(f"`{key}: {value}`" for key, value in wanted.items() if value)
    if named and find_spec(_QUANTIZATION) is None:
        raise BackendError(
            f"{named} needs {_QUANTIZATION}, which this Python does not have",
            install_command("quantization"),
        )


def require_packages() -> None:
    """Require the packages that a child imports, without importing them.

    Raises:
        BackendError: A package is not installed.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise BackendError(
            f"the local-gpu backend needs {', '.join(missing)}, which this Python does not have",
            install_command("local"),
        )


def python_module(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module.

    Args:
        module: Name of the module.
        arguments: Arguments of the module.
    """
    # -P: a `json.py` in the folder where someone types `ftctl` must not become ours.
    return [sys.executable, "-P", "-m", _RUN, module, *arguments]


def spawn(command: list[str], log: Path, lock: int) -> int:
    """Start a child in a session of its own, and leave it running.

    Args:
        command: The program and its arguments.
        log: File to append both outputs to.
        lock: A lock that the child keeps for as long as it lives.

    Returns:
        The process ID.
    """
    hand_on(lock)
    # posix_spawn and not Popen, which warns of a child that is left running.
    return os.posix_spawn(
        command[0],
        command,
        child_environment(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    """Become another program: the process ID, its parent and inherited locks stay.

    Args:
        command: The program and its arguments.
        environment: All its variables.
    """
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted


def die_with_parent(parent: int) -> None:
    """End this process when its parent ends, however that ends; on Linux only.

    Args:
        parent: ID of the parent. If it has ended already, this process ends now.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that a child computes in."""
    return {
        # Every core this process may use; the count decides the bits, so it is recorded too.
        "OMP_NUM_THREADS": str(_usable_cores()),
        # Spinning threads on a shared machine cost up to 17 times the run's time.
        "OMP_WAIT_POLICY": "PASSIVE",
        # cuBLAS computes the same bits twice only with a workspace of fixed size.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        **environment,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def log_tail(path: Path, lines: int = 12) -> list[str]:
    """Return the last lines of a log that are not blank."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def _usable_cores() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
