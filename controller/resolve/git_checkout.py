"""A spec and its data as they were at a git revision, in a folder of their own.

The working tree and git's index are not touched. Only files that the spec could mean are copied.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from posixpath import dirname, join, normpath
from tempfile import TemporaryDirectory

from controller.data.sources.globs import has_wildcard
from controller.errors import FtctlError, InvalidInput
from controller.project.project import Project
from controller.spec.load import FOLDER, LoadedSpec, read_spec


@contextmanager
def at_revision(project: Project, name: str, revision: str) -> Iterator[tuple[Path, LoadedSpec]]:
    """Offer a fine-tune as it was declared at a revision, until the block ends.

    Args:
        project: The repository.
        name: The fine-tune.
        revision: As git understands it: `HEAD~3`, a tag, a commit.

    Yields:
        The repository's folder as it was, with the files of this fine-tune, and its spec.

    Raises:
        FtctlError: There is no git, no such revision, or the fine-tune was not there.
        InvalidInput: The spec was wrong then.
    """
    project.state.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=project.state, prefix="revision-") as folder:
        past = _Past(project.root, revision, Path(folder))
        file = f"{FOLDER}/{name}.yaml"
        if file not in past.files:
            remedy = "Use the name that it had there, if it was renamed since."
            raise FtctlError(f"{revision} has no {file}", remedy)
        past.copy([file])
        loaded, problems = read_spec(past.root, past.root / file, file=f"{revision}:{file}")
        if loaded is None:
            raise InvalidInput(problems)
        past.copy([path for path in past.files if _is_wanted(path, loaded)])
        yield past.root, loaded


class _Past:
    """The files of a commit."""

    def __init__(self, root: Path, revision: str, folder: Path) -> None:
        git = shutil.which("git")
        if git is None:
            raise FtctlError("git is not installed here", "Compare without a revision.")
        self._git = [git, "-C", str(root)]
        self._folder = folder / "tree"
        # An index of its own, so that the person's is not touched.
        self._environment = {**os.environ, "GIT_INDEX_FILE": str(folder / "index")}
        commit = self._run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        )
        if commit is None:
            raise FtctlError(
                f"{revision!r} is not a revision that git knows here",
                "Name a commit, a branch or a tag: HEAD~1. A shallow clone needs `git fetch --unshallow`.",
            )
        self._run("read-tree", commit.strip())
        self.root = self._folder / (self._run("rev-parse", "--show-prefix") or "").strip()
        self.files = (self._run("ls-files", "-z") or "").split("\0")[:-1]

    def copy(self, files: list[str]) -> None:
        names = "".join(f"{file}\0" for file in files)
        self._run(
            "checkout-index", "-z", "--stdin", "--force", f"--prefix={self._folder}/", given=names
        )

    def _run(self, *arguments: str, given: str = "") -> str | None:
        done = subprocess.run(
            [*self._git, *arguments],
            input=given,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout if done.returncode == 0 else None


def _is_wanted(file: str, loaded: LoadedSpec) -> bool:
    for source in loaded.spec.data.sources:
        if source.path is None:
            continue
        wanted = normpath(join(FOLDER, source.path))
        while has_wildcard(wanted):
            wanted = dirname(wanted)
        if not wanted or file == wanted or file.startswith(f"{wanted}/"):
            return True
    return False
