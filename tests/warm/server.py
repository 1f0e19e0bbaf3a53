"""A process that has imported the training packages and forks a child for each start asked for.

Importing them takes seconds, each time anew, and far longer than training a tiny model. Each child
is what `python -P -m RUN_MODULE MODULE ...` would be: a process of its own with the arguments, environment,
folder and files of `relay.py`, which stands in for Python and waits for it.

    python -m tests.warm.server SOCKET

Ends when its standard input is closed.
"""

import fcntl
import gc
import json
import os
import runpy
import select
import socket
import sys
import tempfile
import traceback
import warnings
from typing import NoReturn

from backends.local_gpu.export import export_worker
from backends.local_gpu.inference import engine_worker
from backends.local_gpu.jobs import device_queue, ranks, run_module
from backends.local_gpu.training import train

MODULES = {module.__name__ for module in (engine_worker, train, device_queue, export_worker, ranks)}
"""What children become; imported here, once."""
SIZE = 1 << 20
MOST_FILES = 64
ABOVE = 256


def run(arguments: list[str]) -> NoReturn:
    """Do what Python does with `-P -m RUN_MODULE MODULE ...`, and end as it would."""
    safe, as_module, runs, name, *rest = arguments
    assert (safe, as_module, runs) == ("-P", "-m", run_module.__name__)
    assert name in MODULES
    sys.argv = [name, *rest]
    status = 1
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def become(_program: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Take the place of `os.execve`: the packages stay imported."""
    os.environ.clear()
    os.environ.update(environment)
    # Found once and kept, from the environment of the process that forked.
    tempfile.tempdir = None
    run(arguments[1:])


def live(request: dict, files: list[int]) -> NoReturn:
    """Be the child."""
    os.setsid()
    # Out of the way first: a number that is wanted may be in use.
    moved = [fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, ABOVE) for file in files]
    for file in files:
        os.close(file)
    for number, file in zip(request["files"], moved, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.execve = become
    arguments = request["arguments"]
    become("", ["", *arguments], request["environment"])


def attend(connection: socket.socket) -> NoReturn:
    """Start a child, say its ID, wait for it, and say how it ended."""
    message, files, _, _ = socket.recv_fds(connection, SIZE, MOST_FILES)
    while not message.endswith(b"\n"):
        message += connection.recv(SIZE)
    pid = os.fork()
    if pid == 0:
        connection.close()
        live(json.loads(message), files)
    # The child alone holds them, so that a lock is free as soon as the child is gone.
    for file in files:
        os.close(file)
    connection.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def main(path: str) -> NoReturn:
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")
    attending: list[int] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        # A search for cycles in a child would make it copy nearly all of this process's memory.
        gc.freeze()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                # Taking torch down in good order takes long.
                os._exit(0)
            connection, _ = listener.accept()
            attending = [pid for pid in attending if os.waitpid(pid, os.WNOHANG) == (0, 0)]
            pid = os.fork()
            if pid == 0:
                listener.close()
                attend(connection)
            attending.append(pid)
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
