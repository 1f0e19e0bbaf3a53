"""Steps that demos share: ftctl's commands and servers, each printed before it runs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from openai import APIConnectionError, OpenAI

TOKEN = "FTCTL_SERVE_TOKEN"
START_S = 30.0


@contextmanager
def serving(repository: Path, port: int) -> Iterator[OpenAI]:
    """Run `ftctl serve` in a repository until the block ends; yield a client of it."""
    arguments = ["--dir", str(repository), "serve", "--port", str(port)]
    say("ftctl", *arguments)
    process = subprocess.Popen([sys.executable, "-m", "controller", *arguments])
    sdk = OpenAI(base_url=url_of(port), api_key=os.environ[TOKEN], max_retries=0)
    try:
        _wait_for(sdk, process)
        yield sdk
    finally:
        process.terminate()
        process.wait()


def ftctl(repository: Path, *arguments: str) -> int:
    """Run a command of ftctl in a repository; return its exit code."""
    given = ["--dir", str(repository), *arguments]
    say("ftctl", *given)
    return subprocess.run([sys.executable, "-m", "controller", *given], check=False).returncode


def say(*words: str) -> None:
    """Print a command."""
    print(f"\n$ {' '.join(words)}", flush=True)


def url_of(port: int) -> str:
    """Return the address of a server on this machine."""
    return f"http://127.0.0.1:{port}/v1"


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_model_id(repository: Path, name: str) -> str:
    """Return the model ID of a fine-tune in production."""
    command: Sequence[str] = [sys.executable, "-m", "controller", "--dir", str(repository)]
    answer = subprocess.run([*command, "model", name], check=True, capture_output=True, text=True)
    return answer.stdout.strip()


def _wait_for(sdk: OpenAI, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            sdk.models.list()
        except APIConnectionError:
            time.sleep(0.2)
        else:
            return
    sys.exit("the server did not start")
