"""Fields and lines that actions which make a new build share. Pure."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

from backends.contract.inspector import Json
from controller.lockfile.model import DataFacts
from controller.plan.actions.base import Row, if_it_passes
from controller.plan.actions.groups import CancellingAction
from controller.plan.desired import DataChange, Shutdown
from controller.plan.fingerprint import InputChange
from controller.plan.moving.move import Move
from controller.plan.moving.rows import (
    home_rows,
    is_of_home,
    move_json,
    move_remarks,
    move_review,
    move_rows,
)
from controller.render.text import one_line

_VALUE_WIDTH = 60
_DIGITS = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildingAction(CancellingAction):
    """An action that makes a new build of a fine-tune."""

    ending: ClassVar[str]
    """Models that end with the base model, in a sentence."""

    fingerprint: str
    changes: tuple[InputChange, ...]
    """Against the build it replaces; empty for the first."""
    data: DataFacts
    judged_against: str | None = None
    """The production build that stays until this one passes the gate, and its place."""
    move: Move | None = None
    """The move that the build is for."""
    production_end: Shutdown | None = None
    """End of the model in production, for a move."""
    shutdown: Shutdown | None = None
    """End of the base model."""
    warnings: tuple[str, ...] = ()
    download_bytes: int | None = None
    """Bytes of the base model that are not on this machine yet."""

    @property
    def target(self) -> str:
        """Fingerprint of the build."""
        return self.fingerprint

    def build_json(self) -> dict[str, Json]:
        """Return the build, what differs from the one it replaces, and warnings."""
        move = move_json(self.move, self.production_end) if self.move is not None else None
        return {
            **self.effects_json(),
            **({"move": move} if move is not None else {}),
            "fingerprint": self.fingerprint,
            "changes": [asdict(change) for change in self.changes],
            "shutdown_date": self.shutdown.date if self.shutdown else None,
            "days_left": self.shutdown.days_left if self.shutdown else None,
            "shutdown_source": self.shutdown.source if self.shutdown else None,
            "warnings": self.warnings,
            "download_bytes": self.download_bytes,
        }

    def change_rows(self, data_change: DataChange | None = None, mark: str = "") -> Iterator[Row]:
        """Yield the inputs that differ.

        Args:
            data_change: Examples that differ.
            mark: End of each line.
        """
        if self.move is not None:
            yield from home_rows(self.move)
        for change in self.changes:
            if not is_of_home(self.move, change.field):
                data = data_change if change.field == "data" else None
                yield change.field, f"{_change_text(change, data)}{mark}"

    def production_rows(self) -> Iterator[Row]:
        """Yield the model in production, and what judges the new one against it."""
        if self.move is not None:
            yield from move_rows(self.move, self.production_end)
        elif self.judged_against is not None:
            yield "production", self.judged_against

    def production_after(self, now: str | None) -> str:
        """Return what is in production once the new build is judged."""
        return if_it_passes("new build", now)

    def review(self) -> Iterator[str]:
        """Yield what judges a move."""
        if self.move is not None:
            yield from move_review(self.move)

    def remarks(self) -> Iterator[str]:
        """Yield warnings."""
        if self.move is not None:
            yield from move_remarks(self.move)
        if self.shutdown is not None:
            yield f"! {_shutdown_text(self.shutdown, self.ending)}"
        for warning in self.warnings:
            yield f"! {warning}"


def _change_text(change: InputChange, data: DataChange | None = None) -> str:
    """Return the old and the new value of an input.

    Args:
        change: The input.
        data: Examples that differ, if it is the data.
    """
    examples = f" ({_signs(data)} examples)" if data else ""
    return f"{_value_text(change.old)} -> {_value_text(change.new)}{examples}"


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


def _shutdown_text(shutdown: Shutdown, models: str) -> str:
    """Return when a service switches models off."""
    source = f"; {shutdown.source}" if shutdown.source else ""
    if shutdown.days_left <= 0:
        return f"the base model was switched off on {shutdown.date}{source}"
    unit = "day" if shutdown.days_left == 1 else "days"
    when = f"{shutdown.date} ({shutdown.days_left} {unit} left{source})"
    return f"{models} is switched off on {when}"
