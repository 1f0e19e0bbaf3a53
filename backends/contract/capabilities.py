"""Capabilities of a backend. Part of the contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Capabilities of a backend."""

    methods: frozenset[str]
    """Of `supervised`, `dpo`, `kto`, `reinforcement`, `continued-pretraining`."""
    remote: bool
    """True if data leaves this machine."""
    paid: bool
    """True if a job costs money at a service."""
    poll_s: float = 0.5
    """Seconds between two requests about open jobs."""
    endpoints: bool = False
    """True if a spec may name an `endpoint:`."""
    tracking: frozenset[str] = frozenset()
    """The services of `tracking:` that a job's metrics may go to."""
    gpu_hours: bool = False
    """True where a job stops at `budget.max_gpu_hours`."""
    hardware: bool = False
    """True where a job uses the hardware that `hardware` asks for."""
    machines: Mapping[str, bool] = field(default_factory=dict)
    """Machines that jobs may be placed on, each with True if private data may reach it."""
    starts_from: frozenset[str] = frozenset()
    """Ways to start training from a trained model: `merge` and `continue` for adapters here,
    `model` at a service that takes the model's ID as a base model."""
    measures_loss: bool = True
    """True where completions carry the loss of the expected answers."""
    exports: frozenset[str] = frozenset()
    """Formats in which `export_model` writes weights; empty where a service keeps them."""
