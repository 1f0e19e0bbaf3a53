"""Follow an open job: wait for it, resume it, record its end. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from controller.plan.actions.base import ActionStyle, build_words
from controller.plan.actions.groups import JobAction
from controller.render.text import progress_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait(JobAction):
    """Wait for a running job."""

    style = ActionStyle("»", "is in progress", "in progress", 130)
    acts = False
    leads_on = False

    def remarks(self) -> Iterator[str]:
        """Yield the job's progress."""
        yield progress_text(self.job.progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(JobAction):
    """Let a job that lost its worker continue from its last checkpoint."""

    style = ActionStyle("»", "will be resumed", "to resume", 60)
    leads_on = False

    def remarks(self) -> Iterator[str]:
        """Yield the job's progress."""
        yield progress_text(self.job.progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(JobAction):
    """Record the end of a job."""

    superseded: bool = False
    """True if the spec, or its absence, asks for other inputs by now."""
    style = ActionStyle("~", "has a finished job to record", "to record", 70)

    def production_after(self, now: str | None) -> str:
        """Return what is in production once the build is judged; an unwanted one is not."""
        # The base's own method, by its name: a dataclass with slots breaks the short `super()`.
        after = JobAction.production_after(self, now)
        return build_words(now) if self.superseded else after
