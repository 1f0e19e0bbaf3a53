"""Training jobs: what to train, what it costs, and how it goes. Part of the contract.

Nothing here imports anything but the standard library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from backends.contract.inspector import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """What training starts from, as a backend found it."""

    reference: str
    """How the backend opens it: a hub ID or an absolute folder."""
    revision: str | None
    """The pinned commit of a hub model; None for a folder."""
    identity: str
    """What enters the fingerprint: never a path, always contents or an exact revision."""
    shutdown_date: str | None = None
    """Day on which the service switches it off, `YYYY-MM-DD`, where that is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A spec's hyperparameters under one version of a backend's own corrections."""

    hyperparameters: Mapping[str, Json]
    """Complete; they differ between recipes, so that the builds of each have their own identity."""
    is_correction: bool = True
    """True if training of this base model differs from the next older recipe, as far as known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Everything that one training job needs."""

    name: str
    """The fine-tune that asked first; for people and for the model ID."""
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
    """Where the service reports metrics to, as the spec wrote it; decides nothing."""
    max_gpu_hours: float | None = None
    """Hours of device time after which the job is stopped; no other effect."""
    origin: Mapping[str, Json] = field(default_factory=dict)
    """Small facts for the controller; the backend stores them unchanged with the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job would cost before it is started; None where it is not known."""

    usd: tuple[float, float] | None = None
    gpu_hours: tuple[float, float] | None = None
    steps: int | None = None
    """Optimiser steps."""
    basis: str = ""
    """What the price stands on: `prices of 2025-11`."""


class JobState(StrEnum):
    """Where a job stands. A server's unknown word means that the job is still open."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its worker is gone, and submitting it again continues it from its last checkpoint."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """Whether the job may still become a model without being submitted anew."""
        return self in {JobState.QUEUED, JobState.RUNNING, JobState.INTERRUPTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a running job has come."""

    step: int
    total_steps: int
    epoch: float = 0.0
    loss: float | None = None
    learning_rate: float | None = None
    held_out_loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What a succeeded job left."""

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
    """Present exactly when the state is `succeeded`."""
    error: str | None = None
    """For people: why it failed, or what it is waiting for."""
    origin: Mapping[str, Json] = field(default_factory=dict)
    """The request's, where the backend kept it; empty for jobs made elsewhere or by older
    versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's log."""

    time_s: float
    message: str
    data: Mapping[str, Json] = field(default_factory=dict)
