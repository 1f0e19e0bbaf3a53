"""Child processes of tests, ended with the block that started them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
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
def background(root: Path, packages: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """Run an `ftctl` command beside this process, with the plug-ins of a folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{packages}:{ROOT}",
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "controller", "--dir", str(root), *arguments]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with child(command, env=environment, **output) as process:
        yield process
