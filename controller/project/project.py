"""Paths of a repository on this machine."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from controller.data.sources.source_file import GitBlob

STATE_VARIABLE = "FTCTL_STATE_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One repository of fine-tunes."""

    root: Path
    """Its folder, absolute; `finetunes/` and the lockfile are below it."""
    state: Path
    """Folder for what belongs to this machine and not to git: runs, built datasets, the journal."""
    offline: bool = False
    """True to read data from files of the repository only: no database, no URL, no hub."""
    pull: int | None = None
    """Pull request that a run trains for before its merge; None for the repository itself."""

    @property
    def records(self) -> Path:
        """Folder of the journal. A pull request has its own, and its own lockfile in it."""
        return self.state if self.pull is None else self.state / "pulls" / str(self.pull)

    @property
    def answers(self) -> Path:
        """Folder of the answers of models that this machine keeps."""
        return self.state / "answers"

    @property
    def recorded(self) -> Path:
        """Folder of the answers that `ftctl record` writes to be committed."""
        return self.root / "finetunes" / "recorded"


def open_project(folder: Path) -> Project:
    """Return the repository in a folder.

    The state folder is `.ftctl/` below it, or `$FTCTL_STATE_DIR`: a CI runner sets that, so that
    a fresh checkout does not sweep running jobs away.
    """
    root = folder.resolve()
    state = os.environ.get(STATE_VARIABLE)
    return Project(root=root, state=Path(state).resolve() if state else root / ".ftctl")


def current_commit(root: Path) -> str | None:
    """Return the commit that is checked out, with `-dirty` for local changes; None without git.

    What a run records is not a change of what is declared.
    """
    commit = (_git(root, "rev-parse", "--short=12", "HEAD") or "").strip()
    if not commit:
        return None
    declared = ("finetunes", ":(exclude)finetunes/ftctl.lock")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *declared)
    return f"{commit}-dirty" if changed else commit


def commit_page(root: Path, commit: str) -> str | None:
    """Return the address of a commit's page, by the remote `origin`.

    Returns:
        None without such a remote, if it is not on a web server, or if the commit had local changes.
    """
    remote = (_git(root, "remote", "get-url", "origin") or "").strip()
    match = _REMOTE.fullmatch(remote)
    if match is None or not re.fullmatch(r"[0-9a-f]+", commit):
        return None
    return f"https://{match['host']}/{match['path']}/commit/{commit}"


def known_blobs(root: Path) -> Mapping[Path, GitBlob]:
    """Return what git says of every file that is as git knows it.

    A file is absent if git's record of sizes and times leaves a doubt, and without git all are
    absent: callers then read the files. Git runs at the first look-up only, since reading small
    files takes less time.
    """
    return _Blobs(root)


class _Blobs(Mapping[Path, GitBlob]):
    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _found(self) -> dict[Path, GitBlob]:
        return _ask_for_blobs(self._root)

    def __getitem__(self, path: Path) -> GitBlob:
        return self._found[path]

    def __iter__(self) -> Iterator[Path]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def _ask_for_blobs(root: Path) -> dict[Path, GitBlob]:
    asked_ns = time.time_ns()
    tracked = _git(root, "ls-files", "--stage", "-v", "-z")
    touched = tracked and _git(root, "diff-files", "--name-only", "--relative", "-z")
    if not tracked or touched is None:
        return {}
    doubtful = set(touched.split("\0"))
    found = {}
    for line in tracked.split("\0"):
        match = _PLAIN_FILE.fullmatch(line)
        if match is not None and match["path"] not in doubtful:
            found[root / match["path"]] = GitBlob(id=match["blob"], asked_ns=asked_ns)
    return found


_REMOTE = re.compile(
    r"(?:https://(?:[^/@]+@)?|ssh://(?:[^/@]+@)?|[\w.-]+@)"
    r"(?P<host>[\w-]+(?:\.[\w-]+)+)(?::\d+)?[:/](?P<path>[\w./~-]+?)(?:\.git)?/?"
)
"""A remote of a host that has web pages; a user and password before the host are left out."""
_PLAIN_FILE = re.compile(r"H 100\d+ (?P<blob>[0-9a-f]+) 0\t(?P<path>.+)", re.DOTALL)
"""A file of the index without a flag: none that git was told to leave alone, no link."""


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of git; None where it fails, or is not installed."""
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, "-C", str(root), *arguments], capture_output=True, check=False)
    # Names of files need not be UTF-8, and may begin with a space.
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
