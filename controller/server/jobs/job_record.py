"""One fine-tuning job: its record on the disk, and the protocol's object."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from pydantic import JsonValue

from controller.server.jobs import hyperparameters
from controller.server.record_store import Record

ORGANISATION = "local"
"""Stands in model names where the hosted service has the customer."""


class Status(StrEnum):
    """State of a job, in the protocol's words."""

    VALIDATING = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_open(self) -> bool:
        """True if the job has not ended."""
        return self not in {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Reason of a failure."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """Training data of a job, after validation of its files."""

    train: str
    """SHA-256 of the canonical bytes."""
    held_out: str | None
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRun:
    """The backend's job that trains for a job here. Equal jobs share one."""

    id: str
    fingerprint: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(Record):
    """One job."""

    model: str
    """The base model's public ID."""
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    metadata: dict[str, str] | None
    method: str
    asked: dict[str, JsonValue]
    """Hyperparameters as the client wrote them."""
    settings: dict[str, JsonValue]
    """The complete settings for the backend."""
    status: Status = Status.VALIDATING
    data: TrainingData | None = None
    run: BackendRun | None = None
    finished_s: float | None = None
    trained_tokens: int | None = None
    backend_model: str | None = None
    """The backend's ID of the model."""
    model_deleted: bool = False
    result_file: str | None = None
    last_step: dict[str, float] | None = None
    """Last metrics of a successful job."""
    error: JobError | None = None

    @property
    def public_model(self) -> str | None:
        """The clients' name of the model; None if there is no model."""
        if self.backend_model is None or self.model_deleted:
            return None
        return self.model_name

    @property
    def model_name(self) -> str:
        """The clients' name of the model, which may not exist yet or any more."""
        tail = self.id.removeprefix("ftjob-")[:12]
        return f"ft:{self.model}:{ORGANISATION}:{self.suffix or ''}:{tail}"

    def as_json(self, eta_s: float | None = None) -> dict[str, JsonValue]:
        """Return the job object of the protocol.

        Args:
            eta_s: Expected end of a running job, in seconds since the epoch.
        """
        shown = hyperparameters.as_json(self.asked, self.settings if self.data else None)
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "created_at": int(self.created_s),
            "error": None if self.error is None else asdict(self.error),
            # The name stays after the model was deleted, as a record of what there was.
            "fine_tuned_model": None if self.backend_model is None else self.model_name,
            "finished_at": None if self.finished_s is None else int(self.finished_s),
            "estimated_finish": None if eta_s is None else int(eta_s),
            "hyperparameters": shown,
            "method": {"type": self.method, self.method: {"hyperparameters": shown}},
            "model": self.model,
            "organization_id": f"org-{ORGANISATION}",
            "result_files": [] if self.result_file is None else [self.result_file],
            "status": self.status.value,
            "trained_tokens": self.trained_tokens,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
            "integrations": [],
            "seed": self.seed,
            "metadata": None if self.metadata is None else {**self.metadata},
            "user_provided_suffix": self.suffix,
        }

    def matches(self, wanted: Mapping[str, str] | None) -> bool:
        """Return whether the metadata has all these pairs; None matches jobs without metadata."""
        if wanted is None:
            return not self.metadata
        return all((self.metadata or {}).get(key) == value for key, value in wanted.items())

    def checkpoint(self) -> dict[str, JsonValue] | None:
        """Return the checkpoint object of the final model; None without a model or its metrics."""
        if self.public_model is None or self.last_step is None:
            return None
        return {
            "id": f"ftckpt_{self.id.removeprefix('ftjob-')}",
            "object": "fine_tuning.job.checkpoint",
            "created_at": int(self.finished_s or self.created_s),
            "fine_tuned_model_checkpoint": self.public_model,
            "fine_tuning_job_id": self.id,
            "metrics": {key: one for key, one in self.last_step.items() if "total" not in key},
            "step_number": int(self.last_step["step"]),
        }
