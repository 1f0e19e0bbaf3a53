"""Training jobs: requests, estimates, states and results. Part of the contract.

Nothing here imports anything but the standard library.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from backends.contract.inspector import Json

NEUTRAL: Final = frozenset({"gradient_checkpointing"})
"""Hyperparameters that change how a model is computed, but no bit of it: no part of a fingerprint."""
MEASURING: Final = frozenset({"eval_steps"})
"""Hyperparameters that say when the held-out loss is measured. They are part of a fingerprint only
where it decides which weights are kept (`Recipe.held_out_decides`)."""

DownloadReport: TypeAlias = Callable[[int, int], None]
"""Receives the bytes of a download so far, and of all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The model that training starts from, as a backend found it."""

    reference: str
    """Hub ID or absolute folder, by which the backend opens it."""
    revision: str | None
    """The pinned commit of a hub model; None for a folder."""
    identity: str
    """Part of the fingerprint: contents or an exact revision, never a path."""
    shutdown_date: str | None = None
    """Announced day on which the service switches it off, `YYYY-MM-DD`."""
    adapter: str | None = None
    """ID of a model trained from it, whose adapter is trained on; None for a new adapter."""
    adapter_identity: str | None = None
    """Identity of that model: its contents, never a path."""
    download_bytes: int | None = None
    """Bytes that a plan found missing on this machine; no part of what the model is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A spec's hyperparameters under one version of a backend's own corrections."""

    hyperparameters: Mapping[str, Json]
    """Complete; they differ between recipes, so that the builds of each have their own identity."""
    is_correction: bool = True
    """True if training of this base model differs from the next older recipe, as far as known."""
    held_out_decides: bool = False
    """True if held-out examples decide which weights are kept: others train another model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Hardware that a job asks for. All of it trains the same model."""

    gpus: int = 1
    """GPUs that the job is to use at once, on all nodes together."""
    machine: str | None = None
    """Machine that the job is placed on, by its name in `ftctl.yaml`; None for this machine."""
    nodes: int = 1
    """Nodes of the machine that share the GPUs evenly."""
    memory_bytes: int | None = None
    """Memory of the job on each node; None for what the machine gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A named machine that jobs are placed on. Holds names of secrets, never secrets."""

    name: str
    launcher: str
    """Name of the launcher that places jobs there."""
    runs: str
    """Store that this machine and that one share: an absolute folder, or the address of a bucket."""
    venv: str | None = None
    """Python environment of the machine that has ftctl in this version."""
    image: str | None = None
    """Container image that has it."""
    ships: bool = False
    """True to send this ftctl's own code along with the job."""
    has_gpus: bool = True
    """False for a machine that trains on its CPUs."""
    is_private: bool = False
    """True if only people who may see private data can read the store and use the machine."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its jobs."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Settings that are the launcher's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCheck:
    """Result of one check of a machine, or what is waited for meanwhile."""

    subject: str
    """Short name of what was checked: `store`, `GPU`."""
    detail: str
    """Finding, or the reason why it is wrong."""
    remedy: str = ""
    """Remedy, as an imperative sentence; empty if nothing is wrong."""
    ok: bool = True
    is_waiting: bool = False
    """True for a report while the machine's answer is waited for; it is no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCommand:
    """Command of a placed job, for engines that are given files."""

    name: str
    command: tuple[str, ...]
    """Runs once on each node. With several nodes, `--node N` is added on node N."""
    runs: str
    """Store that the command works over."""
    environment: Mapping[str, str] = field(default_factory=dict)
    gpus: int = 1
    """GPUs on each node."""
    nodes: int = 1
    memory_bytes: int | None = None
    """Memory on each node; None for what the engine gives."""
    image: str | None = None
    """Container image that the command runs in."""
    accelerator: str | None = None
    """Kind of GPU: `H100`."""


