"""Record a build for which nothing is trained: a base model and its prompt. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.inspector import Json
from controller.plan.actions.base import ActionStyle, BaseAction, Row, download_rows
from controller.plan.actions.building import BuildingAction
from controller.render.text import one_line

_WIDTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(BuildingAction):
    """Record a base model with a system prompt and examples as a build. No backend makes a job."""

    base_model: str
    """As the spec names it."""
    system: str | None
    few_shot: int
    own_job = None
    ending = "the base model"

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        if self.move is None:
            return _PROMPT
        sentence = f"{self.move.sentence} (nothing is trained)"
        return ActionStyle("+", sentence, "to move", 15, done="recorded")

    def follows(self, seen: BaseAction) -> bool:
        """Return True for the same build."""
        is_same = isinstance(seen, Prompt) and seen.fingerprint == self.fingerprint
        return is_same and self.cancels_no_more(seen)

    def decisive(self) -> dict[str, Json]:
        """Return the build."""
        return {"fingerprint": self.fingerprint}

    def json(self) -> dict[str, Json]:
        """Return the build, its prompt, and what differs from the one it replaces."""
        return {
            **self.build_json(),
            "base_model": self.base_model,
            "system": self.system,
            "few_shot": self.few_shot,
        }

    def rows(self) -> Iterator[Row]:
        """Yield the prompt, what differs, and the cost."""
        yield from self.change_rows()
        yield from download_rows(self.download_bytes)
        if self.system is not None and "prompt.system" not in {one.field for one in self.changes}:
            yield "system", one_line(self.system, _WIDTH)
        held_out = f"{self.data.held_out.examples:,}" if self.data.held_out.examples else "none"
        shown = f"{self.few_shot} before each question, " if self.few_shot else ""
        yield "examples", f"{shown}{held_out} held out"
        yield from self.cancel_rows()
        yield from self.production_rows()
        yield "cost", "$0.00"


_PROMPT = ActionStyle(
    "+", "will be prompted (nothing is trained)", "to prompt", 15, done="recorded"
)
