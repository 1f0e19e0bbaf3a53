"""Records of pull requests in git: one reference for each, `refs/ftctl/pr-12`.

It is no branch: no rule for branches concerns it, no clone fetches it unasked, and nobody sees it
among the branches. Whoever may push can write it. It holds one commit with one lockfile.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from controller.errors import FtctlError, LockfileInvalid
from controller.lockfile.early import PullRecord
from controller.lockfile.model import dump_lockfile, parse_lockfile

PREFIX = "refs/ftctl/pr-"
REFSPEC = f"+{PREFIX}*:{PREFIX}*"
"""Refspecs for `git fetch --prune origin`, by which a clone has all of them and no other."""
_REF = re.compile(rf"([0-9a-f]+) {re.escape(PREFIX)}([1-9][0-9]{{0,17}})")
_FILE = "finetunes/ftctl.lock"
_AUTHOR = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "ftctl"), ("EMAIL", "ftctl@localhost"))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRecords:
    """Records of all pull requests that this clone has fetched."""

    records: tuple[PullRecord, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    """References whose lockfile cannot be read, with the reason."""


def list_pulls(root: Path) -> dict[int, str]:
    """Return the commits with records of pull requests, by number; empty without git.

    Args:
        root: The folder with `finetunes/`.
    """
    listed = _git(root, "for-each-ref", "--format=%(objectname) %(refname)", f"{PREFIX}*")
    found = map(_REF.fullmatch, (listed or b"").decode(errors="replace").splitlines())
    return {int(match[2]): match[1] for match in found if match is not None}


def read_pulls(root: Path) -> PullRecords:
    """Read the records of every pull request that this clone has fetched.

    Args:
        root: The folder with `finetunes/`.
    """
    records, unreadable = [], {}
    for pull, commit in sorted(list_pulls(root).items()):
        text = _git(root, "cat-file", "blob", f"{commit}:./{_FILE}")
        if text is None:
            # Of another folder of the repository, or not to be read: in a clone without blobs.
            if _git(root, "ls-tree", "--name-only", commit, "--", _FILE) != b"":
                unreadable[f"{PREFIX}{pull}"] = f"{PREFIX}{pull}: git cannot read it"
            continue
        try:
            lockfile = parse_lockfile(text, f"{PREFIX}{pull}")
        except LockfileInvalid as error:
            unreadable[f"{PREFIX}{pull}"] = error.message
            continue
        records.append(PullRecord(pull=pull, lockfile=lockfile))
    return PullRecords(records=tuple(records), unreadable=unreadable)


def write_pull(root: Path, record: PullRecord) -> bool:
    """Write what is recorded for a pull request into this clone; it is pushed by its name.

    Args:
        root: The folder with `finetunes/`.
        record: The records. Without any, the reference is removed.

    Returns:
        True if the reference changed.

    Raises:
        FtctlError: It is no git repository, or git failed.
    """
    ref, before = f"{PREFIX}{record.pull}", list_pulls(root).get(record.pull)
    if not record.lockfile.finetunes:
        if before is not None:
            _must(root, "update-ref", "-d", ref)
        return before is not None
    text = dump_lockfile(record.lockfile)
    if before is not None and _git(root, "cat-file", "blob", f"{before}:./{_FILE}") == text:
        return False
    prefix = _must(root, "rev-parse", "--show-prefix")
    name, kind, mode = "", "blob", "100644"
    object_id = _must(root, "hash-object", "-w", "--no-filters", "--stdin", text=text)
    for name in reversed(f"{prefix}{_FILE}".split("/")):
        line = os.fsencode(f"{mode} {kind} {object_id}\t{name}\0")
        object_id, kind, mode = _must(root, "mktree", "-z", text=line), "tree", "040000"
    message = f"Train pull request {record.pull}"
    commit = _must(root, "commit-tree", object_id, "-m", message)
    _must(root, "update-ref", ref, commit)
    return True


def _must(root: Path, *arguments: str, text: bytes = b"") -> str:
    output = _git(root, *arguments, text=text)
    if output is None:
        message = f"git {arguments[0]} failed in {root}, so the records could not be written"
        raise FtctlError(message, "Run the command in a clone of the repository, with git.")
    return os.fsdecode(output).rstrip("\n")


def _git(root: Path, *arguments: str, text: bytes = b"") -> bytes | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "-C", str(root), *arguments],
        input=text,
        env={**os.environ, **_AUTHOR},
        capture_output=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else None
