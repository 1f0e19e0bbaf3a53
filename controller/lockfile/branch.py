"""The lockfile on a branch of records, for repositories whose default branch takes no push from CI."""

import os
import shutil
import subprocess
from pathlib import Path

from controller.errors import LockfileInvalid
from controller.spec.settings import records_branch

_NO_REPOSITORY = b"not a git repository (or any"
"""Message of git about a folder outside of every repository; it says this of no broken repository."""


def read_from_branch(root: Path, file: str) -> bytes | None:
    """Return a file of the branch that `lockfile.branch` names, as it was fetched last.

    Args:
        root: The repository.
        file: Path of the file, from there.

    Returns:
        None without such a setting, without git, or if the branch was never fetched or lacks the file.

    Raises:
        LockfileInvalid: Git cannot read it. Without records, all of it would be trained again.
    """
    branch = records_branch(root)
    git = shutil.which("git")
    if branch is None or git is None:
        return None
    ref = f"refs/remotes/origin/{branch}"
    done = _run(git, root, "cat-file", "blob", f"{ref}:./{file}")
    if done.returncode == 0:
        return done.stdout
    # Git does not tell what is absent from what it cannot read.
    for listing in (
        ("for-each-ref", "--format=%(objectname)", ref),
        ("ls-tree", "--name-only", ref, "--", file),
    ):
        listed = _run(git, root, *listing)
        if _NO_REPOSITORY in listed.stderr or (listed.returncode == 0 and not listed.stdout):
            return None
        if listed.returncode:
            break
    # Why is git's to tell: its words may hold an address with a password.
    message = f"{file}: git cannot read it from the branch {branch}"
    remedy = f"Type `git cat-file blob {ref}:./{file}`, which tells why."
    raise LockfileInvalid(message, remedy)


def _run(git: str, root: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [git, "-C", str(root), *arguments],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
