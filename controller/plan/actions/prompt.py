"""Record a build for which nothing is trained: a base model and its prompt. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from backends.contract.inspector import Json
from controller.lockfile.model import DataFacts
from controller.plan.actions.base import ActionStyle, BaseAction, Row, download_rows
from controller.plan.actions.groups import CancellingAction
from controller.plan.actions.train import change_text, shutdown_text
from controller.plan.desired import Shutdown
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

_WIDTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(CancellingAction):
    """Record a base model with a system prompt and examples as a build. No backend makes a job."""

    fingerprint: str
    base_model: str
    """As the spec names it."""
    system: str | None
    few_shot: int
    changes: tuple[InputChange, ...]
    """Against the build it replaces; empty for the first."""
    data: DataFacts
    judged_against: str | None = None
    """The production build that stays until this one passes the gate, and its place."""
    move: Move | None = None
    """The move that the prompt is for."""
    production_end: Shutdown | None = None
    """End of the model in production, for a move."""
    shutdown: Shutdown | None = None
    warnings: tuple[str, ...] = ()
    download_bytes: int | None = None
    """Bytes of the base model that are not on this machine yet."""
    own_job = None

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        if self.move is None:
            return _PROMPT
        sentence = f"{self.move.sentence} (nothing is trained)"
        return ActionStyle("+", sentence, "to move", 15, done="recorded")

    @property
    def target(self) -> str:
        """Fingerprint of the build."""
        return self.fingerprint

    def follows(self, seen: BaseAction) -> bool:
        """Return True for the same build."""
        is_same = isinstance(seen, Prompt) and seen.fingerprint == self.fingerprint
        return is_same and self.cancels_no_more(seen)

    def decisive(self) -> dict[str, Json]:
        """Return the build."""
        return {"fingerprint": self.fingerprint}

    def json(self) -> dict[str, Json]:
        """Return the build, its prompt, and what differs from the one it replaces."""
        move = move_json(self.move, self.production_end) if self.move is not None else None
        return {
            **self.effects_json(),
            **({"move": move} if move is not None else {}),
            "fingerprint": self.fingerprint,
            "base_model": self.base_model,
            "system": self.system,
            "few_shot": self.few_shot,
            "changes": [asdict(change) for change in self.changes],
            "shutdown_date": self.shutdown.date if self.shutdown else None,
            "days_left": self.shutdown.days_left if self.shutdown else None,
            "shutdown_source": self.shutdown.source if self.shutdown else None,
            "warnings": self.warnings,
            "download_bytes": self.download_bytes,
        }

    def rows(self) -> Iterator[Row]:
        """Yield the prompt, what differs, and the cost."""
        if self.move is not None:
            yield from home_rows(self.move)
        for change in self.changes:
            if not is_of_home(self.move, change.field):
                yield change.field, change_text(change)
        yield from download_rows(self.download_bytes)
        if self.system is not None and "prompt.system" not in {one.field for one in self.changes}:
            yield "system", one_line(self.system, _WIDTH)
        held_out = f"{self.data.held_out.examples:,}" if self.data.held_out.examples else "none"
        shown = f"{self.few_shot} before each question, " if self.few_shot else ""
        yield "examples", f"{shown}{held_out} held out"
        yield from self.cancel_rows()
        if self.move is not None:
            yield from move_rows(self.move, self.production_end)
        elif self.judged_against is not None:
            yield "production", self.judged_against
        yield "cost", "$0.00"

    def review(self) -> Iterator[str]:
        """Yield what judges a move."""
        if self.move is not None:
            yield from move_review(self.move)

    def remarks(self) -> Iterator[str]:
        """Yield warnings."""
        if self.move is not None:
            yield from move_remarks(self.move)
        if self.shutdown is not None:
            yield f"! {shutdown_text(self.shutdown, 'the base model')}"
        for warning in self.warnings:
            yield f"! {warning}"


_PROMPT = ActionStyle(
    "+", "will be prompted (nothing is trained)", "to prompt", 15, done="recorded"
)
