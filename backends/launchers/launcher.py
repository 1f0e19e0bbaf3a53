"""The contract of a launcher, which has a scheduler place the worker of a job on a machine.

The run folder in the machine's store is the truth; the answers of a scheduler are hints. It may
forget jobs, run one twice, or call a lost job successful. Names are ours and the same everywhere:
`ftctl-<fine-tune>-<12 hex digits>`. Third parties add launchers in the entry-point group
`ftctl.launchers`: functions `create(settings, environment) -> Launcher`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from backends.contract.errors import BackendError

COMMENT_PREFIX = "ftctl "
"""Beginning of the comment of every job of ours; the rest is its fingerprint and attempt."""


class PlacedState(StrEnum):
    """State of a job as its scheduler tells it, in our words."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    """In any way: only the run folder tells how the training ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A job that a scheduler knows."""

    state: PlacedState
    words: str
    """The scheduler's own words, for people: `PENDING (Resources)`."""
    comment: str
    """Comment that it was submitted with, which tells our jobs from those of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A job that a scheduler is to place."""

    name: str
    """Name of the job: letters, digits and `-`, at most 40 characters."""
    comment: str
    command: tuple[str, ...]
    """Command that runs once on each node. With several nodes, `--node N` is added on node N."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the command besides those that the machine has anyway."""
    gpus: int = 1
    """GPUs on each node; 0 for a machine of which it is declared that it has none."""
    nodes: int = 1
    memory_bytes: int | None = None
    """Memory of the job on each node; None for what the scheduler gives."""
    code: Path | None = None
    """Zip file on this machine, unpacked on each node as the working folder of the command, from which
    Python also imports; None where the machine has the program. A launcher that brings no files refuses
    the placement."""
    image: str | None = None
    """Container image in which the command runs; None for none. A launcher that knows no images
    refuses the placement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Capacity of an idle machine; None where its scheduler does not report it."""

    gpus: int | None = None
    nodes: int | None = None


class LauncherError(BackendError):
    """The scheduler refuses, or does not answer."""


class Unanswered(LauncherError):
    """No answer came that tells what became of a request."""


class SubmissionLost(LauncherError):
    """A submission got no clear answer: the job may exist."""


class Launcher(Protocol):
    """Places jobs by name. Each method returns within seconds and may be repeated.

    Each raises `LauncherError` if the scheduler refuses or does not answer.
    """

    def find(self, names: Collection[str]) -> Mapping[str, Placed]:
        """Return the jobs of these names that the scheduler knows, by one call for all of them.

        Of several jobs of one name, an open one counts before an ended one.
        """

    def submit(self, placement: Placement) -> None:
        """Place a job whose name is not in use by an open one.

        An ended job of that name may be replaced.

        Raises:
            SubmissionLost: No clear answer came. The caller looks the job up before it submits
                again.
        """

    def stop(self, name: str, *, at_once: bool) -> None:
        """End a job, if it is open.

        Args:
            name: Its name.
            at_once: True to kill it; False to send SIGTERM, on which a worker saves its work.
        """

    def ending_s(self) -> float:
        """Return the seconds within which a job has ended that `stop` was to end at once."""

    def logs(self, name: str, lines: int) -> list[str]:
        """Return the last lines of the job's own output; empty without any."""

    def capacity(self) -> Capacity:
        """Return what the scheduler could give if it were idle."""
