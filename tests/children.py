"""Child processes of tests, ended with the block that started them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


@contextmanager
def child(arguments: Sequence[str | Path], **options) -> Iterator[subprocess.Popen]:
    """Start a process; kill it at the end of the block, however the block ends.

    `subprocess.Popen` alone waits there, for ever if need be: also when the test has failed or
    has taken too long.
    """
    with subprocess.Popen(arguments, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def background(shell, *arguments: str) -> Iterator[subprocess.Popen]:
    """Run an `ftctl` command beside this process, in a shell's repository, with its plug-ins."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{shell.packages}:{ROOT}",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "controller", "--dir", str(shell.root), *arguments]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with child(command, env=environment, **output) as process:
        yield process


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until a condition holds; never for ever."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)
