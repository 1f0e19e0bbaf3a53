"""Fields that several kinds of actions share. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from backends.contract.inspector import Json
from backends.contract.jobs import Job
from controller.plan.actions.base import (
    BaseAction,
    Cancellation,
    Row,
    build_words,
    if_it_passes,
)
from controller.plan.fingerprint import short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacingAction(BaseAction):
    """An action that concerns the build in production."""

    replaces: str | None = None
    """The build in production."""

    def effects(self) -> dict[str, Json]:
        """Return what it replaces."""
        return {"replaces": self.replaces}


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellingAction(ReplacingAction):
    """An action that may cancel a running job."""

    cancels: Cancellation | None = None

    def cancels_no_more(self, seen: BaseAction) -> bool:
        """Return True if another action cancels the same job, or this one cancels none."""
        if self.cancels is None:
            return True
        return seen.cancels is not None and seen.cancels.job == self.cancels.job

    def effects(self) -> dict[str, Json]:
        """Return what it replaces and cancels."""
        job = {"job": self.cancels.job, "usd": self.cancels.usd} if self.cancels else None
        return {"replaces": self.replaces, "cancels": job}

    def effects_json(self) -> dict[str, Json]:
        """Return what it cancels and replaces, in full."""
        cancels = asdict(self.cancels) if self.cancels is not None else None
        return {"cancels": cancels, "replaces": self.replaces}

    def cancel_rows(self) -> Iterator[Row]:
        """Yield the job that it cancels."""
        if self.cancels is not None:
            yield "cancels", f"{self.cancels}: no spec asks for its inputs any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingAction(ReplacingAction):
    """An action on the way of one build into production."""

    fingerprint: str
    needs_approval: bool = False

    def replaces_as_seen(self, seen: Sequence[BaseAction]) -> bool:
        """Return True if production is still the build that approved actions replace."""
        replaced = {
            action.replaces
            for action in seen
            if isinstance(action, ReplacingAction) and action.covers_promotion
        }
        return not replaced or self.replaces in {*replaced, self.fingerprint}

    def follows(self, seen: BaseAction) -> bool:
        """Return True if approval of another action covers promotion."""
        return seen.covers_promotion

    def decisive(self) -> dict[str, Json]:
        """Return the build."""
        return {"fingerprint": self.fingerprint}

    def production_after(self, now: str | None) -> str:
        """Return what is in production once the build is judged."""
        build = build_words(self.fingerprint)
        return build if now == self.fingerprint else if_it_passes(build, now)

    def rows(self) -> Iterator[Row]:
        """Yield the build, and the build that it replaces if it passes."""
        yield "build", short_id(self.fingerprint)
        if self.replaces is not None and self.replaces != self.fingerprint:
            yield "production", f"build {short_id(self.replaces)}, replaced if this one passes"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAction(BaseAction):
    """An action about an open job, which needs no approval."""

    job: Job
    needs_approval = False

    @property
    def target(self) -> str:
        """Fingerprint of the job."""
        return self.job.fingerprint

    def production_after(self, now: str | None) -> str:
        """Return what is in production once the job has ended."""
        return if_it_passes("the job's build", now)

    def json(self) -> dict[str, Json]:
        """Return the job and its state."""
        return {"job": self.job.id, "state": self.job.state}
