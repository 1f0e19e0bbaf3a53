import os
import subprocess
import sys
from pathlib import Path

from backends.local_gpu.jobs.child_process import (
    child_environment,
    log_tail,
    python_module,
    spawn,
)
from backends.lock_files import try_lock
from tests import children


def test_threads_are_the_users_if_set_and_telemetry_is_off():
    assert child_environment({"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"
    environment = child_environment({"TOKENIZERS_PARALLELISM": "true"})
    assert int(environment["OMP_NUM_THREADS"]) >= 1
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "1"


def test_a_module_runs_without_the_folder_it_is_started_in(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    command = python_module("json.tool", "--compact")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        input="[1, 2]",
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout == "[1,2]\n"


def test_a_spawned_child_writes_to_the_log_and_keeps_the_lock(tmp_path):
    log, lock_file, go = tmp_path / "log.txt", tmp_path / "lock", tmp_path / "go"
    log.write_text("before\n")
    lock = try_lock(lock_file)
    os.mkfifo(go)
    code = (
        "import os, sys; print(os.getsid(0) == os.getpid()); print(sys.stdin.read() == '');"
        f"open({str(go)!r}).close(); sys.exit('bye')"
    )
    pid = spawn([sys.executable, "-S", "-c", code], log, lock)
    os.close(lock)
    assert try_lock(lock_file) is None
    go.open("w").close()
    os.waitpid(pid, 0)
    freed = try_lock(lock_file)
    assert freed is not None
    os.close(freed)
    assert log.read_text() == "before\nTrue\nTrue\nbye\n"


def test_a_killed_holder_releases_its_lock(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from backends.lock_files import try_lock\n"
        "print(try_lock(Path(sys.argv[2])) is not None, flush=True); time.sleep(60)\n"
    )
    file = tmp_path / "lock"
    root = Path(__file__).parents[4]
    arguments = [sys.executable, "-c", code, str(root), str(file)]
    with children.child(arguments, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert try_lock(file) is None
    freed = try_lock(file)
    assert freed is not None
    assert try_lock(file) is None
    os.close(freed)


def test_the_end_of_a_log_is_shown_without_blank_lines(tmp_path):
    log = tmp_path / "log.txt"
    assert log_tail(log) == []
    log.write_bytes(b"".join(b"line %d  \n\n" % n for n in range(5000)) + b"\xff end")
    assert log_tail(log, 3) == ["line 4998", "line 4999", "\ufffd end"]
    # Only the end is read, however long the log is.
    assert len(log_tail(log, 100_000)) < 1500


def test_packages_that_are_not_installed_are_named():
    """A Python without site-packages has none of the training packages."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from backends.contract.errors import BackendError\n"
        "from backends.local_gpu.jobs.child_process import require_packages\n"
        "try: require_packages()\n"
        "except BackendError as error: print(error.message, '|', error.remedy)\n"
    )
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(root)],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert "needs torch, transformers, peft" in done.stdout
    # Such a Python finds no record of an installation either.
    assert "install 'ftctl[local]'" in done.stdout
