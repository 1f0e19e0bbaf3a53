"""The child before it needs torch: it waits for a device, or ends with its reason to wait."""

import json
import os
import subprocess
import sys

import pytest

from backends.local_gpu.jobs.child_process import python_module
from backends.local_gpu.jobs.devices import acquire
from backends.local_gpu.jobs.run_dir import RunDir
from backends.lock_files import try_lock
from tests.children import child

QUEUE = "backends.local_gpu.jobs.device_queue"


@pytest.fixture
def cpu():
    """Hold the only device of these tests."""
    held = acquire(["cpu"], lambda: None)
    yield held
    os.close(held.handle)


@pytest.fixture
def run(tmp_path):
    made = RunDir(path=tmp_path / "0123456789abcdef-1")
    made.path.mkdir()
    made.heartbeat.touch()
    return made


@pytest.mark.usefixtures("cpu")
def test_an_engine_that_waits_ends_with_its_input_and_leaves_nothing(tmp_path):
    folder = tmp_path / "engine"
    folder.mkdir()
    command = python_module(QUEUE, "answer", str(folder))
    with child(command, stdin=subprocess.PIPE) as waiting:
        waiting.stdin.write(b'{"id": 0}\n')
        waiting.stdin.flush()
        # A question that nobody has read does not keep it.
        waiting.stdin.close()
        assert waiting.wait(60) == 1
    assert not folder.exists()


@pytest.mark.usefixtures("cpu")
def test_a_job_that_is_cancelled_while_it_waits_ends_as_cancelled(run, eventually):
    before = run.heartbeat.stat().st_mtime
    with child(python_module(QUEUE, "train", str(run.path))) as waiting:
        eventually(lambda: run.heartbeat.stat().st_mtime > before)
        assert try_lock(run.lock) is None
        assert not run.worker.exists()
        run.cancel.touch()
        assert waiting.wait(60) == 0
    result = json.loads(run.result.read_text())
    assert (result["state"], result["error"]["message"]) == (
        "cancelled",
        "cancelled before it started",
    )


def test_a_second_child_of_a_run_leaves_it_to_the_first(run):
    held = try_lock(run.lock)
    done = subprocess.run(python_module(QUEUE, "train", str(run.path)), timeout=110, check=False)
    os.close(held)
    assert done.returncode == 0
    assert not run.result.exists()
    assert not run.worker.exists()


def test_waiting_needs_no_package_of_the_extra():
    code = (
        f"import sys, {QUEUE}; print(sorted({{'torch', 'numpy', 'pydantic'}} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=110
    )
    assert done.stdout == "[]\n"
