"""A stand-in for Python whose children start from a process that has imported the packages."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backends.local_gpu.jobs.child_process import child_environment
from tests.children import ROOT, child


@contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """Start `warm_server.py`, and return the program that stands in for Python until the end.

    Args:
        folder: A folder for the program and its socket.
    """
    address = folder / "socket"
    relay = shlex.join(
        [sys.executable, "-I", "-S", str(ROOT / "tests" / "warm_relay.py"), str(address)]
    )
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {relay} "$@"\n')
    program.chmod(0o755)
    environment = child_environment({**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-m", "tests.warm_server", str(address)]
    with child(command, cwd=ROOT, env=environment, **pipes) as server:
        assert server.stdout.readline() == b"ready\n"
        yield str(program)
