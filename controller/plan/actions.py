"""What a plan is made of: one small record per step, in a closed union. Pure.

Every action carries a reason for people; nothing branches on it. `needs_approval` says whether a
person must have seen the action in a list before it is carried out: whatever costs, cancels,
forgets or switches production to a build that no approved job came to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, Estimate, Job
from controller.errors import ExitCode, Problem
from controller.lockfile.model import DataFacts, Entry
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
    corrected: tuple[str, ...] = ()
    """Inputs that a newer recipe would make differently from the same spec: `data`. The recorded
    build used an older recipe."""
    paid: bool = False
    """Whether asking its models costs money."""
    measures_loss: bool = True
    """True if the loss of expected answers can be measured for its models."""
    rescore_reason: str = ""
    """Reason why the newest version of scoring may give other scores than the first; empty if the
    two agree, or no scores of the first version are recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """An open job that an action cancels first, because no spec wants its inputs any more."""

    job: str
    backend: str
    submitted: str
    usd: tuple[float, float] | None = None
    """What the whole job was expected to cost; a part of it may be spent already."""


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
    cancels: Cancellation | None = None
    replaces: str | None = None
    """The build in production, which this one is meant to replace."""
    needs_approval: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A job is running; nothing is to be done but wait."""

    name: str
    reason: str
    job: Job
    needs_approval: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """A job lost its worker; it goes on from its last checkpoint."""

    name: str
    reason: str
    job: Job
    needs_approval: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A job ended; write down what came of it."""

    name: str
    reason: str
    job: Job
    needs_approval: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Measure a build on the held-out set and judge it."""

    name: str
    reason: str
    fingerprint: str
    needs_approval: bool = False
    """Not for the first time, and not where it is free and cannot switch production."""
    replaces: str | None = None
    """The build in production."""
    without_base: str | None = None
    """Why the base model cannot be compared with; None where it can."""
    asks: str = ""
    """Number and cost of the requests, if a person asked for another measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Judge a build again from its recorded scores."""

    name: str
    reason: str
    fingerprint: str
    replaces: str | None = None
    """The build in production."""
    needs_approval: bool = False
    """Whether the outcome switches production, by a gate that was changed since it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Make the candidate the production build."""

    name: str
    reason: str
    fingerprint: str
    replaces: str | None = None
    needs_approval: bool = False
    """Not for what an approved job came to, on the terms that were approved with it."""


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
    keeps_scores: bool = True
    """Whether its recorded scores were measured as this spec asks."""
    cancels: Cancellation | None = None
    replaces: str | None = None
    needs_approval: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Take over a job that exists at the backend and is not recorded."""

    name: str
    reason: str
    job: Job
    cancels: Cancellation | None = None
    replaces: str | None = None
    needs_approval: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Record again what a lost lockfile knew: every build, and which one was in production."""

    name: str
    reason: str
    """Says how it is known."""
    entry: Entry
    """Production is absent where only a backend tells: the newest build that passes takes it."""
    source: str | None = None
    """Name of the fine-tune before its file was renamed; its entry goes with this action."""
    needs_approval: ClassVar[bool] = True

    @property
    def is_certain(self) -> bool:
        """Whether it is known which build was in production, or that none was."""
        return self.source is not None or self.entry.production is not None or not self.entry.builds


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect:
    """Remember, or forget, that the fine-tune must not be retired."""

    name: str
    reason: str
    protect: bool
    job: Job | None = None
    """The open job, which keeps running."""
    needs_approval: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire:
    """Forget a fine-tune whose spec is gone. No model is deleted."""

    name: str
    reason: str
    cancels: Cancellation | None = None
    replaces: str | None = None
    """The build in production, which is forgotten."""
    needs_approval: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """What is to be done is known only where the data can be read."""

    name: str
    reason: str
    remedy: str
    needs_approval: ClassVar[bool] = False


class Obstacle(StrEnum):
    """What keeps a fine-tune from going on until a person acts."""

    GATE = "gate"
    BUDGET = "budget"
    FAILURE = "failure"
    DRIFT = "drift"
    LIFECYCLE = "lifecycle"
    SUSPENDED = "suspended"
    INPUT = "input"
    """The spec or its data has problems."""
    POLICY = "policy"
    UNREACHABLE = "unreachable"
    """A backend gave no answer."""

    @property
    def exit_code(self) -> ExitCode:
        """What meeting it makes of a run: recorded outcomes were reported by the run that met them."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Obstacle.GATE: ExitCode.DONE,
    Obstacle.FAILURE: ExitCode.DONE,
    Obstacle.SUSPENDED: ExitCode.DONE,
    Obstacle.BUDGET: ExitCode.REFUSED,
    Obstacle.POLICY: ExitCode.REFUSED,
    Obstacle.DRIFT: ExitCode.ERROR,
    Obstacle.LIFECYCLE: ExitCode.ERROR,
    Obstacle.INPUT: ExitCode.ERROR,
    Obstacle.UNREACHABLE: ExitCode.ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Nothing will be done until the obstacle is gone."""

    name: str
    reason: str
    remedy: str
    obstacle: Obstacle
    problems: tuple[Problem, ...] = ()
    """Of spec and data, each with its file and line."""
    job: str | None = None
    """The open job that cannot be followed."""
    needs_approval: ClassVar[bool] = False


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
    | Restore
    | Protect
    | Retire
    | Deferred
    | Blocked
)
