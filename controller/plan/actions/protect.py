"""Change the recorded protection. Pure."""

from dataclasses import dataclass

from backends.contract.inspector import Json
from backends.contract.jobs import Job
from controller.plan.actions.base import ActionStyle, BaseAction
from controller.plan.actions.retire import Retire


@dataclass(frozen=True, slots=True, kw_only=True)
class Protect(BaseAction):
    """Record that the fine-tune must not be retired, or that it may be."""

    protect: bool
    job: Job | None = None
    """The open job, which keeps running."""
    style = ActionStyle("~", "changes its protection", "to update", 110)
    covers_promotion = False

    @property
    def own_job(self) -> str | None:
        """Fingerprint of the open job."""
        return self.job.fingerprint if self.job is not None else None

    def follows(self, seen: BaseAction) -> bool:
        """Return True for every other action on a fine-tune that stays."""
        return not isinstance(seen, Retire)

    def decisive(self) -> dict[str, Json]:
        """Return the protection."""
        return {"protect": self.protect}
