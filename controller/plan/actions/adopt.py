"""Take over a job that is not recorded. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.deployments import Hosting
from backends.contract.inspector import Json
from backends.contract.jobs import Job
from controller.plan.actions.base import ActionStyle, BaseAction, Row, if_it_passes
from controller.plan.actions.groups import CancellingAction
from controller.plan.hosting import hosting_origin, per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt(CancellingAction):
    """Take over a job that exists at the backend and is not recorded."""

    job: Job
    hosting: Hosting | None = None
    style = ActionStyle("=", "takes over an existing job", "to take over", 40, done="taken over")
    covers_adoption = True

    @property
    def target(self) -> str:
        """Fingerprint of the job."""
        return self.job.fingerprint

    def follows(self, seen: BaseAction) -> bool:
        """Return True if another action covers a job for the same inputs."""
        covered = seen.covers_adoption and seen.wants(self.job.fingerprint)
        return covered and self.cancels_no_more(seen)

    def decisive(self) -> dict[str, Json]:
        """Return the job, and the price of the deployment that comes of it."""
        value: dict[str, Json] = {"job": self.job.id, "fingerprint": self.job.fingerprint}
        if self.hosting is not None:
            value |= hosting_origin(self.hosting)
        return value

    def json(self) -> dict[str, Json]:
        """Return the job and its state."""
        return {**self.effects_json(), "job": self.job.id, "state": self.job.state}

    def production_after(self, now: str | None) -> str:
        """Return what is in production once the job is judged."""
        return if_it_passes("its build", now)

    def rows(self) -> Iterator[Row]:
        """Yield what it cancels, and its cost."""
        yield from self.cancel_rows()
        yield "cost", "$0.00"
        if self.hosting is not None:
            yield "deployed", f"when it is trained: {per_hour(self.hosting.usd_per_hour)}"
