"""The service's own clone: made, fetched, and brought to a commit.

A kill at any moment leaves what the next start continues.

`HEAD` is the newest commit of the branch that the clone was brought to. The lockfile in the working
tree may be newer: its records were not pushed yet. Before the working tree is changed, the ref
`refs/ftctl/checkout` names the commit that it is changed to, with every record in it; a start that
finds this ref finishes the change first. So neither half a lockfile nor half a commit is ever read.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from controller.errors import FtctlError
from controller.lockfile.pulls import REFSPEC
from controller.spec.load import FOLDER
from controller.spec.settings import FILE as SETTINGS
from controller.watch.clone.git import Git, GitFailed
from controller.watch.clone.upstream import Upstream
from controller.watch.mask import masked

_PENDING = "refs/ftctl/checkout"
_FOLLOWS = "ftctl.follows"
"""Setting of the clone: what it follows. It also tells the service's clone from one of a person."""
_INDEX = "ftctl-index"
_MESSAGE = "Record fine-tunes"
_OTHER_FORMAT = re.compile(r"mismatched algorithms: client \w+; server (sha1|sha256)\b")
_MOST_NAMED = 20
"""Fine-tunes that a commit's message names at most."""
_MAY_STAY = frozenset({".git", ".ftctl"})
_STALE = (
    *("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "config.lock", "packed-refs.lock"),
    *("packed-refs.new", "shallow.lock", f"{_INDEX}.lock"),
)
"""Files that a killed git leaves, and that stop every later one; the same of each reference."""
_IDENTITY = {
    "GIT_AUTHOR_NAME": "ftctl",
    "GIT_AUTHOR_EMAIL": "ftctl@localhost",
    "GIT_COMMITTER_NAME": "ftctl",
    "GIT_COMMITTER_EMAIL": "ftctl@localhost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The clone of a branch. Nobody else changes it."""

    git: Git
    upstream: Upstream

    @property
    def _remote(self) -> str:
        return f"refs/remotes/origin/{self.upstream.branch}"

    @property
    def root(self) -> Path:
        """Folder with `finetunes/`."""
        return self.git.folder / self.upstream.folder

    @property
    def head(self) -> str | None:
        """Commit of the branch that the working tree was brought to; None in a new clone."""
        return _line(self.git.read("rev-parse", "--verify", "--quiet", "HEAD^{commit}"))

    @property
    def tip(self) -> str | None:
        """Newest commit of the branch, as it was fetched or pushed last; None before."""
        return _line(
            self.git.read("rev-parse", "--verify", "--quiet", f"{self._remote}^{{commit}}")
        )

    def fetch(self) -> str:
        """Fetch the branch, and what was trained for pull requests; return the branch's newest commit.

        Raises:
            GitFailed: There is no answer, no permission, or no such branch.
        """
        branch = f"+refs/heads/{self.upstream.branch}:{self._remote}"
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--prune")
        try:
            self.git.ask("fetch", *quiet, "origin", branch, REFSPEC)
        except GitFailed as error:
            if not self._takes_format_of(error):
                raise
            self.git.ask("fetch", *quiet, "origin", branch, REFSPEC)
        return self.git.run("rev-parse", "--verify", f"{self._remote}^{{commit}}")

    def _takes_format_of(self, error: GitFailed) -> bool:
        """Give a new clone the server's kind of digests, if that is why it cannot fetch."""
        found = _OTHER_FORMAT.search(error.message)
        if found is None or self.head is not None or self.tip is not None:
            return False
        self.git.run("config", "--local", "core.repositoryFormatVersion", "1")
        self.git.run("config", "--local", "extensions.objectFormat", found[1])
        return True

    def push(self, commit: str) -> None:
        """Push a commit to the branch; never by force.

        Raises:
            GitFailed: Another push came first, there is no permission, or no answer.
        """
        self.git.ask("push", "--quiet", "origin", f"{commit}:refs/heads/{self.upstream.branch}")

    def remove_reference(self, reference: str, commit: str) -> None:
        """Remove a reference from the server and from the clone, if it still names a commit.

        Raises:
            GitFailed: It names another one by now, there is no permission, or no answer.
        """
        lease = f"--force-with-lease={reference}:{commit}"
        self.git.ask("push", "--quiet", lease, "origin", f":{reference}")
        self.git.run("update-ref", "-d", reference, commit)

    def shared_commit(self, one: str, other: str) -> str | None:
        """Return the newest commit that two commits share; None if they share none."""
        return _line(self.git.read("merge-base", one, other))

    def is_behind(self, commit: str, tip: str) -> bool:
        """Return True if a commit is part of the history of another."""
        return self.git.read("merge-base", "--is-ancestor", commit, tip) is not None

    def lockfile_at(self, commit: str) -> bytes | None:
        """Return the bytes of the lockfile in a commit; None if there is no lockfile."""
        # Listed first: a file that cannot be read is not a file that is absent.
        if not self.git.run("ls-tree", "--name-only", commit, "--", self.upstream.lockfile):
            return None
        return os.fsencode(self.git.run("cat-file", "blob", f"{commit}:{self.upstream.lockfile}"))

    def lockfile_commits(self, commit: str, most: int) -> list[str]:
        """Return the newest commits of a history that changed the lockfile."""
        file = f":(top,literal){self.upstream.lockfile}"
        listed = self.git.read("rev-list", f"--max-count={most}", commit, "--", file)
        return (listed or "").split()

    def change_commit(self, tip: str) -> str:
        """Return the newest commit of the branch that holds more than records."""
        file = f":(top,exclude,literal){self.upstream.lockfile}"
        found = self.git.read("rev-list", "--max-count=1", "--first-parent", tip, "--", ":/", file)
        return _line(found) or tip

    def commit_lockfile(self, tip: str, lockfile: bytes, names: Sequence[str]) -> str:
        """Make a commit on top of another that changes the lockfile alone; no branch is moved.

        Args:
            tip: The commit below.
            lockfile: The bytes of the lockfile.
            names: Fine-tunes whose records changed.

        Returns:
            The new commit.
        """
        index = self.git.folder / ".git" / _INDEX
        index.unlink(missing_ok=True)
        own = {"GIT_INDEX_FILE": str(index)}
        blob = self.git.run("hash-object", "-w", "--stdin", text=lockfile)
        self.git.run("read-tree", tip, environment=own)
        entry = f"100644,{blob},{self.upstream.lockfile}"
        self.git.run("update-index", "--add", "--cacheinfo", entry, environment=own)
        tree = self.git.run("write-tree", environment=own)
        named = ", ".join(names[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        message = f"{_MESSAGE}\n\n{named}{more}".strip().encode()
        command = ("commit-tree", tree, "-p", tip)
        return self.git.run(*command, text=message, environment=self._identity())

    def bring_to(self, commit: str, head: str) -> None:
        """Change the working tree to a commit.

        Args:
            commit: The commit, with every record in its lockfile.
            head: `commit`, or the commit of the branch below it, if `commit` was not pushed.
        """
        self.git.run("update-ref", _PENDING, commit)
        self._reset(commit)
        if head != commit:
            self.git.run("update-ref", "--no-deref", "HEAD", head)
        self.git.run("update-ref", "-d", _PENDING)

    def recover(self) -> None:
        """Finish a change of the working tree that was interrupted, by a kill or by a full disk."""
        inside = self.git.folder / ".git"
        # No reference may end so.
        for path in (*(inside / name for name in _STALE), *inside.glob("refs/**/*.lock")):
            path.unlink(missing_ok=True)
        pending = _line(self.git.read("rev-parse", "--verify", "--quiet", _PENDING))
        if pending is not None:
            self._reset(pending)
            self.git.run("update-ref", "-d", _PENDING)

    def _reset(self, commit: str) -> None:
        # Detached: no branch of this clone is moved, and none can be mistaken for the upstream's.
        self.git.run("update-ref", "--no-deref", "HEAD", commit)
        self.git.run("reset", "--quiet", "--hard", "--no-recurse-submodules")
        # A spec that was never merged must not be trained. People commit recorded answers.
        finetunes, settings = (
            f"{self.upstream.folder}/{name}".lstrip("/") for name in (FOLDER, SETTINGS)
        )
        keep = f"--exclude=/{_literal(finetunes)}/recorded/"
        places = (f":(literal){finetunes}", f":(literal){settings}")
        self.git.run("clean", "--quiet", "-ffd", keep, "--", *places)
        # Nor may one that git ignores. What else it ignores may be data that somebody put there.
        specs = (f":(glob){_literal(finetunes)}/*{ending}" for ending in (".yaml", ".yml"))
        self.git.run("clean", "--quiet", "-ffdx", "--", *specs, places[1])

    def _identity(self) -> dict[str, str]:
        """Return who commits: what the environment or git's settings say, else ftctl."""
        if self.git.read("config", "user.email"):
            return {}
        return {name: self.git.environment.get(name, value) for name, value in _IDENTITY.items()}


def open_checkout(git: Git, upstream: Upstream) -> Checkout:
    """Return the clone in a folder; a new or unfinished one has no commit yet.

    Nothing is asked of the server. Whatever a process that was killed began is finished.

    Raises:
        FtctlError: The folder holds something else, or the clone of another branch.
        GitFailed: Git failed.
    """
    follows = f"{upstream.url} {upstream.branch}"
    git.folder.mkdir(parents=True, exist_ok=True)
    known = _line(git.read("config", "--local", _FOLLOWS)) if _is_clone(git.folder) else None
    # What a first start was told to follow may have been a mistake: there is nothing in it yet.
    is_empty = git.read("rev-parse", "--verify", "--quiet", "HEAD") is None
    if known is None or (known != follows and is_empty):
        _require_empty(git)
        git.run("init", "--quiet")
        git.run("config", "--local", _FOLLOWS, follows)
    elif known != follows:
        message = f"{git.folder} follows {masked(known)}, not {masked(follows)}"
        raise FtctlError(message, "Name another folder: ftctl --dir DIR reconcile --watch …")
    checkout = Checkout(git=git, upstream=upstream)
    checkout.recover()
    git.run("config", "--local", "remote.origin.url", upstream.url)
    spec = f"+refs/heads/{upstream.branch}:refs/remotes/origin/{upstream.branch}"
    git.run("config", "--local", "remote.origin.fetch", spec)
    exclude = git.folder / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    exclude.write_text(".ftctl/\n", encoding="utf-8")
    return checkout


def followed(git: Git) -> tuple[str, str] | None:
    """Return address and branch that the clone in a folder follows; None without a clone."""
    known = _line(git.read("config", "--local", _FOLLOWS)) if _is_clone(git.folder) else None
    url, blank, branch = (known or "").rpartition(" ")
    return (url, branch) if blank else None


def _literal(path: str) -> str:
    """Return a path as a pattern of git that matches it alone."""
    return re.sub(r"([*?\[\\])", r"\\\1", path)


def _is_clone(folder: Path) -> bool:
    return (folder / ".git").is_dir()


def _require_empty(git: Git) -> None:
    """Refuse a folder that holds anything but what a first start that was killed leaves."""
    others: list[str] = []
    with suppress(NotADirectoryError):
        others = sorted({path.name for path in git.folder.iterdir()} - _MAY_STAY)
    if not others and not (
        _is_clone(git.folder) and git.read("rev-parse", "--verify", "--quiet", "HEAD")
    ):
        return
    what = "the clone of a person" if _is_clone(git.folder) else "not empty"
    message = f"{git.folder} is {what}, and the service changes its clone as the branch changes"
    raise FtctlError(message, "Name an empty folder: ftctl --dir DIR reconcile --watch …")


def _line(text: str | None) -> str | None:
    return (text or "").strip() or None
