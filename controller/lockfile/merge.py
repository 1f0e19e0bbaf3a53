"""Merge two lockfiles that were changed at the same time, to stdout.

`merge.py FILE OURS BASE TIP`: FILE is the lockfile's path in git, OURS the file that this run left,
BASE the commit that it began from and TIP the one that is on the branch now.

Git would merge lines, and put half of one record beside half of another. Here a fine-tune changed
on one side is taken from that side, whole. Changed on both, the branch's entry (TIP) stands and
builds that only we know are added: what was trained is never forgotten, and what else we recorded
the next run finds at the backends again.

A lockfile with git's conflict markers, or one that is not valid JSON, is never written again. Its
records are recovered from the newest commits before it that hold a valid one, and from both sides
of the markers. Needs nothing but Python and git: workflows run this file by its path, without a package.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What ftctl requires of a record. Between markers, git may have mixed the lines of two.
JOB = frozenset(
    ("id", "backend", "fingerprint", "attempt", "inputs", "base_model", "data", "submitted")
)
BUILD = frozenset(
    ("fingerprint", "attempt", "backend", "job", "model_id", "inputs", "base_model", "data")
) | {"facts", "submitted", "finished"}
MOST_COMMITS = 1_000
_MARKER = re.compile(rb"^(<{7}|\|{7}|={7}|>{7})(?: .*)?$")

Lockfile = dict[str, Any]


def merge(base: Lockfile, ours: Lockfile, theirs: Lockfile) -> Lockfile:
    """Return the merged lockfile.

    Args:
        base: What both sides started from.
        ours: What this run made of it.
        theirs: What is on the branch now.
    """
    if theirs == base:
        return ours
    before, mine, yours = (side.get("finetunes", {}) for side in (base, ours, theirs))
    merged = {}
    for name in sorted({*mine, *yours}):
        entry = _merge_entry(before.get(name), mine.get(name), yours.get(name))
        if entry is not None:
            merged[name] = entry
    newest = theirs if theirs.get("format", 0) >= ours.get("format", 0) else ours
    return {**newest, "finetunes": merged}


def union(lockfiles: list[Lockfile]) -> Lockfile:
    """Return a lockfile with every fine-tune and every build of some; the first to know one wins."""
    result: Lockfile = {}
    for lockfile in lockfiles:
        result = merge({"finetunes": {}}, lockfile, result) if result else lockfile
    return result


def parse(text: bytes) -> Lockfile | None:
    """Return a lockfile's value, or None for what ftctl could not read."""
    try:
        value = json.loads(text, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("format"), int):
        return None
    entries = value.get("finetunes", {})
    if not isinstance(entries, dict) or not all(isinstance(one, dict) for one in entries.values()):
        return None
    return value


