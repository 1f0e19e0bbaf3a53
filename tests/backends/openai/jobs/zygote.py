"""A process that has imported everything and forks once for each submission asked for on stdin.

So a submission can be killed at any point without paying for the imports each time. A child may
also kill itself at its nth durable write: `os.fsync`, `os.replace` and `os.unlink` are counted,
and it dies right before or right after one of them.
"""

import json
import os
import signal
import sys
from pathlib import Path

import backends.openai.api.client  # noqa: F401 - imported once, here
from backends.contract.backend import Endpoint
from backends.contract.errors import BackendError
from backends.openai.api.retry_policy import RetryPolicy
from backends.openai.backend import OpenAIBackend
from tests.backends.openai.openai_helpers import QUICK_CHAT, write_request
from tests.backends.openai.servers.fault_server import KEY


def die_at(number, when):
    """Make the nth durable step of this process its last."""
    steps = 0

    def counted(real):
        def step(*arguments, **options):
            nonlocal steps
            steps += 1
            mine = steps == number
            if mine and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*arguments, **options)
            finally:
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)

        return step

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    return lambda: steps


def submit(task):
    steps = die_at(task.get("step", -1), task.get("when"))
    sys.stdin.readline()
    endpoint = Endpoint(name="test", base_url=task["url"])
    backend = OpenAIBackend(
        Path(task["state"]),
        endpoint,
        environment={"OPENAI_API_KEY": KEY},
        retry_policy=RetryPolicy(**task["retry_policy"]),
        retry_settings=QUICK_CHAT,
    )
    try:
        ending = {"job": backend.submit(write_request(Path(task["data"]))).id}
    except BackendError as error:
        ending = {"error": error.message}
    return ending | {"steps": steps()}


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    """Fork for each line; say the child's ID, let it go on a second line, say how it ended."""
    for line in iter(sys.stdin.readline, ""):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(write, json.dumps(submit(json.loads(line))).encode())
            finally:
                os._exit(0)
        os.close(write)
        say(pid)
        os.waitpid(pid, 0)
        with os.fdopen(read) as pipe:
            say(pipe.read() or "{}")


if __name__ == "__main__":
    main()
