"""Forget a fine-tune whose spec is gone. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.inspector import Json
from controller.plan.actions.base import ActionStyle, BaseAction, Row, Turn, build_words
from controller.plan.actions.groups import CancellingAction
from controller.plan.fingerprint import short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Retire(CancellingAction):
    """Forget a fine-tune whose spec is gone. No model is deleted."""

    deployments: tuple[str, ...] = ()
    """Deployments that cost by the hour, with their prices."""
    style = ActionStyle(".", "will be forgotten", "to retire", 120, done="forgotten")
    turn = Turn.AFTER_OTHERS
    covers_promotion = False

    def follows(self, seen: BaseAction) -> bool:
        """Return True for the same action that cancels the same job."""
        return isinstance(seen, Retire) and self.cancels_no_more(seen)

    def json(self) -> dict[str, Json]:
        """Return what it cancels, and the build that is forgotten."""
        return self.effects_json()

    def production_after(self, now: str | None) -> str:
        """Return that nothing is in production."""
        return f"none; {build_words(now)} is forgotten" if now is not None else "none"

    def rows(self) -> Iterator[Row]:
        """Yield what it cancels, and the build that is forgotten."""
        yield from self.cancel_rows()
        if self.replaces is not None:
            yield "production", f"build {short_id(self.replaces)}, which is forgotten"
        for deployment in self.deployments:
            yield "deployment", f"{deployment}, which stays until you delete it"
