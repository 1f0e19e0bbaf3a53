"""A real PostgreSQL in a temporary folder, for as long as standard input stays open.

Prints one line of JSON: `url`, and the process's own `pid`. The programs come with the package
`pgserver`. PostgreSQL refuses to run as root, so root lends them to `nobody`.

    python -m tests.servers.postgres_server
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.children import child

ROOT = Path(__file__).parents[2]
OTHER = "nobody"
START_S = 60


def programs(folder: Path) -> Path:
    """Return the folder of the programs, copied for another user who may not enter site-packages."""
    spec = find_spec("pgserver")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install pgserver")
    package = Path(spec.submodule_search_locations[0])
    if os.geteuid() == 0:
        # The libraries that the wheel brings are found beside the package.
        for part in (package, package.with_name("pgserver.libs")):
            if part.exists():
                shutil.copytree(part, folder / "programs" / part.name)
        package = folder / "programs" / package.name
    return package / "pginstall" / "bin"


def serve(folder: Path) -> None:
    installed, user = programs(folder), None
    if os.geteuid() == 0:
        user = OTHER
        os.chown(folder, pwd.getpwnam(OTHER).pw_uid, pwd.getpwnam(OTHER).pw_gid)
    folder.chmod(0o755)
    data = folder / "data"
    environment = {**os.environ, "LC_ALL": "C", "HOME": str(folder)}

    with (folder / "log").open("wb") as said:
        subprocess.run(
            [installed / "initdb", "-D", data, "-U", "postgres", "-A", "trust",
             "-E", "UTF8", "--no-sync"],
            user=user, env=environment, cwd=folder, stdout=said, stderr=said, check=True,
            timeout=110,
        )  # fmt: skip
        rules = data / "pg_hba.conf"
        rules.write_text(f"local all guest scram-sha-256\n{rules.read_text()}")
        postgres = child(
            [installed / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=",
             "-c", "fsync=off"],
            user=user, env=environment, cwd=folder, stdout=said, stderr=said,
        )  # fmt: skip
        with postgres as server:
            wait_until_ready(server, folder)
            url = f"postgresql://postgres@/postgres?host={folder}"
            sys.stdout.write(json.dumps({"url": url, "pid": server.pid}) + "\n")
            sys.stdout.flush()
            sys.stdin.read()
            # Not SIGTERM, which waits for whoever is connected.
            server.send_signal(signal.SIGINT)
            server.wait(START_S)


def wait_until_ready(server: subprocess.Popen, folder: Path) -> None:
    ready = folder / "data" / "postmaster.pid"
    until = time.monotonic() + START_S
    while not (ready.exists() and "ready" in ready.read_text()):
        if server.poll() is not None or time.monotonic() > until:
            sys.exit((folder / "log").read_text())
        time.sleep(0.02)


@contextmanager
def running() -> Iterator[dict]:
    """Start the server for a block; yield what it prints."""
    command = [sys.executable, "-m", "tests.servers.postgres_server"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(command, cwd=ROOT, text=True, **pipes) as server:
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.stdin.close()
            server.wait(START_S)


if __name__ == "__main__":
    # TMPDIR may lie in a folder that only root enters.
    where = "/tmp" if os.geteuid() == 0 else None
    temporary = Path(tempfile.mkdtemp(prefix="pg-", dir=where))
    try:
        serve(temporary)
    except subprocess.CalledProcessError:
        sys.exit((temporary / "log").read_text())
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