class Placing(Protocol):
    """The part of a backend that places jobs on other machines. It may lack these methods."""

    def use_machines(self, machines: Mapping[str, Machine]) -> None:
        """Learn the machines that jobs may be placed on."""

    def check_machine(self, name: str, timeout_s: float) -> Iterator[MachineCheck]:
        """Place a job of seconds on a machine that looks at it from inside; yield what was found.

        Nothing of it is left there.

        Args:
            name: One of the machines.
            timeout_s: Seconds after which the job is given up.
        """

    def placed_command(self, job_id: str) -> PlacedCommand:
        """Return the command of a job that somebody else starts.

        Raises:
            BackendError: There is no such job, or a scheduler starts it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Everything that one training job needs."""

    name: str
    """The fine-tune that submitted first; for people and for the model ID."""
    fingerprint: str
    attempt: int
    base_model: BaseModel
    method: str
    hyperparameters: Mapping[str, Json]
    """As `parse_hyperparameters` returned them: complete, defaults written out."""
    seed: int
    train: Path
    """Canonical JSONL, one example a line: `{"messages": [...]}`."""
    held_out: Path
    """The same for the held-out set; may be empty. Measured, never trained on."""
    train_origins: Path
    """One `file:line` for each line of `train`, for error messages."""
    tracking: Mapping[str, Json] = field(default_factory=dict)
    """Services that get the job's metrics, as the spec names them; no effect on training."""
    max_gpu_hours: float | None = None
    """Hours of device time after which the job is stopped; no other effect."""
    hardware: Hardware = Hardware()
    """Hardware to train on; no effect on what is trained."""
    origin: Mapping[str, Json] = field(default_factory=dict)
    """Small facts for the controller; the backend stores them unchanged with the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimated cost of a job; None where it is not known."""

    usd: tuple[float, float] | None = None
    gpu_hours: tuple[float, float] | None = None
    steps: int | None = None
    """Optimiser steps; at most so many where `may_stop_earlier`."""
    may_stop_earlier: bool = False
    """True if the training may end before so many steps, by its held-out loss for example."""
    basis: str = ""
    """Basis of the price: `prices of 2025-11`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPart:
    """Part of a base model that a training changes."""

    parameters: int
    """Number of trained weights."""
    of: int
    """Number of weights of the base model."""
    adapter_bytes: int | None = None
    """Size of the adapter's file; None where the model's own weights are trained."""
    warnings: tuple[str, ...] = ()
    """Warnings for people, such as experts that are not trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory that a training needs on its device, in bytes."""

    needs: int
    has: int | None = None
    """Memory of the device; None if that is not known."""
    parts: Mapping[str, int] = field(default_factory=dict)
    """Parts of `needs` in bytes, by their name for people."""
    remark: str = ""
    """Measure that makes the training fit, for people."""
    problem: str = ""
    """Reason why the training cannot fit; empty if it can."""
    remedy: str = ""
    """Remedy that would make it fit, as an imperative sentence."""
    trains: TrainedPart | None = None
    """Part of the base model that is trained, where that is known."""


class JobState(StrEnum):
    """State of a job. A server's unknown word means that the job is still open."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its worker is gone; a new submission continues from its last checkpoint."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """True if the job may still become a model without a new submission."""
        return self in {JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a running job."""

    step: int
    total_steps: int
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    held_out_loss: float | None = None
    reward_accuracy: float | None = None
    """Of preferences: share of pairs, or of marked answers, that the model ranks right."""
    reward_margin: float | None = None
    """Of preferences: mean reward of good answers minus that of bad ones."""
    tokens_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Losses of a job at one step; None where the step was not measured.

    A loss is the mean negative log likelihood per learned token, in nats; with `dpo` and `kto` it is
    the loss of that method. A loss that diverged may be NaN or infinite.
    """

    step: int
    """Optimiser steps done; 0 is the untrained model."""
    train_loss: float | None = None
    """Loss of the step's own examples, before the step changed the model."""
    held_out_loss: float | None = None
    """Loss of the held-out set, or of a part of it where the service measures no more."""
    epoch: float | None = None
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """Result of a succeeded job."""

    model_id: str
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Durable facts for the lockfile: trained tokens, losses, seconds, threads, digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training job as the backend sees it now. Times are seconds since the epoch."""

    id: str
    fingerprint: str
    attempt: int
    state: JobState
    created_s: float
    finished_s: float | None = None
    progress: Progress | None = None
    result: JobResult | None = None
    """Present exactly if the state is `succeeded`."""
    error: str | None = None
    """Reason for people why it failed, or what it waits for."""
    origin: Mapping[str, Json] = field(default_factory=dict)
    """Origin of the request; empty for jobs made elsewhere or by older versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's log."""

    time_s: float
    message: str
    data: Mapping[str, Json] = field(default_factory=dict)
