import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from backends.local_gpu.jobs.workers.process_identity import describe, is_alive, is_here, reap
from tests import children


def sleeper():
    return children.child(
        [sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
    )


def test_a_living_process_is_told_from_a_dead_one_and_from_a_zombie():
    with sleeper() as child:
        worker = describe(child.pid, 1)
        assert is_alive(worker)
        child.kill()
        deadline = time.monotonic() + 30
        while is_alive(worker):  # not waited for: it stays as a zombie
            assert time.monotonic() < deadline
        assert reap(child.pid) == "SIGKILL"
        assert not is_alive(worker)
        assert reap(child.pid) is None


@pytest.mark.parametrize("change", [{"start": "1"}, {"start": ""}, {"boot": "another"}])
def test_a_process_id_given_to_another_process_is_not_the_worker(change):
    me = describe(os.getpid(), 1)
    assert is_alive(me)
    assert not is_alive(dataclasses.replace(me, **change))


def test_a_process_that_never_was_is_not_alive():
    assert not is_alive(describe(2**22 - 3, 1))


def test_a_child_that_ended_by_itself_was_ended_by_no_signal():
    with children.child([sys.executable, "-S", "-c", "raise SystemExit(3)"]) as child:
        assert os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT).si_status == 3
        assert reap(child.pid) is None


def test_a_living_child_is_not_collected():
    with sleeper() as child:
        assert reap(child.pid) is None
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL


def test_a_worker_is_here_or_elsewhere():
    me = describe(os.getpid(), 2, "cpu")
    assert (me.pid, me.starts, me.device) == (os.getpid(), 2, "cpu")
    assert is_here(me)
    assert not is_here(dataclasses.replace(me, host="there"))


def test_a_worker_recorded_by_an_earlier_version_is_recognised():
    """Clock ticks since the boot, as /proc counts them, were recorded ever since."""
    ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert describe(os.getpid(), 1).start == ticks
