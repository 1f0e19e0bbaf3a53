"""Submit a job. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Estimate, Memory, TrainedPart
from controller.plan.actions.base import ActionStyle, BaseAction, Row, download_rows
from controller.plan.actions.building import BuildingAction
from controller.plan.desired import DataChange, ParentBuild
from controller.plan.fingerprint import short_id
from controller.plan.hosting import hosting_origin, per_hour
from controller.render.text import dollars, hours_text

_GB = 2**30
_SHOWN = 0.05 * _GB
"""Smallest number of bytes that is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Train(BuildingAction):
    """Submit a job."""

    attempt: int
    data_change: DataChange | None
    estimate: Estimate
    memory: Memory | None = None
    hosting: Hosting | None = None
    parent: ParentBuild | None = None
    """Build of another fine-tune that training starts from."""
    retrain: bool
    covers_adoption = True
    ending = "the base model, and every model made from it,"

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        if self.move is not None:
            return ActionStyle("±", self.move.sentence, "to move", 15, done="submitted")
        return _RETRAIN if self.retrain else _TRAIN

    def follows(self, seen: BaseAction) -> bool:
        """Return True for the same job at the same price or less."""
        return (
            isinstance(seen, Train)
            and (self.fingerprint, self.attempt) == (seen.fingerprint, seen.attempt)
            and _at_most(self.estimate.usd, seen.estimate.usd)
            and _at_most(self.estimate.gpu_hours, seen.estimate.gpu_hours)
            and self.hosting == seen.hosting
            and self.cancels_no_more(seen)
        )

    def decisive(self) -> dict[str, Json]:
        """Return the job and its price."""
        value: dict[str, Json] = {
            "fingerprint": self.fingerprint,
            "attempt": self.attempt,
            "usd": self.estimate.usd,
            "gpu_hours": self.estimate.gpu_hours,
        }
        return value | self._hosting_json()

    def json(self) -> dict[str, Json]:
        """Return the job, its price, and what forces it."""
        earlier: dict[str, Json] = {"may_stop_earlier": True}
        value: dict[str, Json] = {
            **self.build_json(),
            "attempt": self.attempt,
            "retrain": self.retrain,
            "cost": {
                "usd": self.estimate.usd,
                "gpu_hours": self.estimate.gpu_hours,
                "steps": self.estimate.steps,
                **(earlier if self.estimate.may_stop_earlier else {}),
                "basis": self.estimate.basis,
            },
            "parent": None if self.parent is None else asdict(self.parent),
        }
        if self.memory is not None:
            value["memory"] = asdict(self.memory)
        if self.data_change is not None:
            value["examples"] = asdict(self.data_change)
        return value | self._hosting_json()

    def _hosting_json(self) -> dict[str, Json]:
        return {} if self.hosting is None else hosting_origin(self.hosting)

    def rows(self) -> Iterator[Row]:
        """Yield every input that forces training, and what the job takes."""
        yield from self.change_rows(self.data_change, "  # forces training")
        if self.parent is not None:
            parent, how = self.parent, _ADAPTERS[self.parent.adapter]
            yield "parent", f"{parent.finetune}, build {short_id(parent.build)}, {how}"
        yield from download_rows(self.download_bytes)
        train, held_out = self.data.train.examples, self.data.held_out.examples
        yield "examples", f"{train:,}, {held_out:,} held out"
        yield from self.cancel_rows()
        yield from self.production_rows()
        yield "cost", _estimate_text(self.estimate)
        if self.memory is not None and self.memory.trains is not None:
            yield "trains", _part_text(self.memory.trains)
        if self.memory is not None:
            yield "memory", _memory_text(self.memory)
        if self.hosting is not None:
            yield "deployed", f"when it is trained: {per_hour(self.hosting.usd_per_hour)}"


_ADAPTERS = {"merge": "merged", "continue": "continued"}
_TRAIN = ActionStyle("+", "will be trained", "to train", 10, done="submitted")
_RETRAIN = ActionStyle("±", "will be retrained", "to retrain", 20, done="submitted")


def _at_most(cost: tuple[float, float] | None, seen: tuple[float, float] | None) -> bool:
    return cost == seen or (cost is not None and seen is not None and cost[1] <= seen[1])


def _estimate_text(estimate: Estimate) -> str:
    parts = ["not known"] if estimate.usd is None else [dollars(*estimate.usd)]
    if estimate.gpu_hours is not None:
        low, high = estimate.gpu_hours
        parts.append(f"{hours_text(low)} - {hours_text(high)} GPU hours")
    if estimate.steps is not None:
        parts.append(f"{'at most ' * estimate.may_stop_earlier}{estimate.steps:,} steps")
    if estimate.may_stop_earlier:
        parts.append("may stop earlier")
    if estimate.basis:
        parts.append(estimate.basis)
    return ", ".join(parts)


def _memory_text(memory: Memory) -> str:
    """Return what a job needs, and what it consists of: `needs 14.1 of 24.0 GB`."""
    of = "" if memory.has is None else f" of {_gb(memory.has)}"
    parts = [f"{name} {_gb(size)}" for name, size in memory.parts.items() if size >= _SHOWN]
    inside = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    remark = f", {memory.remark}" if memory.remark else ""
    return f"needs {_gb(memory.needs)}{of} GB{inside}{remark}"


def _part_text(part: TrainedPart) -> str:
    """Return how much is trained: `1.2 M of 135 M parameters (0.9 %), adapter 4.8 MB`."""
    share = f"{100 * part.parameters / part.of:.2g} %"
    if part.parameters == part.of:
        return f"all {_count(part.of)} parameters"
    size = part.adapter_bytes
    adapter = "" if size is None else f", adapter {_count(size)}B"
    return f"{_count(part.parameters)} of {_count(part.of)} parameters ({share}){adapter}"


def _count(number: int) -> str:
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return str(number)


def _gb(size: int) -> str:
    return f"{size / _GB:.1f}" if size >= _GB / 10 else f"{size / _GB:.2g}"
