"""Memory and speed of a model's way to a store and back, with the store in a process of its own.

    python tests/benchmarks/store.py --gigabytes 2 --kind s3
    python tests/benchmarks/store.py --gigabytes 2 --kind folder

The child that pushes, and the one that pulls, do what `ftctl` does: with everything imported that
the command line imports. Printed are seconds, megabytes per second, and the child's peak of
resident memory before and after the transfer. Exit code 1 if a peak reaches 150 MB.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Final

from backends.stores.manifest import Manifest
from backends.stores.objects import BUILDS
from backends.stores.pull import pull_files, read_manifest
from backends.stores.push import push_files
from controller.spec.sections.store import StoreSettings
from controller.store.declared import open_declared
from controller.store.progress import unreported
from tests.servers.s3_server import BUCKET, KEYS

ROOT: Final = Path(__file__).parents[2]
LIMIT_MB: Final = 150
_BLOCK: Final = 4 << 20
FINGERPRINT: Final = f"ft1:{'c' * 64}"
_SERVER: Final = """
import sys
from tests.servers.s3_server import s3_server
with s3_server() as address:
    print(address, flush=True)
    sys.stdin.read()
"""


def peak_mb() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def transfer(way: str, url: str, folder: Path) -> None:
    """Push or pull one model in this process; print figures as JSON."""
    import_module("controller.cli.store")  # as much memory as the command has
    store = open_declared(StoreSettings(url=url), folder)
    before_mb, began_s = peak_mb(), time.monotonic()
    if way == "push":
        empty = Manifest(
            fingerprint=FINGERPRINT, attempt=1, backend="local-gpu", model_id="ft:a", files=()
        )
        digest, made = push_files(store, BUILDS, empty, folder, ["weights"], unreported)
        (folder / "digest").write_text(digest)
    else:
        digest = (folder / "digest").read_text()
        made = read_manifest(store, BUILDS, FINGERPRINT, digest)
        pull_files(store, made, folder / "in", unreported)
    seconds = time.monotonic() - began_s
    print(
        json.dumps(
            {
                "way": way,
                "seconds": round(seconds, 1),
                "mb_per_s": round(made.bytes / 1e6 / seconds),
                "peak_mb_before": round(before_mb),
                "peak_mb": round(peak_mb()),
            }
        )
    )


def measure(url: str, folder: Path, environment: dict[str, str]) -> bool:
    """Push and pull in children; return whether both kept to the limit."""
    fits = True
    for way in ("push", "pull"):
        done = subprocess.run(
            [sys.executable, __file__, "--child", way, "--url", url, "--folder", str(folder)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            check=True,
        )
        found = json.loads(done.stdout)
        print(json.dumps(found), flush=True)
        fits = fits and found["peak_mb"] < LIMIT_MB
    return fits


def main() -> int:
    """Measure one kind of store."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--gigabytes", type=float, default=2.0)
    options.add_argument("--kind", choices=("s3", "folder"), default="s3")
    options.add_argument("--folder", type=Path)
    options.add_argument("--child", choices=("push", "pull"))
    options.add_argument("--url")
    asked = options.parse_args()
    if asked.child:
        transfer(asked.child, asked.url, asked.folder)
        return 0
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        with (folder / "weights").open("wb") as file:
            for _ in range(round(asked.gigabytes * 1e9) // _BLOCK):
                file.write(os.urandom(_BLOCK))
        if asked.kind == "folder":
            (folder / "shared").mkdir()
            return int(not measure(str(folder / "shared"), folder, environment))
        command = [sys.executable, "-c", _SERVER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as server:
            try:
                environment["AWS_ENDPOINT_URL"] = server.stdout.readline().strip()
                return int(not measure(f"s3://{BUCKET}/bench", folder, environment))
            finally:
                server.kill()


if __name__ == "__main__":
    sys.exit(main())
