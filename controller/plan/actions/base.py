"""Base of every action: words, price, approval, and what it may follow. Pure.

An action is a frozen record. It knows how a plan shows it and what a person decides by it, so that
a new kind of action is one file here, and no other module lists the kinds.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Estimate
from controller.errors import ExitCode
from controller.plan.fingerprint import short_id
from controller.render.text import dollars, file_size

FREE = (0.0, 0.0)
"""Cost in US dollars of a job on one's own hardware."""
Row: TypeAlias = tuple[str, str]
"""Label and value of a line, `cost = $0.00`."""


@dataclass(frozen=True, slots=True)
class ActionStyle:
    """Words of an action, in a plan and in a run."""

    symbol: str
    sentence: str
    """Follows the fine-tune's name: `will be trained`."""
    verb: str
    """In the summary of a plan: `1 to train`."""
    rank: int
    """Place in that summary; lower ranks come first."""
    running: str = ""
    """While it is carried out; empty for what takes a moment."""
    done: str = ""
    """In the summary of a run: `1 submitted`; empty for what a run does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """An open job that an action cancels first, because no spec wants its inputs any more."""

    job: str
    backend: str
    submitted: str
    usd: tuple[float, float] | None = None
    """Expected cost of the whole job; a part of it may be spent already."""

    def __str__(self) -> str:
        """Return the job and its price: `job ftjob-1 at openai, of $40.00 - $80.00`."""
        usd = ", of unknown cost" if self.usd is None else f", of {dollars(*self.usd)}"
        return f"job {self.job} at {self.backend}{'' if self.usd == FREE else usd}"


class Turn(IntEnum):
    """Place of an action in the order of carrying out."""

    FIRST = 0
    AFTER_OTHERS = 1
    """Other fine-tunes may need what it removes."""
    LAST = 2
    """It takes long."""


class ActionDefaults:
    """Facts of a kind of action. A kind sets what differs, as a constant or as a field."""

    __slots__ = ()
    needs_approval: bool = True
    """True if a person must see it in a list first: whatever costs, cancels, forgets, or switches
    production to a build that no approved job came to."""
    acts: bool = True
    """False if there is nothing to do but wait, or a person must act first."""
    leads_on: bool = True
    """True if the next pass of a run may find something to do because of it."""
    estimate: Estimate | None = None
    """Cost of a job that it submits."""
    cancels: Cancellation | None = None
    """Running job that it cancels."""
    hosting: Hosting | None = None
    """Price of the deployment that it makes, or that comes of it."""
    covers_adoption: bool = False
    """True if its approval covers taking over a job with the inputs that it wants."""
    covers_promotion: bool = True
    """True if its approval covers measuring, judging and promoting what comes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseAction(ActionDefaults, ABC):
    """Base of every action. A kind overrides what differs."""

    name: str
    """The fine-tune."""
    reason: str
    """For people; nothing branches on it."""

    @property
    @abstractmethod
    def style(self) -> ActionStyle:
        """Words for people."""

    @property
    def turn(self) -> Turn:
        """Place in the order of carrying out."""
        return Turn.FIRST

    @property
    def exit_code(self) -> ExitCode:
        """Exit code of a run that meets it and can do nothing about it."""
        return ExitCode.DONE

    @property
    def target(self) -> str | None:
        """Fingerprint of the build that it works towards."""
        return None

    @property
    def own_job(self) -> str | None:
        """Fingerprint of the job that it submits, takes over or waits for."""
        return self.target

    def wants(self, fingerprint: str) -> bool:
        """Return True if it works towards the build of these inputs."""
        return fingerprint == self.target

    def follows(self, seen: "BaseAction") -> bool:
        """Return True if approval of another action implies approval of this one.

        What a run may cost, cancel or replace can only become less than what a person saw.
        """
        del seen
        return False

    def decisive(self) -> dict[str, Json]:
        """Return what a person decides by, besides the kind, the fine-tune and the effects."""
        return {}

    def effects(self) -> dict[str, Json]:
        """Return what it replaces and cancels; a person decides by that, too."""
        return {}

    def json(self) -> dict[str, Json]:
        """Return what programs read of it, besides the kind, the fine-tune and the reason."""
        return self.decisive()

    def production_after(self, now: str | None) -> str:
        """Return what is in production afterwards, in a few words.

        Args:
            now: Fingerprint of the build in production; None without one.
        """
        return build_words(now)

    def rows(self) -> Iterable[Row]:
        """Return labelled lines below the action in a plan."""
        return ()

    def review(self) -> Iterable[str]:
        """Return what a reviewer should see unfolded, beside the reason."""
        return ()

    def remarks(self) -> Iterable[str]:
        """Return lines below the rows."""
        return ()


def build_words(fingerprint: str | None) -> str:
    """Return a build in a sentence; `none` without one."""
    return "none" if fingerprint is None else f"build {short_id(fingerprint)}"


def if_it_passes(build: str, now: str | None) -> str:
    """Return what is in production once a build is judged: that build, or what is there now."""
    return f"{build} if it passes, else {build_words(now)}"


def download_rows(download_bytes: int | None) -> Iterator[Row]:
    """Yield the line about a base model that this machine has to download first."""
    if download_bytes:
        yield "base model", f"will be downloaded, {file_size(download_bytes)}"
