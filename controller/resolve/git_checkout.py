"""A spec and its data as they were at a git revision, in a folder of their own.

The working tree and git's index are not touched. Only files that the spec could mean are copied.
"""

import filecmp
import os
import shutil
import subprocess
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from posixpath import dirname, join, normpath
from tempfile import TemporaryDirectory

from controller.data.sources.globs import has_wildcard
from controller.errors import FtctlError, InvalidInput
from controller.project.project import Project
from controller.spec.load import FOLDER, LoadedSpec, read_spec

_COMMIT_OF = ("rev-parse", "--verify", "--quiet", "--end-of-options")


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
    with open_revision(project, revision) as past:
        loaded = past.spec(name)
        past.copy_data(loaded)
        yield past.root, loaded


@contextmanager
def open_revision(project: Project, revision: str) -> Iterator["Revision"]:
    """Offer the files of a revision, until the block ends.

    Args:
        project: The repository.
        revision: As git understands it.

    Raises:
        FtctlError: There is no git, or no such revision.
    """
    project.state.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=project.state, prefix="revision-") as folder:
        yield Revision(project, revision, Path(folder))


def commit_of(project: Project, revision: str) -> str:
    """Return the full ID of a revision's commit.

    Raises:
        FtctlError: There is no git, or no such revision.
    """
    text = _run([*_git(project), *_COMMIT_OF, f"{revision}^{{commit}}"], os.environ)
    if text is None:
        raise FtctlError(
            f"{revision!r} is not a revision that git knows here",
            "Name a commit, a branch or a tag: HEAD~1. A shallow clone needs `git fetch --unshallow`.",
        )
    return text.strip()


class Revision:
    """The files of a commit. They are copied when they are asked for."""

    def __init__(self, project: Project, revision: str, folder: Path) -> None:
        """Read the list of files.

        Args:
            project: The repository. If it is offline, no file is fetched from a remote.
            revision: As git understands it.
            folder: An empty folder for the copies.

        Raises:
            FtctlError: There is no git, or no such revision.
        """
        self.commit = commit_of(project, revision)
        self._git = _git(project)
        self._folder = folder / "tree"
        self._revision = revision
        # An index of its own, so that the person's is not touched.
        self._environment = {**os.environ, "GIT_INDEX_FILE": str(folder / "index")}
        if project.offline:
            # A clone with `--filter` would fetch what it left out.
            self._environment["GIT_NO_LAZY_FETCH"] = "1"
        self._run("read-tree", self.commit)
        self.root = self._folder / (self._run("rev-parse", "--show-prefix") or "").strip()
        self._sorted = sorted((self._run("ls-files", "-z") or "").split("\0")[:-1])
        self.files = frozenset(self._sorted)
        self._copied: set[str] = set()

    def spec(self, name: str) -> LoadedSpec:
        """Return the spec of a fine-tune.

        Raises:
            FtctlError: It was not there, or its file is not in this clone.
            InvalidInput: The spec was wrong then.
        """
        file = f"{FOLDER}/{name}.yaml"
        if file not in self.files:
            remedy = "Use the name that it had there, if it was renamed since."
            raise FtctlError(f"{self._revision} has no {file}", remedy)
        if not (self.root / file).exists():
            self.copy_specs([name])
        loaded, problems = read_spec(self.root, self.root / file, file=f"{self._revision}:{file}")
        if loaded is None:
            raise InvalidInput(problems)
        return loaded

    def has_same(self, loaded: LoadedSpec) -> bool:
        """Return True if a spec of the working tree was the same at this revision, byte for byte.

        Its file must have been copied: see `copy_specs`.
        """
        name = f"{FOLDER}/{loaded.name}.yaml"
        try:
            return name in self.files and filecmp.cmp(
                self.root / name, loaded.folder / f"{loaded.name}.yaml", shallow=False
            )
        except OSError:
            return False

    def copy_specs(self, names: Iterable[str]) -> None:
        """Copy the specs of some fine-tunes at once; what was not there is left out."""
        files = (f"{FOLDER}/{name}.yaml" for name in names)
        self._copy([file for file in files if file in self.files])

    def copy_data(self, *specs: LoadedSpec) -> None:
        """Copy the files that specs of this revision could mean; many at once take one process."""
        self._copy([file for loaded in specs for file in self._wanted(loaded)])

    def _wanted(self, loaded: LoadedSpec) -> Iterator[str]:
        for source in loaded.spec.data.sources:
            if source.path is None:
                continue
            wanted = normpath(join(FOLDER, source.path))
            while has_wildcard(wanted):
                wanted = dirname(wanted)
            if wanted in self.files:
                yield wanted
            start = f"{wanted}/" if wanted else ""
            for file in islice(self._sorted, bisect_left(self._sorted, start), None):
                if not file.startswith(start):
                    break
                yield file

    def _copy(self, files: Iterable[str]) -> None:
        missing = sorted({*files} - self._copied)
        if not missing:
            return
        self._copied.update(missing)
        names = "".join(f"{file}\0" for file in missing)
        self._run(
            "checkout-index", "-z", "--stdin", "--force", f"--prefix={self._folder}/", given=names
        )

    def _run(self, *arguments: str, given: str = "") -> str | None:
        return _run([*self._git, *arguments], self._environment, given)


def _git(project: Project) -> list[str]:
    git = shutil.which("git")
    if git is None:
        raise FtctlError("git is not installed here", "Compare without a revision.")
    return [git, "-C", str(project.root)]


def _run(command: list[str], environment: Mapping[str, str], given: str = "") -> str | None:
    done = subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else None
