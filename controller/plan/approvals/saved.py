"""A plan file: the part of it that tells what somebody approved. Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Estimate
from controller.canonical import digest
from controller.lockfile.model import DataFacts, PartFacts
from controller.plan.actions import Action, Blocked, Retire, Train
from controller.plan.actions.base import Cancellation
from controller.plan.approval import ID_DIGITS, identity
from controller.plan.plan import Plan

_NO_DATA = DataFacts(
    train=PartFacts(digest="", examples=0), held_out=PartFacts(digest="", examples=0)
)


class SavedCost(BaseModel):
    """Cost of a job, in a plan file."""

    model_config = ConfigDict(frozen=True)

    usd: tuple[float, float] | None = None
    gpu_hours: tuple[float, float] | None = None


class SavedCancellation(BaseModel):
    """A job that an action cancels, in a plan file."""

    model_config = ConfigDict(frozen=True)

    job: str
    backend: str = ""
    submitted: str = ""
    usd: tuple[float, float] | None = None


class SavedHosting(BaseModel):
    """Price of a deployment, in a plan file."""

    model_config = ConfigDict(frozen=True)

    usd_per_hour: float | None = None


class SavedAction(BaseModel):
    """An action of a plan file."""

    model_config = ConfigDict(frozen=True)

    name: str
    action: str = ""
    reason: str = ""
    id: str | None = None
    fingerprint: str = ""
    attempt: int = 0
    cost: SavedCost = SavedCost()
    hosting: SavedHosting | None = None
    cancels: SavedCancellation | None = None
    replaces: str | None = None

    def implies(self, action: Action) -> bool:
        """Return True if approval of this action implies approval of another one.

        The job that was approved may run already, cost less, or have become a build.
        """
        seen = self._as_seen(action)
        if seen is None or not action.follows(seen):
            return False
        return action.effects().get("replaces", self.replaces) == self.replaces

    def _as_seen(self, now: Action) -> Action | None:
        """Return this action as far as others may follow from it; None if none may."""
        cancels = None
        if self.cancels is not None:
            cancels = Cancellation(**self.cancels.model_dump())
        if self.action == "retire":
            return Retire(
                name=self.name, reason=self.reason, cancels=cancels, replaces=self.replaces
            )
        if self.action != "train":
            return None
        hours = self.cost.gpu_hours
        if hours is None and isinstance(now, Train):
            # One's own hardware: a machine that has not trained yet cannot tell how long it takes.
            hours = now.estimate.gpu_hours
        return Train(
            name=self.name,
            reason=self.reason,
            fingerprint=self.fingerprint,
            attempt=self.attempt,
            estimate=Estimate(usd=self.cost.usd, gpu_hours=hours),
            hosting=_hosting(self.hosting, now.hosting),
            cancels=cancels,
            replaces=self.replaces,
            changes=(),
            data=_NO_DATA,
            data_change=None,
            retrain=False,
        )


class SavedPlan(BaseModel):
    """Keys of a plan file that tell what a person approved."""

    model_config = ConfigDict(frozen=True)

    format: Literal[2]
    id: str
    replace: frozenset[str] = frozenset()
    """Fine-tunes whose builds of an older recipe it replaces."""
    settings: str
    decisions: dict[str, str]
    actions: list[SavedAction] = Field(default_factory=list)

    def of(self, name: str) -> list[SavedAction]:
        """Return the actions of one fine-tune that were approved."""
        return [one for one in self.actions if one.name == name and one.id is not None]

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


def _hosting(saved: SavedHosting | None, now: Hosting | None) -> Hosting | None:
    """Return a saved price; with the note of now if it is the same price."""
    if saved is None:
        return None
    if now is not None and now.usd_per_hour == saved.usd_per_hour:
        return now
    return Hosting(usd_per_hour=saved.usd_per_hour)