def merge_texts(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Return the text of the merged lockfile; None if one of the sides is not a lockfile.

    Args:
        base: Text of what both sides started from; empty if there was none.
        ours: Text of our side, empty if there is none.
        theirs: Text of the other side, empty if there is none.
    """
    before, mine, yours = (parse(text) if text.strip() else {} for text in (base, ours, theirs))
    if mine is None or yours is None:
        return None
    return written(merge(before or {}, mine, yours))


def written(lockfile: Lockfile) -> bytes:
    """Return the text of a lockfile, in the form in which ftctl writes it."""
    return json.dumps(lockfile, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"


def sides(text: bytes) -> list[Lockfile]:
    """Return what can be read of both sides of a file with git's conflict markers."""
    kept: tuple[list[bytes], list[bytes]] = ([], [])
    within = ""
    for line in text.splitlines(keepends=True):
        marker = _MARKER.match(line.rstrip(b"\r\n"))
        if marker:
            within = {b"<": "first", b"|": "base", b"=": "second", b">": ""}[marker[1][:1]]
            continue
        if within in ("", "first"):
            kept[0].append(line)
        if within in ("", "second"):
            kept[1].append(line)
    parsed = (parse(b"".join(lines)) for lines in kept)
    return [_whole_records(side) for side in parsed if side is not None]


def _merge_entry(
    before: dict[str, Any] | None, mine: dict[str, Any] | None, yours: dict[str, Any] | None
) -> dict[str, Any] | None:
    if yours == before:
        return mine
    if mine is None or yours is None or mine == before:
        return yours
    builds = _merge_builds(mine.get("builds", {}), yours.get("builds", {}))
    return {**yours, "builds": builds} if builds else yours


def _merge_builds(mine: dict[str, Any], yours: dict[str, Any]) -> dict[str, Any]:
    """Return all builds, theirs first; a copy in the store that only we know stays known."""
    builds = {**mine, **yours}
    for key in mine.keys() & yours.keys():
        ours, theirs = mine[key], yours[key]
        if not (isinstance(ours, dict) and isinstance(theirs, dict)):
            continue
        if "stored" in ours and ours.get("model_id") == theirs.get("model_id"):
            builds[key] = {"stored": ours["stored"], **theirs}
    return builds


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is given twice")
    return value


def _whole_records(lockfile: Lockfile) -> Lockfile:
    """Return a lockfile without the records that git left incomplete."""
    entries = {}
    for name, entry in lockfile.get("finetunes", {}).items():
        builds = entry.get("builds", {})
        whole = {
            key: build
            for key, build in (builds.items() if isinstance(builds, dict) else ())
            if isinstance(build, dict) and build.keys() >= BUILD and build["fingerprint"] == key
        }
        kept = {
            key: value
            for key, value in entry.items()
            if key != "builds" and (key not in ("production", "candidate") or str(value) in whole)
        }
        job = kept.get("job")
        if job is not None and not (isinstance(job, dict) and job.keys() >= JOB):
            del kept["job"]
        entries[name] = {**kept, "builds": whole} if whole else kept
    return {**lockfile, "finetunes": entries}


class UnreadableCommitError(Exception):
    """Git cannot read a commit: in a clone without blobs whose server is away, for example."""


class Branch:
    """The lockfile in the commits of a repository."""

    def __init__(self, file: str) -> None:
        self._file = file

    def at(self, commit: str) -> tuple[Lockfile, bool]:
        """Return the lockfile of a commit, and whether it had to be recovered."""
        text = self._text(commit)
        if text is None:
            return {}, False
        valid = parse(text)
        if valid is not None:
            return valid, False
        return union([*self._before(commit), *sides(text)]), True

    def _before(self, commit: str) -> Iterator[Lockfile]:
        """Yield the valid lockfiles that are newest, going back from a commit on every path."""
        self._deepen()
        waiting, seen = self._parents(commit), {commit}
        while waiting and len(seen) < MOST_COMMITS:
            parent = waiting.pop(0)
            if parent in seen:
                continue
            seen.add(parent)
            text = self._text(parent)
            valid = {} if text is None else parse(text)
            if valid is None:
                waiting += self._parents(parent)
            elif valid:
                yield valid

    def _text(self, commit: str) -> bytes | None:
        done = _git("cat-file", "blob", f"{commit}:{self._file}")
        if done.returncode == 0:
            return done.stdout
        if set(commit) == {"0"}:
            return None
        # What git cannot read is not absent: all records of that side would seem to be deleted.
        listed = _git("ls-tree", "--name-only", "--full-tree", commit, "--", self._file)
        if listed.returncode or listed.stdout:
            raise UnreadableCommitError(f"git cannot read {self._file} of {commit}")
        return None

    def _parents(self, commit: str) -> list[str]:
        listed = _git("rev-list", "--parents", "--max-count=1", commit).stdout.decode().split()
        return listed[1:]

    def _deepen(self) -> None:
        if _git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            branch = f"+refs/heads/{os.environ['BRANCH']}:refs/ftctl/tip"
            _git("fetch", "--quiet", "--no-tags", "--unshallow", "origin", branch)


def _git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    git = shutil.which("git") or "git"
    return subprocess.run([git, *arguments], capture_output=True, check=False)


def _warn(text: str) -> None:
    sys.stderr.write(f"::warning::{text}\n")


def main(file: str, ours: str, base: str, tip: str) -> int:
    """Write the merged lockfile to stdout; return the exit code."""
    branch = Branch(file)
    try:
        before, _ = branch.at(base)
        theirs, broken = branch.at(tip)
    except UnreadableCommitError as error:
        sys.stderr.write(f"::error::{error}; the branch keeps its own. Run the job again.\n")
        return 1
    text = Path(ours).read_bytes()
    mine = parse(text)
    recovered = mine is None
    if mine is None:
        found = sides(text)
        if not found:
            sys.stderr.write(
                f"::error::{file} is not a lockfile here, and nothing of it could be recovered. "
                "The branch keeps its own; the next run finds every job and model at the "
                "backends again.\n"
            )
            return 1
        mine = union([before, *found]) if before else union(found)
        _warn(f"{file} held conflict markers here; the records of both sides are kept.")
    if broken:
        _warn(f"{file} could not be read on the branch; its records are kept from older commits.")
    merged = merge(before, mine, theirs)
    if broken or recovered:
        merged = union([merged, mine, theirs])
    result = written(merged)
    if parse(result) is None:
        sys.stderr.write(f"::error::{file} cannot be merged; the branch keeps its own.\n")
        return 1
    sys.stdout.buffer.write(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
