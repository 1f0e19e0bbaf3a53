"""Bring a build into production: measure, judge, promote it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from controller.plan.actions.base import ActionStyle, Turn, build_words
from controller.plan.actions.groups import JudgingAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate(JudgingAction):
    """Measure a build on the held-out set and judge it.

    Needs no approval for the first time, nor where it is free and cannot switch production.
    """

    without_base: str | None = None
    """Reason why the base model is left out of the comparison; None if it is compared."""
    asks: str = ""
    """Number and cost of the requests, if a person asked for another measurement."""
    style = ActionStyle(
        "~",
        "will be evaluated",
        "to evaluate",
        80,
        running="evaluating on the held-out set",
        done="evaluated",
    )
    turn = Turn.LAST

    def remarks(self) -> Iterator[str]:
        """Yield the requests, and why the base model is left out."""
        if self.asks:
            yield f"asks = {self.asks}"
        if self.without_base is not None:
            yield f"! {self.without_base}; `base` is left out of the comparison"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge(JudgingAction):
    """Judge a build again from its recorded scores.

    Needs approval if the outcome switches production, by a gate that was changed since it failed.
    """

    style = ActionStyle("~", "will be judged again", "to judge", 90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(JudgingAction):
    """Make the candidate the production build.

    Needs no approval for a build of an approved job, on the terms approved with it.
    """

    style = ActionStyle("~", "will be promoted", "to promote", 100, done="promoted")

    def production_after(self, now: str | None) -> str:
        """Return the build."""
        del now
        return build_words(self.fingerprint)
