"""The section `hardware`: what a training job runs on. A spec has one, and `serve` of `ftctl.yaml`."""

from pydantic import Field, model_validator

from backends.contract import jobs as contract
from backends.pydantic_errors import InvalidValue
from controller.spec.base import NonEmpty, Strict


class Hardware(Strict):
    """What a training job runs on. No part of the identity: changing it trains nothing."""

    gpus: int = Field(default=1, ge=1, le=64)
    """GPUs that one job uses at once, on `local-gpu`, on all nodes together. The examples of each
    optimiser step stay the same and are divided among them. A job that runs keeps its GPUs until it
    is started again."""
    machine: NonEmpty | None = None
    """Machine of `ftctl.yaml` that the job is placed on; when absent, the machine that runs ftctl. A
    job stays where it began."""
    nodes: int = Field(default=1, ge=1, le=64)
    """Nodes of the machine that share the GPUs evenly; needs `machine`."""
    memory: str | None = Field(default=None, pattern=r"^[1-9][0-9]{0,5} ?[MGT]i?B$")
    """Memory of the job on each node: `64GB`; needs `machine`. When absent, what the machine
    gives."""

    @model_validator(mode="after")
    def _fits(self) -> "Hardware":
        alone = "needs `machine`: this machine is one node, and gives a job all its memory"
        add = "Name a machine of `ftctl.yaml`, or remove the field."
        if self.machine is None and self.nodes != 1:
            raise InvalidValue(alone, add, "nodes")
        if self.machine is None and self.memory is not None:
            raise InvalidValue(alone, add, "memory")
        if self.gpus % self.nodes:
            message = f"{self.gpus} GPUs cannot be divided evenly among {self.nodes} nodes"
            raise InvalidValue(message, "Use a multiple: `gpus` counts those of all nodes.", "gpus")
        return self

    @property
    def asked(self) -> contract.Hardware:
        """The same, as backends read it."""
        return contract.Hardware(
            gpus=self.gpus,
            machine=self.machine,
            nodes=self.nodes,
            memory_bytes=None if self.memory is None else _bytes(self.memory),
        )


def _bytes(written: str) -> int:
    """Return a size in bytes: powers of 1000 for GB, of 1024 for GiB."""
    number, unit = written.rstrip("MGTiB "), written.lstrip("0123456789 ")
    step = 1024 if "i" in unit else 1000
    power = {"M": 2, "G": 3, "T": 4}[unit[0]]
    return int(number) * int(step**power)
