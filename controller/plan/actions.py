"""What a plan is made of: one small record per step, in a closed union. Pure.

Every action carries a reason for people; nothing branches on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from backends.base import BaseModel, Estimate, Job, Json
from controller.lock.model import DataFacts
from controller.plan.fingerprint import Change
from controller.spec.model import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChange:
    """How the examples of both sides differ from those of another build."""

    added: int
    removed: int
    changed: int = 0
    """The same question with another answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """A base model's end."""

    date: str
    days_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What one spec asks for, resolved: every digest known."""

    name: str
    file: str
    spec: Spec
    base_model: BaseModel
    fingerprint: str
    inputs: Mapping[str, Json]
    evaluation_fingerprint: str
    evaluation_inputs: Mapping[str, Json]
    data: DataFacts
    estimate: Estimate
    data_changes: Mapping[str, DataChange]
    """By training-data digest of a recorded build, where its dataset is still here."""
    shutdown: Shutdown | None = None
    warnings: tuple[str, ...] = ()
    """What a person should know of data and model before they pay for training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Submit a job."""

    name: str
    reason: str
    fingerprint: str
    attempt: int
    changes: tuple[Change, ...]
    """Against the build it replaces; empty for the first."""
    data_change: DataChange | None
    data: DataFacts
    estimate: Estimate
    judged_against: str | None = None
    """The production build that stays until this one passes the gate, and where it lives."""
    shutdown: Shutdown | None = None
    warnings: tuple[str, ...] = ()
    retrain: bool
    supersedes: str | None
    """Open job for inputs that nobody wants any more; cancelled first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A job is running; nothing is to be done but wait."""

    name: str
    reason: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A job lost its worker; it goes on from its last checkpoint."""

    name: str
    reason: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A job ended; write down what came of it."""

    name: str
    reason: str
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Measure a build on the held-out set and judge it."""

    name: str
    reason: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Judge a build again from its recorded scores."""

    name: str
    reason: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Make the candidate the production build."""

    name: str
    reason: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Take a recorded build again; nothing is trained."""

    name: str
    reason: str
    fingerprint: str
    source: str
    """The fine-tune whose build it is; another one's when both have equal inputs."""
    promote: bool
    """Whether its recorded scores already pass the gate, so that it goes to production at once."""
    supersedes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Take over a job that exists at the backend and is not recorded."""

    name: str
    reason: str
    job: Job
    supersedes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect:
    """Remember, or forget, that the fine-tune must not be retired."""

    name: str
    reason: str
    protect: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Forget a fine-tune whose spec is gone. No model is deleted."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """What is to be done is known only where the data can be read."""

    name: str
    reason: str
    remedy: str


class Obstacle(StrEnum):
    """What a blocked fine-tune is waiting for a person to mend."""

    GATE = "gate"
    BUDGET = "budget"
    FAILURE = "failure"
    DRIFT = "drift"
    LIFECYCLE = "lifecycle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Nothing will be done until a person acts."""

    name: str
    reason: str
    remedy: str
    obstacle: Obstacle


Action: TypeAlias = (
    Train
    | Wait
    | Resume
    | Record
    | Evaluate
    | Judge
    | Promote
    | Reuse
    | Adopt
    | Protect
    | Retire
    | Deferred
    | Blocked
)
