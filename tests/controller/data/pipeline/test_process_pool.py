"""Jobs on all cores: in order, started in either way, and gone when the one that asked is gone."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.data.pipeline.process_pool import WORTH, process_pool
from controller.errors import FtctlError
from tests.children import child


@dataclass(frozen=True)
class Squares:
    """Squares numbers, some slowly."""

    def open(self):
        return lambda number: (time.sleep(0.01 * (number % 3 == 0)), number * number, os.getpid())[
            1:
        ]


@dataclass(frozen=True)
class Dies:
    """Is killed by the system."""

    def open(self):
        return lambda _: os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Writes:
    """Writes files into a folder that somebody may want to remove."""

    folder: Path

    def open(self):
        return lambda number: (time.sleep(0.1), (self.folder / str(number)).touch())


PROGRAM = """
import sys, threading, time
sys.path.insert(0, {folder!r})
from test_process_pool import Squares, Dies
from controller.data.pipeline.process_pool import WORTH, process_pool

if __name__ == "__main__":
    if {threaded}:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    with process_pool(WORTH) as run:
        for number, worker in run(Squares(), range(10**9)):
            if number == 100**2:
                print(worker, flush=True)
                time.sleep(600)
"""


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("size", [0, WORTH])
def test_results_come_in_order(size):
    with process_pool(size) as run:
        results = list(run(Squares(), range(50)))
    assert [square for square, _ in results] == [number * number for number in range(50)]
    if size == 0:
        assert {process for _, process in results} == {os.getpid()}


def test_nothing_is_written_after_an_interruption(tmp_path):
    with suppress(KeyboardInterrupt), process_pool(WORTH) as run:
        for _ in run(Writes(tmp_path), range(100)):
            raise KeyboardInterrupt
    written = set(tmp_path.iterdir())
    time.sleep(0.3)
    assert set(tmp_path.iterdir()) == written


def test_a_worker_that_was_killed_is_said():
    with pytest.raises(FtctlError, match="was killed"), process_pool(WORTH) as run:
        list(run(Dies(), range(5)))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("threaded", [False, True], ids=["forked", "spawned"])
def test_process_pool_end_with_whoever_started_them(tmp_path, threaded):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(folder=str(Path(__file__).parent), threaded=threaded))
    with child([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as asked:
        worker = int(asked.stdout.readline())
        assert is_running(worker)
        # A lock that another thread holds while a process is forked stays held in it for ever.
        assert (b"spawn_main" in Path(f"/proc/{worker}/cmdline").read_bytes()) == threaded
    patience = time.monotonic() + 20
    while is_running(worker):
        assert time.monotonic() < patience, "a worker outlived its parent"
        time.sleep(0.02)
