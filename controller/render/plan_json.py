"""A plan as JSON, for programs and for `apply PLANFILE`. Holds digests and prices, no data. Pure."""

from collections.abc import Mapping

from backends.contract.inspector import Json
from controller.plan.actions import Action
from controller.plan.approvals.saved import action_ids
from controller.plan.desired import Desired
from controller.plan.plan import Plan
from controller.render.shutdowns import shutdown_json
from controller.render.summary import costs, no_changes, summary

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
        "cost": _total(plan),
        "settings": plan.settings,
        "decisions": dict(plan.decisions),
        "actions": [
            _action_json(action, desired.get(action.name), ids.get(action.name))
            for action in plan.actions
        ],
    }


def _total(plan: Plan) -> Json:
    """Return what all jobs cost together, and how many have no known price."""
    estimates, known = costs(plan.actions)
    return {
        "usd": [sum(low for low, _ in known), sum(high for _, high in known)],
        "unknown": len(estimates) - len(known),
    }


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
