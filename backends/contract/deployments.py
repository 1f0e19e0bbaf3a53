"""Deployments: at some services a trained model answers only once it is deployed. Part of the contract."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """Settings of an endpoint's deployments, from `ftctl.yaml`. Holds names of secrets, never secrets."""

    subscription: str | None = None
    resource_group: str | None = None
    account: str | None = None
    """Account at the service that holds the deployments."""
    sku: str | None = None
    """Kind of deployment; None: the service's usual one."""
    capacity: int = 1
    token_env: str | None = None
    """Environment variable with the token for deployments, where the endpoint's key does not do."""
    base_url: str | None = None
    """Address where deployments are made; None: the service's own."""
    usd_per_hour: float | None = None
    """Price of a deployment in US dollars an hour; None takes the service's known price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """Price of a deployment that a backend makes."""

    usd_per_hour: float | None
    """From its making to its deletion, used or not; None if it is not known."""
    note: str = ""
    """A note for people, as a sentence without its full stop."""


class DeploymentState(StrEnum):
    """State of a deployment."""

    MISSING = "missing"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The service was not asked, or gave no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The deployment of one model."""

    name: str
    """Name under which the model answers, or will answer."""
    state: DeploymentState
    detail: str = ""
    """Why it failed, or why its state is not known."""
    is_written: bool = False
    """True if a person named it in `ftctl.yaml`."""
