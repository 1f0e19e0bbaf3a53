"""Trained models that a service holds, whoever made them, and their files. Part of the contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.contract.inspector import Json
from backends.contract.jobs import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedFile:
    """A file that a service keeps for a job."""

    id: str
    name: str | None = None
    """Name under which the file was uploaded; None where the service does not tell."""
    size_bytes: int | None = None
    available: bool | None = None
    """False if the service is sure that it does not have the file any more; None if not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """A job at a service with the model that it made, or a model whose job is not shown.

    Everything that a service may not tell is None or empty. Times are seconds since the epoch.
    """

    model_id: str | None = None
    """None if the job made no model."""
    is_listed: bool | None = None
    """False if the service is sure to list every model, and lacks this one; None if not known."""
    job_id: str | None = None
    """None for a model whose job this key does not see."""
    base_model: str | None = None
    method: str | None = None
    """Training method in the contract's word."""
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    """Hyperparameters under the backend's own names, as the service reports them."""
    seed: int | None = None
    suffix: str | None = None
    state: JobState = JobState.SUCCEEDED
    error: str | None = None
    """Why the job made no model."""
    created_s: float | None = None
    finished_s: float | None = None
    trained_tokens: int | None = None
    training_file: HostedFile | None = None
    validation_file: HostedFile | None = None
    shutdown_date: str | None = None
    """Day on which the service switches the model off by its list of models, `YYYY-MM-DD`."""
    organization: str | None = None
    """Organisation or owner of the job or model, in the service's words."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the job, as whoever made it wrote it."""
    made_for: str | None = None
    """Fine-tune for which ftctl itself made the job, in this repository or another."""
