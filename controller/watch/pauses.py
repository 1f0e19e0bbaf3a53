"""Pauses between attempts at what failed: a service that refuses must not be asked every minute.

What a spec or `ftctl.yaml` declares differently is tried at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.apply.context import Outcome
from controller.plan.plan import Plan

_FIRST_S = 30.0
_LONGEST_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pause:
    declared: tuple[str | None, str]
    """What was declared when it failed."""
    length_s: float
    until_s: float
    message: str


@dataclass(slots=True)
class Pauses:
    """Fine-tunes for which something failed."""

    _pauses: dict[str, _Pause] = field(default_factory=dict)

    def paused(self, plan: Plan, now_s: float) -> Mapping[str, str]:
        """Return the fine-tunes that are not tried now, each with what went wrong."""
        return {
            name: pause.message
            for name, pause in self._pauses.items()
            if now_s < pause.until_s and pause.declared == _declared(plan, name)
        }

    def note(self, plan: Plan, outcomes: Iterable[Outcome], now_s: float) -> None:
        """Begin or lengthen the pauses of what failed; end those of what was done."""
        for outcome in outcomes:
            name, declared = outcome.action.name, _declared(plan, outcome.action.name)
            if not outcome.action.acts:
                continue
            before = self._pauses.pop(name, None)
            if outcome.exit_code:
                is_again = before is not None and before.declared == declared
                length_s = min(2 * before.length_s, _LONGEST_S) if before and is_again else _FIRST_S
                self._pauses[name] = _Pause(
                    declared=declared,
                    length_s=length_s,
                    until_s=now_s + length_s,
                    message=outcome.message,
                )


def _declared(plan: Plan, name: str) -> tuple[str | None, str]:
    return plan.decisions.get(name), plan.settings
