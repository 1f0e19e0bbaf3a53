"""Submit a job. Pure."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Estimate, Memory
from controller.lockfile.model import DataFacts
from controller.plan.actions.base import ActionStyle, BaseAction, Row, download_rows
from controller.plan.actions.groups import CancellingAction
from controller.plan.desired import DataChange, ParentBuild, Shutdown
from controller.plan.fingerprint import InputChange, short_id
from controller.plan.hosting import hosting_origin, per_hour
from controller.plan.moving.move import Move
from controller.plan.moving.rows import (
    home_rows,
    is_of_home,
    move_json,
    move_remarks,
    move_review,
    move_rows,
)
from controller.render.text import dollars, number, one_line

_VALUE_WIDTH = 60
_GB = 2**30
_SHOWN = 0.05 * _GB
"""Smallest number of bytes that is shown."""
_DIGITS = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Train(CancellingAction):
    """Submit a job."""

    fingerprint: str
    attempt: int
    changes: tuple[InputChange, ...]
    """Against the build it replaces; empty for the first."""
    data_change: DataChange | None
    data: DataFacts
    estimate: Estimate
    memory: Memory | None = None
    judged_against: str | None = None
    """The production build that stays until this one passes the gate, and its place."""
    move: Move | None = None
    """The move that the job is for."""
    production_end: Shutdown | None = None
    """End of the model in production, for a move."""
    shutdown: Shutdown | None = None
    warnings: tuple[str, ...] = ()
    hosting: Hosting | None = None
    download_bytes: int | None = None
    """Bytes of the base model that are not on this machine yet."""
    parent: ParentBuild | None = None
    """Build of another fine-tune that training starts from."""
    retrain: bool
    covers_adoption = True

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        if self.move is not None:
            return ActionStyle("±", self.move.sentence, "to move", 15, done="submitted")
        return _RETRAIN if self.retrain else _TRAIN

    @property
    def target(self) -> str:
        """Fingerprint of the job."""
        return self.fingerprint

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
            **self.effects_json(),
            "fingerprint": self.fingerprint,
            "attempt": self.attempt,
            "retrain": self.retrain,
            "changes": [asdict(change) for change in self.changes],
            "cost": {
                "usd": self.estimate.usd,
                "gpu_hours": self.estimate.gpu_hours,
                "steps": self.estimate.steps,
                **(earlier if self.estimate.may_stop_earlier else {}),
                "basis": self.estimate.basis,
            },
            "shutdown_date": self.shutdown.date if self.shutdown else None,
            "days_left": self.shutdown.days_left if self.shutdown else None,
            "shutdown_source": self.shutdown.source if self.shutdown else None,
            "warnings": self.warnings,
            "download_bytes": self.download_bytes,
            "parent": None if self.parent is None else asdict(self.parent),
        }
        if self.memory is not None:
            value["memory"] = asdict(self.memory)
        if self.data_change is not None:
            value["examples"] = asdict(self.data_change)
        if self.move is not None:
            value["move"] = move_json(self.move, self.production_end)
        return value | self._hosting_json()

    def _hosting_json(self) -> dict[str, Json]:
        return {} if self.hosting is None else hosting_origin(self.hosting)

    def rows(self) -> Iterator[Row]:
        """Yield every input that forces training, and what the job takes."""
        if self.move is not None:
            yield from home_rows(self.move)
        for change in self.changes:
            if is_of_home(self.move, change.field):
                continue
            data = self.data_change if change.field == "data" else None
            yield change.field, f"{change_text(change, data)}  # forces training"
        if self.parent is not None:
            parent, how = self.parent, _ADAPTERS[self.parent.adapter]
            yield "parent", f"{parent.finetune}, build {short_id(parent.build)}, {how}"
        yield from download_rows(self.download_bytes)
        train, held_out = self.data.train.examples, self.data.held_out.examples
        yield "examples", f"{train:,}, {held_out:,} held out"
        yield from self.cancel_rows()
        if self.move is not None:
            yield from move_rows(self.move, self.production_end)
        elif self.judged_against is not None:
            yield "production", self.judged_against
        yield "cost", _estimate_text(self.estimate)
        if self.memory is not None:
            yield "memory", _memory_text(self.memory)
        if self.hosting is not None:
            yield "deployed", f"when it is trained: {per_hour(self.hosting.usd_per_hour)}"

    def review(self) -> Iterator[str]:
        """Yield what judges a move."""
        if self.move is not None:
            yield from move_review(self.move)

    def remarks(self) -> Iterator[str]:
        """Yield warnings."""
        if self.move is not None:
            yield from move_remarks(self.move)
        if self.shutdown is not None:
            yield f"! {shutdown_text(self.shutdown)}"
        for warning in self.warnings:
            yield f"! {warning}"


_ADAPTERS = {"merge": "merged", "continue": "continued"}
_TRAIN = ActionStyle("+", "will be trained", "to train", 10, done="submitted")
_RETRAIN = ActionStyle("±", "will be retrained", "to retrain", 20, done="submitted")


def change_text(change: InputChange, data: DataChange | None = None) -> str:
    """Return the old and the new value of an input.

    Args:
        change: The input.
        data: Examples that differ, if it is the data.
    """
    examples = f" ({_signs(data)} examples)" if data else ""
    return f"{_value_text(change.old)} -> {_value_text(change.new)}{examples}"


def _at_most(cost: tuple[float, float] | None, seen: tuple[float, float] | None) -> bool:
    return cost == seen or (cost is not None and seen is not None and cost[1] <= seen[1])


def _signs(data: DataChange) -> str:
    signs = {"+": data.added, "-": data.removed, "~": data.changed}
    return " ".join(f"{sign}{count:,}" for sign, count in signs.items() if count) or "the same"


def _value_text(value: Json) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return str(value).lower()
        case str() if value.startswith("sha256:"):
            return value[:_DIGITS]
        case str():
            return one_line(value, _VALUE_WIDTH)
        case float():
            return f"{value:g}"
        case _:
            return one_line(json.dumps(value, ensure_ascii=False), _VALUE_WIDTH)


def _estimate_text(estimate: Estimate) -> str:
    parts = ["not known"] if estimate.usd is None else [dollars(*estimate.usd)]
    if estimate.gpu_hours is not None:
        low, high = estimate.gpu_hours
        parts.append(f"{number(low)} - {number(high)} GPU hours")
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


def _gb(size: int) -> str:
    return f"{size / _GB:.1f}" if size >= _GB / 10 else f"{size / _GB:.2g}"


def shutdown_text(
    shutdown: Shutdown, models: str = "the base model, and every model made from it,"
) -> str:
    """Return when a service switches models off."""
    source = f"; {shutdown.source}" if shutdown.source else ""
    if shutdown.days_left <= 0:
        return f"the base model was switched off on {shutdown.date}{source}"
    unit = "day" if shutdown.days_left == 1 else "days"
    when = f"{shutdown.date} ({shutdown.days_left} {unit} left{source})"
    return f"{models} is switched off on {when}"
