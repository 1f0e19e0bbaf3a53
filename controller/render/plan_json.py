"""A plan as JSON, for programs and for `apply PLANFILE`. Holds digests and prices, no data. Pure."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from backends.contract.inspector import Json
from controller.canonical import digest
from controller.plan.actions import Action, Blocked
from controller.plan.approval import ID_DIGITS, identity
from controller.plan.desired import Desired
from controller.plan.plan import Plan
from controller.render.shutdowns import shutdown_json
from controller.render.summary import no_changes, summary

PLAN_FORMAT = 2
"""2: the ID covers everything that a person decides by; actions that need approval have one, too."""


def plan_json(plan: Plan, desired: Mapping[str, Desired]) -> Json:
    """Return the plan for programs. Holds digests and prices, no secrets and no data."""
    ids = action_ids(plan)
    return {
        "format": PLAN_FORMAT,
        "id": plan.id,
        "specs": plan.specs,
        "suspended": list(plan.suspended),
        "replace": sorted(plan.replace),
        "corrected": dict(plan.corrected),
        "unasked": dict(plan.skipped),
        "shutdowns": {name: shutdown_json(end) for name, end in sorted(plan.shutdowns.items())},
        "notes": list(plan.notes),
        "summary": summary(plan) if plan.actions else no_changes(plan),
        "settings": plan.settings,
        "decisions": dict(plan.decisions),
        "actions": [
            _action_json(action, desired.get(action.name), ids.get(action.name))
            for action in plan.actions
        ],
    }


class SavedPlan(BaseModel):
    """Keys of a plan file that tell what a person approved."""

    model_config = ConfigDict(frozen=True)

    format: Literal[2]
    id: str
    replace: frozenset[str] = frozenset()
    """Fine-tunes whose builds of an older recipe it replaces."""
    settings: str
    decisions: dict[str, str]
    actions: list["SavedAction"]

    def changed_since(self, plan: Plan) -> list[str]:
        """Return what is not as it was approved; empty when nothing that is planned now differs.

        Less may be planned: a fine-tune whose backend is silent by now is left alone.
        """
        changed = [] if plan.settings == self.settings else ["ftctl.yaml"]
        approved = {one.name: one.id for one in self.actions if one.id is not None}
        now = action_ids(plan)
        names = {name for name, one in now.items() if approved.get(name) != one}
        names |= {
            name
            for name, decision in plan.decisions.items()
            if name in self.decisions and self.decisions[name] != decision
        }
        # What was approved and is done, or is not planned any more though it could be.
        blocked = {one.name for one in plan.actions if isinstance(one, Blocked)}
        names |= {name for name in approved if name not in now and name not in blocked}
        return [*changed, *sorted(names)]


class SavedAction(BaseModel):
    """An action of a plan file."""

    model_config = ConfigDict(frozen=True)

    name: str
    id: str | None = None


def read_plan(text: bytes) -> SavedPlan:
    """Read a plan file.

    Raises:
        ValueError: The text is something else, or a plan of another format.
    """
    try:
        return SavedPlan.model_validate_json(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def action_ids(plan: Plan) -> dict[str, str]:
    """Return the identity of what needs approval, by fine-tune."""
    identities: dict[str, list[Json]] = {}
    for action in plan.actions:
        if action.needs_approval:
            identities.setdefault(action.name, []).append(identity(action))
    return {name: digest(found)[:ID_DIGITS] for name, found in identities.items()}


def _action_json(action: Action, desired: Desired | None, action_id: str | None) -> Json:
    value: dict[str, Json] = {
        "name": action.name,
        "action": type(action).__name__.lower(),
        "reason": action.reason,
        "needs_approval": action.needs_approval,
    }
    if action_id is not None:
        value["id"] = action_id
    if desired is not None:
        value |= {"file": desired.file, "backend": desired.spec.place}
        if desired.spec.aliases:
            value["aliases"] = list(desired.spec.aliases)
    return value | action.json()
