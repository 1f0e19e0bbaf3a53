"""Builds that the git history of a repository names: a revert may lead back to them.

Whatever cannot be read stops the command. A build that is taken for unnamed by mistake is deleted.
"""

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from controller.errors import FtctlError, LockfileInvalid
from controller.lockfile.model import parse_lockfile
from controller.lockfile.store import LOCKFILE

DAY_S: Final = 86_400
_NAMED: Final = re.compile(rb'"(?:production|candidate)"\s*:\s*"([^"\s]+)"')
"""A named build in a lockfile that this ftctl cannot read: with conflict markers, or of a newer one."""


def named_in_git(root: Path, days: int) -> set[str]:
    """Return the builds that commits of the last days had in production or as candidate.

    That includes the lockfile of each branch as it was before them, which a revert restores.

    Args:
        root: The repository's folder.
        days: Number of days.

    Raises:
        FtctlError: The history, or a lockfile in it, cannot be read.
    """
    since_s = int(time.time()) - days * DAY_S
    named: set[str] = set()
    for commit in _commits(root, since_s):
        text = _lockfile_at(root, commit)
        if text is None:
            continue
        try:
            lockfile = parse_lockfile(text, LOCKFILE)
        except LockfileInvalid:
            named |= {found.decode(errors="replace") for found in _NAMED.findall(text)}
            continue
        for entry in lockfile.finetunes.values():
            named |= {one for one in (entry.production, entry.candidate) if one is not None}
    return named


def is_shallow(root: Path) -> bool:
    """Return True if a clone lacks the older part of its history."""
    return _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true"


def _commits(root: Path, since_s: int) -> list[str]:
    """Return the commits of the lockfile since a time, and the last of each branch before it."""
    refs = _git(root, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes")
    # Git would leave out a merged branch whose lockfile lost, and everything below a commit of a
    # machine whose clock was slow: `--since` stops there.
    whole = ("--all", "HEAD", "--full-history", "--timestamp", "--", LOCKFILE)
    dated = (line.split() for line in _git(root, "rev-list", *whole).decode().splitlines())
    wanted = [commit for seconds, commit in dated if int(seconds) >= since_s]
    for tip in sorted({"HEAD", *refs.decode().split()}):
        before = ("-n", "1", f"--min-age={since_s}", tip, "--", LOCKFILE)
        wanted += _git(root, "rev-list", *before).decode().split()
    return list(dict.fromkeys(wanted))


def _lockfile_at(root: Path, commit: str) -> bytes | None:
    """Return the lockfile's text in a commit; None if the commit has no lockfile."""
    try:
        return _git(root, "cat-file", "blob", f"{commit}:./{LOCKFILE}")
    except FtctlError:
        if _git(root, "ls-tree", "--name-only", commit, "--", LOCKFILE):
            raise  # it is there, and cannot be read: in a partial clone, for example
        return None


def _git(root: Path, *arguments: str) -> bytes:
    git = shutil.which("git")
    done = (
        None
        if git is None
        else subprocess.run([git, "-C", str(root), *arguments], capture_output=True, check=False)
    )
    if done is None or done.returncode:
        raise FtctlError(
            f"the git history of {root} cannot be read, so nobody knows what it still names",
            "Run the command in a clone with its history: `git fetch --unshallow`.",
        )
    return done.stdout
