"""A stand-in for Python whose children start from a process that has imported the packages."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from backends.local_gpu.jobs.child_process import child_environment
from tests.children import ROOT, child, until

START_S = 100.0


@contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """Start `server.py`, and return the program that stands in for Python until the end.

    Args:
        folder: A folder for the program and its socket.
    """
    program = _program(folder)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(_command(folder), cwd=ROOT, env=_environment(), **pipes) as server:
        assert server.stdout.readline() == b"ready\n"
        yield str(program)


def shared_warm_python(folder: Path, alive: Path) -> str:
    """Start `server.py` unless another process has; return the program as above.

    Args:
        folder: A folder for the program and its socket, the same for all who share it.
        alive: A named pipe; the server ends when nobody holds it open for writing any more.
    """
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            folder.mkdir()
            program = _program(folder)
            output = folder / "output"
            # No child of this process, which may end first.
            line = '"$@" <"$0" >output &'
            run = ["sh", "-c", f"cd {shlex.quote(str(folder))}; {line}", str(alive)]
            environment = {**_environment(), "PYTHONPATH": str(ROOT)}
            subprocess.run([*run, *_command(folder)], env=environment, check=True, timeout=START_S)
            until(lambda: output.exists() and output.read_text() == "ready\n", START_S)
            return str(program)
    return str(folder / "python")


def _program(folder: Path) -> Path:
    relay = shlex.join(
        [
            sys.executable,
            "-I",
            "-S",
            str(ROOT / "tests" / "warm" / "relay.py"),
            str(folder / "socket"),
        ]
    )
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {relay} "$@"\n')
    program.chmod(0o755)
    return program


def _command(folder: Path) -> list[str]:
    run = [sys.executable, "-m", "backends.local_gpu.jobs.run_module"]
    return [*run, "tests.warm.server", str(folder / "socket")]


def _environment() -> dict[str, str]:
    return child_environment({**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
