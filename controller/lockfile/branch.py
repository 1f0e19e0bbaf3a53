"""The lockfile on a branch of records, for repositories whose default branch takes no push from CI."""

import shutil
import subprocess
from pathlib import Path

from controller.spec.settings import records_branch


def read_from_branch(root: Path, file: str) -> bytes | None:
    """Return a file of the branch that `lockfile.branch` names, as it was fetched last.

    Args:
        root: The repository.
        file: Path of the file, from there.

    Returns:
        None without such a setting, without git, or if the branch was never fetched or lacks the file.
    """
    branch = records_branch(root)
    git = shutil.which("git")
    if branch is None or git is None:
        return None
    name = f"refs/remotes/origin/{branch}:./{file}"
    done = subprocess.run(
        [git, "-C", str(root), "cat-file", "blob", name], capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else None
