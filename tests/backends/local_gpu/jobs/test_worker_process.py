import dataclasses
import os
import signal
import sys
import time

from backends.local_gpu.jobs.worker_process import alive, child_environment, describe, reap, stop
from tests.children import child


def sleeper():
    return child([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)


def test_a_living_process_is_told_from_a_dead_one_and_from_a_zombie(tmp_path):
    with sleeper() as asleep:
        worker = describe(asleep.pid, 1)
        assert alive(worker, tmp_path / "none")
        asleep.kill()
        deadline = time.monotonic() + 5
        while alive(worker, tmp_path / "none"):  # not waited for: it stays as a zombie
            assert time.monotonic() < deadline
        assert reap(asleep.pid) == "SIGKILL"
        assert not alive(worker, tmp_path / "none")


def test_a_process_id_given_to_another_process_is_not_the_worker(tmp_path):
    me = describe(os.getpid(), 1)
    assert alive(me, tmp_path / "none")
    assert not alive(dataclasses.replace(me, start="1"), tmp_path / "none")
    assert not alive(dataclasses.replace(me, boot="another"), tmp_path / "none")
    assert not alive(describe(2**22 - 3, 1), tmp_path / "none")


def test_on_another_host_the_heartbeat_tells(tmp_path):
    there = dataclasses.replace(describe(os.getpid(), 1), host="there", start="1")
    beat = tmp_path / "heartbeat"
    assert alive(there, beat)  # just started: its first beat may still come
    assert not alive(dataclasses.replace(there, started_s=0.0), beat)
    beat.touch()
    assert alive(there, beat)
    os.utime(beat, (time.time() - 121, time.time() - 121))
    assert not alive(there, beat)


def test_only_the_worker_itself_is_signalled(tmp_path):
    with sleeper() as asleep:
        worker = describe(asleep.pid, 1)
        stop(dataclasses.replace(worker, start="1"), tmp_path / "none", signal.SIGKILL)
        stop(dataclasses.replace(worker, host="there"), tmp_path / "none", signal.SIGKILL)
        assert asleep.poll() is None
        stop(worker, tmp_path / "none", signal.SIGKILL)
        assert asleep.wait(5) == -signal.SIGKILL


def test_threads_are_the_users_if_set_and_telemetry_is_off():
    assert child_environment({"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"
    environment = child_environment({"TOKENIZERS_PARALLELISM": "true"})
    assert int(environment["OMP_NUM_THREADS"]) >= 1
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "1"
