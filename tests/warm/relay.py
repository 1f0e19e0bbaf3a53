"""What stands in for Python where children shall start warm: see `server.py`.

    python -I -S relay.py SOCKET -P -m RUN_MODULE MODULE ...

Hands the files that it inherited, locks included, to the child, which alone holds them then; hands
SIGTERM on; ends as the child ended.
"""

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

PATIENCE_S = 30.0
MOST_FILES = 64


def wait_until_recorded(record: Path) -> None:
    """Wait until whoever started this process has written its ID down.

    The child, which has another one, does that too, and must be the last to.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (record.exists() and json.loads(record.read_bytes())["pid"] == os.getpid()):
        if time.monotonic() > deadline:
            sys.exit(f"nobody wrote {os.getpid()} into {record}")
        time.sleep(0.005)


def inherited() -> list[int]:
    """Return the open files of this process."""
    files = []
    for number in range(MOST_FILES):
        with suppress(OSError):
            os.fstat(number)
            files.append(number)
    return files


files = inherited()
path, *arguments = sys.argv[1:]
if arguments[4] == "train":
    wait_until_recorded(Path(arguments[5]) / "worker.json")
request = {
    "arguments": arguments,
    "environment": dict(os.environ),
    "folder": str(Path.cwd()),
    "files": files,
}
with socket.socket(socket.AF_UNIX) as server:
    server.connect(path)
    data = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(server, [data], files)
    server.sendall(data[sent:])
    with server.makefile() as answers:
        child = int(answers.readline())
        for file in files[3:]:
            os.close(file)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
        status = int(answers.readline())
if status < 0:
    if -status != signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
