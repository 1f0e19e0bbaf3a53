"""Where the service finds fine-tunes: a branch elsewhere that it follows, or a folder as it is."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.errors import FtctlError
from controller.project.project import Project
from controller.watch.clone.checkout import Checkout
from controller.watch.clone.git import CREDENTIAL_VARIABLE, GitFailed, Trouble
from controller.watch.clone.pulls import remove_taken_over
from controller.watch.clone.records import Synced, synchronise
from controller.watch.health import HealthBoard, Outage
from controller.watch.log import EventLog
from controller.watch.metrics import Metrics

_MOST_NAMED = 10
"""Fine-tunes that a line of the log names at most."""
_STAYS = {
    "remote": "",
    "push": "; its records wait in the clone",
    "references": "; records of merged pull requests stay at the server",
}
"""End of the log's line about each outage: where the records stay meanwhile."""
_MISTAKES = {
    Trouble.ABSENT: "Check --git and --branch.",
    Trouble.REFUSED: (
        f"Export {CREDENTIAL_VARIABLE} with a token that may read and push, or set up ssh or a "
        "credential helper of git."
    ),
}
"""Remedies for mistakes that only the first request to a server can find."""


class NothingToFollow(GitFailed):
    """There was never a clone, and the server knows no such branch, or does not let us read it."""

    @classmethod
    def of(cls, error: GitFailed) -> "NothingToFollow | None":
        """Return the error as one that a person has to fix; None if it may pass by itself."""
        remedy = _MISTAKES.get(error.trouble)
        return None if remedy is None else cls(error.message, remedy, trouble=error.trouble)


class Place(Protocol):
    """Place of fine-tunes."""

    @property
    def project(self) -> Project:
        """The repository on this machine."""

    def refresh(self) -> bool:
        """Bring the folder up to date; return True if a pass may act on it."""

    def publish(self) -> bool:
        """Bring new records to where they belong; return True if none are left here."""

    @property
    def change(self) -> str | None:
        """Commit that declared what the folder holds; None without git."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder that people keep up to date."""

    project: Project

    def refresh(self) -> bool:
        """Do nothing: the next pass reads the folder as it is."""
        return True

    def publish(self) -> bool:
        """Do nothing: people commit the lockfile."""
        return True

    @property
    def change(self) -> str | None:
        """None: the folder may hold what was never committed."""
        return None


@dataclass(slots=True, kw_only=True)
class Branch:
    """A branch elsewhere, followed in a clone."""

    checkout: Checkout
    project: Project
    board: HealthBoard
    log: EventLog
    metrics: Metrics
    is_fresh: bool = True
    """True until the clone was brought to a commit in this process."""

    @property
    def change(self) -> str | None:
        """Commit that declared what the clone holds."""
        head = self.checkout.head
        return None if head is None else self.checkout.change_commit(head)

    def refresh(self) -> bool:
        """Fetch the branch; push what was not pushed; check out the result.

        Raises:
            NothingToFollow: There was never a clone, and the server refuses one.
            FtctlError: The branch's lockfile is of a newer ftctl, or the clone cannot be changed.
        """
        before = self.checkout.tip
        try:
            tip = self.checkout.fetch()
        except GitFailed as error:
            mistake = NothingToFollow.of(error)
            if before is None and mistake is not None:
                raise mistake from None
            self._failed("remote", "fetch", error)
            return before is not None and self._is_whole()
        self._works("remote", "fetch")
        if before is None:
            self.log.tell("fetched", f"the branch is at {tip[:12]}", commit=tip)
        elif before != tip:
            self._tell_of_change(before, tip)
        self._synchronise(tip)
        return True

    def publish(self) -> bool:
        """Put new records on top of the branch, and push them."""
        tip = self.checkout.tip
        if tip is None:
            return True
        if self._synchronise(tip).failure is not None:
            return False
        self._remove_taken_over()
        return True

    def _is_whole(self) -> bool:
        """Return True if a pass may act on the clone as an earlier process left it."""
        if not self.is_fresh:
            return True
        tip = self.checkout.tip
        if tip is None:
            return False
        self._synchronise(tip)
        return True

    def _synchronise(self, tip: str) -> Synced:
        synced = synchronise(self.checkout, self.project, tip, always=self.is_fresh)
        self.is_fresh = False
        if synced.recovered:
            message = (
                "the branch's lockfile could not be read; its records are kept from older commits"
            )
            self.log.alert("recovered", message, commit=synced.tip)
        if synced.failure is not None:
            self._failed("push", "push", synced.failure)
            return synced
        if synced.recorded or synced.recovered:
            self.metrics.count_event("push", failed=False)
            message = f"recorded {_named(synced.recorded)} as {synced.tip[:12]}"
            self.log.tell("pushed", message, commit=synced.tip, names=list(synced.recorded))
        if ended := self.board.end_outage("push"):
            self.log.tell("works", f"push works again, {_span(ended)}", what="push")
        return synced

    def _remove_taken_over(self) -> None:
        """Remove what was trained for pull requests that are merged; a pass after this one may."""
        try:
            removed = remove_taken_over(self.checkout, self.project)
        except GitFailed as error:
            self._failed("references", "push", error)
            return
        if removed:
            message = f"removed {', '.join(removed)}: the branch has what was trained for them"
            self.log.tell("removed", message, references=list(removed))
        if ended := self.board.end_outage("references"):
            self.log.tell(
                "works", f"references are removed again, {_span(ended)}", what="references"
            )

    def _tell_of_change(self, before: str, tip: str) -> None:
        if self.checkout.is_behind(before, tip):
            self.log.tell("fetched", f"the branch moved to {tip[:12]}", commit=tip, before=before)
            return
        message = (
            f"the branch was rewritten, from {before[:12]} to {tip[:12]}; "
            "what was recorded is put on top of it again"
        )
        self.log.alert("rewritten", message, commit=tip, before=before)

    def _failed(self, outage: str, event: str, error: FtctlError) -> None:
        self.metrics.count_event(event, failed=True)
        if self.board.begin_outage(outage, error.one_line, time.time()):
            self.log.fail("fails", f"{event}: {error.one_line}{_STAYS[outage]}", what=outage)

    def _works(self, outage: str, event: str) -> None:
        self.metrics.count_event(event, failed=False)
        if ended := self.board.end_outage(outage):
            self.log.tell("works", f"{event} works again, {_span(ended)}", what=outage)


def _named(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{len(names)} fine-tunes"
    return ", ".join(names) or "the lockfile"


def _span(outage: Outage) -> str:
    return f"after {round(time.time() - outage.since_s)} s"
