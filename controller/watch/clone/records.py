"""The lockfile between the clone and its branch: no record is lost, whatever others push.

The lockfile of the working tree holds what this service recorded. It is merged with the branch's,
from the newest commit that both share, committed on top of the branch, and pushed. After another
push in between, all of that is done again on top; nothing is ever forced. A branch that was
rewritten shares an older commit, so what was recorded since is put on top of it again.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from secrets import SystemRandom

from controller.errors import LockfileInvalid
from controller.lockfile.merge import merge
from controller.lockfile.model import FORMAT, Lockfile, dump_lockfile, parse_lockfile
from controller.lockfile.store import LOCKFILE, lock_lockfile
from controller.project.project import Project
from controller.watch.clone.checkout import Checkout
from controller.watch.clone.git import GitFailed, Trouble

_CHANCE = SystemRandom()
_ATTEMPTS = 8
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_VERSIONS = 100
"""Commits of the lockfile that are read at most, to recover one that cannot be read."""
_LOCK_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """The clone after it met its branch."""

    tip: str
    """Newest commit of the branch."""
    recorded: tuple[str, ...] = ()
    """Fine-tunes whose records were put on top of the branch."""
    failure: GitFailed | None = None
    """Why the records could not be pushed; they wait in the clone."""
    recovered: bool = False
    """True if the branch's lockfile could not be read, and older commits were read instead."""


def synchronise(checkout: Checkout, project: Project, tip: str, *, always: bool = False) -> Synced:
    """Bring the clone to the newest commit of its branch, with every record on top and pushed.

    Args:
        checkout: The clone.
        project: The repository in it.
        tip: Newest commit of the branch, as fetched or pushed last.
        always: True to write every file again, also if the clone is at the right commit.

    Raises:
        LockfileInvalid: The branch's lockfile is of a newer ftctl, or cannot be recovered.
        LockHeld: Another command recorded in the clone all the time.
        GitFailed: The clone could not be changed.
    """
    # Before the lockfile is read: half a change may have left half of it.
    checkout.recover()
    with _held(project) as ours:
        synced, commit = _put_on_top(checkout, ours, tip)
        if always or not _is_at(checkout, commit, synced.tip, ours):
            checkout.bring_to(commit, synced.tip)
        return synced


def _merged(base: Lockfile, ours: Lockfile, theirs: Lockfile) -> Lockfile:
    """Return the merged lockfile, by the rules of git's merge driver and of the workflows."""
    sides = (json.loads(dump_lockfile(side)) for side in (base, ours, theirs))
    return parse_lockfile(json.dumps(merge(*sides)).encode(), LOCKFILE)


def _put_on_top(checkout: Checkout, ours: Lockfile | None, tip: str) -> tuple[Synced, str]:
    """Push what this side recorded; return that with the commit to check out."""
    head, pause_s, attempt = checkout.head, _FIRST_PAUSE_S, 0
    while True:
        attempt += 1
        shared = checkout.shared_commit(head, tip) if head is not None else None
        base = _lockfile_of(checkout, shared)[0] if shared is not None else Lockfile()
        theirs, recovered = _lockfile_of(checkout, tip)
        merged = _merged(base, base if ours is None else ours, theirs)
        changed = _changed(theirs, merged)
        if not changed and not recovered:
            return Synced(tip=tip), tip
        commit = checkout.commit_lockfile(tip, dump_lockfile(merged), changed)
        synced = Synced(tip=commit, recorded=changed, recovered=recovered)
        try:
            checkout.push(commit)
        except GitFailed as error:
            failed = replace(synced, tip=tip, failure=error)
            if error.trouble is not Trouble.RACE or attempt == _ATTEMPTS:
                return failed, commit
        else:
            return synced, commit
        # Pauses of different length keep two services apart.
        time.sleep(pause_s * _CHANCE.uniform(0.5, 1.5))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        try:
            tip = checkout.fetch()
        except GitFailed as error:
            return replace(failed, failure=error), commit


def _is_at(checkout: Checkout, commit: str, head: str, ours: Lockfile | None) -> bool:
    """Return True if the working tree is what it should be."""
    if checkout.head != head:
        return False
    wanted = checkout.lockfile_at(commit)
    return ours == (None if wanted is None else _parse(wanted))


@contextmanager
def _held(project: Project) -> Iterator[Lockfile | None]:
    """Hold the lockfile of the working tree, its journal folded in; None without a valid one."""
    ours: Lockfile | None = None
    with ExitStack() as stack:
        # One that cannot be read came from a person or from a newer ftctl: the branch's counts.
        with suppress(LockfileInvalid):
            held = stack.enter_context(
                lock_lockfile(
                    project.root, project.records, timeout_s=_LOCK_S, purpose="reconcile --watch"
                )
            )
            # A file that was removed from the clone records nothing, and forgets nothing.
            is_there = held.read is not None or held.entries
            ours = held.lockfile if is_there else None
        yield ours


def _lockfile_of(checkout: Checkout, commit: str) -> tuple[Lockfile, bool]:
    """Return the lockfile of a commit, and whether older commits had to be read for it.

    Raises:
        LockfileInvalid: It is of a newer ftctl: what this one does not know would be lost.
    """
    text = checkout.lockfile_at(commit)
    if text is None:
        return Lockfile(), False
    try:
        return _parse(text), False
    except LockfileInvalid:
        if not _is_damaged(text):
            raise
    for older in checkout.lockfile_commits(commit, _VERSIONS):
        text = checkout.lockfile_at(older)
        if text is not None and not _is_damaged(text):
            return _parse(text), True
    return Lockfile(), True


def _is_damaged(text: bytes) -> bool:
    """Return True if no ftctl can read it: it has git's conflict markers, or is not JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return True
    form = value.get("format") if isinstance(value, dict) else None
    # Of this format, and not as this ftctl knows it: a newer one may have added to it.
    return not (isinstance(form, int) and form >= FORMAT)


def _parse(text: bytes) -> Lockfile:
    return parse_lockfile(text, LOCKFILE)


def _changed(before: Lockfile, after: Lockfile) -> tuple[str, ...]:
    names = sorted({*before.finetunes, *after.finetunes})
    return tuple(name for name in names if before.finetunes.get(name) != after.finetunes.get(name))
