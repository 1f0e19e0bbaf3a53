"""A bare repository, a person who pushes to it, and the service that follows it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.children import ROOT, child, until
from tests.servers.hosted_service import KEY, declaration, rows, settings

PEOPLE = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "김민지"), ("EMAIL", "minji@example.com"))
    },
}
LOCKFILE = "finetunes/ftctl.lock"


def git(folder: Path, *arguments: str) -> str:
    """Run git as a person."""
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**os.environ, **PEOPLE},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    ).stdout


class Remote:
    """A bare repository, and the clone of a person."""

    def __init__(self, folder: Path, name: str = "acme/models") -> None:
        self.origin = folder / "server" / f"{name}.git"
        self.person = folder / "person"
        self.origin.parent.mkdir(parents=True)
        git(folder, "init", "-q", "--bare", "--initial-branch=main", str(self.origin))
        git(self.origin, "config", "http.receivepack", "true")
        git(folder, "clone", "-q", str(self.origin), str(self.person))

    @property
    def url(self) -> str:
        return self.origin.as_uri()

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.person / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def merge(self, files: dict[str, str], message: str = "Change a model") -> str:
        """Commit files on top of the branch and push them; return the commit."""
        while True:
            git(self.person, "fetch", "-q", "origin")
            if self.tip:
                git(self.person, "reset", "-q", "--hard", "origin/main")
            self.write(files)
            git(self.person, "add", "--all")
            git(self.person, "commit", "-q", "--allow-empty", "-m", message)
            try:
                git(self.person, "push", "-q", "origin", "HEAD:main")
            except subprocess.CalledProcessError as error:
                if "rejected" not in error.stderr:
                    raise
                continue  # the service pushed first
            return git(self.person, "rev-parse", "HEAD").strip()

    @property
    def tip(self) -> str:
        """Newest commit of the branch."""
        return git(self.origin, "for-each-ref", "--format=%(objectname)", "refs/heads/main").strip()

    def log(self, form: str = "%s") -> list[str]:
        """Return the branch's commits, the newest first."""
        return git(self.origin, "log", f"--format={form}", "main").splitlines()

    def recorded(self) -> dict:
        """Return the entries of the branch's lockfile."""
        listed = git(self.origin, "ls-tree", "--name-only", "main", LOCKFILE)
        if not listed:
            return {}
        return json.loads(git(self.origin, "show", f"main:{LOCKFILE}"))["finetunes"]

    def production(self) -> set[str]:
        """Return the fine-tunes with a model in production, as the branch records it."""
        return {name for name, entry in self.recorded().items() if "production" in entry}


def first_files(server_url: str, count: int = 24) -> dict[str, str]:
    """Return a repository whose fine-tune is trained at a server."""
    return {
        "ftctl.yaml": settings(server_url, server_url),
        "finetunes/data/triage.jsonl": rows(count),
        "finetunes/triage.yaml": declaration("triage"),
    }


class Watching:
    """A service in a process of its own, and its log."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def text(self) -> str:
        return self._log.read_text("utf-8")

    def events(self, kind: str = "") -> list[dict]:
        """Return the events of a kind, or all; a line that is being written is left out."""
        lines = self.text.splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n") and line.startswith("{")]
        return [event for event in found if kind in {"", event.get("type")}]

    def until(self, kind: str, seconds: float = 60.0, count: int = 1) -> list[dict]:
        """Wait for events of a kind."""
        until(lambda: len(self.events(kind)) >= count or self.process.poll() is not None, seconds)
        assert len(self.events(kind)) >= count, self.text
        return self.events(kind)

    def get(self, path: str) -> str:
        """Return a page of the service."""
        address = self.until("started")[0]["address"]
        with urllib.request.urlopen(f"{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def health(self) -> dict:
        return json.loads(self.get("/healthz"))

    def end(self, number: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=seconds)


def command_of(*options: str) -> list[str]:
    """Return the command of a service that answers on a free port."""
    command = [sys.executable, "-m", "controller", "--json", *options]
    return [*command, "reconcile", "--watch", "--port", "0"]


@contextmanager
def watching(folder: Path, url: str | None, *options: str, interval: str = "0.2s", **environment):
    """Run a service until the block ends.

    Args:
        folder: Its state folder is `state` below it.
        url: Of the repository; None to watch `options`' own folder.
        options: Further ones.
        interval: Time between passes.
        **environment: Further variables.
    """
    log = folder / "service.log"
    given = {**os.environ, **PEOPLE, "PYTHONPATH": str(ROOT), "HOSTED_KEY": KEY, "HOME_KEY": KEY}
    given |= {"FTCTL_STATE_DIR": str(folder / "state")} | environment
    source = ["--git", url] if url is not None else []
    command = [*command_of(), *source, "--interval", interval, *options]
    with (
        log.open("w", encoding="utf-8") as output,
        child(command, env=given, cwd=folder, stdout=output, stderr=output) as process,
    ):
        yield Watching(process, log)
