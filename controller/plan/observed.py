"""What the backends and git answered, as the planner reads it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.contract.inspector import Json
from backends.contract.jobs import Job
from controller.lockfile.model import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Why a backend gave no answer."""

    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What is known of a fine-tune that the lockfile does not name."""

    entry: Entry
    source: str
    """Where it is known from: `finetunes/ftctl.lock of commit 1f24dc2a55b1`, or a backend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the backends answered."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    """Recorded open jobs by ID; one that a backend does not know any more is absent."""
    found: Mapping[str, tuple[Job, ...]] = field(default_factory=dict)
    """Jobs found by fingerprint, oldest first."""
    lost: Mapping[str, Lost] = field(default_factory=dict)
    """Fine-tunes without an entry of which git or a backend knows builds, by name."""
    elsewhere: Mapping[str, tuple[Mapping[str, Json], ...]] = field(default_factory=dict)
    """Inputs of jobs and builds in git or at a backend, by name of a fine-tune without an entry."""
    silent_bases: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Why a base model cannot be asked, by its place and reference."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """Places that were not asked, and why. A plan that is only shown may do without them."""
    unreachable: Mapping[str, Silence] = field(default_factory=dict)
    """Places that gave no answer: nothing that needs one is done."""
