"""Machines that run steps: their home folders, programs and caches."""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

from tests.children import child

STEP_S = 300.0


class Image:
    """What every machine has: Python, and the environments that install.py made on another one before."""

    def __init__(self, folder, site=()):
        self.bin = folder / "image-bin"
        self.bin.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (self.bin / "python").symlink_to(sys.executable)
        self.installed = folder / "image-ftctl"
        self.installed.mkdir(exist_ok=True)
        # pip then finds every package of the lock installed, and fetches none.
        self.site = os.pathsep.join([sysconfig.get_path("purelib"), *map(str, site)])


class Machine:
    """A machine: one job at a time. GitHub's own is thrown away afterwards, a person's is kept."""

    def __init__(self, folder, image, environment="github-hosted"):
        self.folder, self.environment = folder, environment
        self.home = folder / "home"
        share = self.home / ".local/share"
        share.mkdir(parents=True)
        (share / "ftctl").symlink_to(image.installed)
        self.image = image
        self.lost = threading.Event()
        self._process = None

    def variables(self):
        """Return the environment variables of every step."""
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        return kept | {
            "PATH": f"{self.image.bin}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "PYTHONPATH": self.image.site,
            "PIP_NO_INDEX": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "OMP_NUM_THREADS": "1",
            "RUNNER_ENVIRONMENT": self.environment,
        }

    def kill(self):
        """Cut the power: the step in hand ends at once, and no other runs, whatever it says."""
        self.lost.set()
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def run(self, script, folder, variables, shell="bash"):
        """Run a step's script as GitHub does; return its exit code and output."""
        assert shell == "bash"
        path = folder.parent / "step.sh"
        path.write_text(script)
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(path)]
        output = folder.parent / "output.txt"
        with output.open("wb") as file:
            started = child(
                command,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with started as self._process:
                try:
                    code = self._process.wait(STEP_S)
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(self._process.pid, signal.SIGKILL)
            self._process = None
        return code, output.read_text(errors="replace")


class Caches:
    """GitHub's cache: folders by key, written once."""

    def __init__(self, folder):
        self.folder = folder
        self.keys = {}

    def restore(self, path, key, prefixes=()):
        """Copy a kept folder to a path; return if the key itself was found."""
        found = [known for known in self.keys if known == key]
        for prefix in prefixes:
            found += sorted(
                (one for one in self.keys if one.startswith(prefix)), key=self.keys.get
            )[-1:]
        if found:
            shutil.copytree(self._place(found[0]), path, symlinks=True, dirs_exist_ok=True)
        return bool(found) and found[0] == key

    def save(self, path, key):
        """Keep a folder under a key."""
        if path.exists() and key not in self.keys:
            shutil.copytree(
                path, self._place(key), symlinks=True, ignore=shutil.ignore_patterns("*.sock")
            )
            self.keys[key] = time.monotonic()

    def _place(self, key) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()[:16]
