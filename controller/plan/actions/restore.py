"""Record again what a lost lockfile knew. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.inspector import Json
from controller.lockfile.model import Entry
from controller.plan.actions.base import ActionStyle, BaseAction, Row, Turn, build_words
from controller.plan.fingerprint import short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore(BaseAction):
    """Record every known build again, and which of them was in production.

    The reason says how that is known.
    """

    entry: Entry
    """Production is absent if only a backend knows it: then the newest build that passes is it."""
    source: str | None = None
    """Name of the fine-tune before its file was renamed; its entry goes with this action."""
    style = ActionStyle(
        "=", "is recorded again", "to restore", 50, running="restoring", done="restored"
    )
    covers_adoption = True

    @property
    def is_certain(self) -> bool:
        """True if it is known which build was in production, or that none was."""
        return self.source is not None or self.entry.production is not None or not self.entry.builds

    @property
    def turn(self) -> Turn:
        """Place in the order of carrying out: to find the production build, builds are measured."""
        return Turn.FIRST if self.is_certain else Turn.LAST

    @property
    def own_job(self) -> str | None:
        """Fingerprint of the open job."""
        return self.entry.job.fingerprint if self.entry.job is not None else None

    def wants(self, fingerprint: str) -> bool:
        """Return True: whatever was known is wanted."""
        del fingerprint
        return True

    def decisive(self) -> dict[str, Json]:
        """Return the builds, and the build in production."""
        return {
            "builds": sorted(self.entry.builds),
            "production": self.entry.production,
            "source": self.source,
        }

    def json(self) -> dict[str, Json]:
        """Return the builds, and the build in production."""
        return {**self.decisive(), "builds": list(self.entry.builds)}

    def production_after(self, now: str | None) -> str:
        """Return the build that was in production, as far as that is known."""
        if self.entry.production is None and self.entry.builds:
            return "the newest recorded build that passes"
        return build_words(self.entry.production or now)

    def rows(self) -> Iterator[Row]:
        """Yield the builds, the build in production, and the open job."""
        entry = self.entry
        yield "builds", ", ".join(short_id(key) for key in entry.builds) or "none"
        if entry.production is not None:
            yield "production", f"build {short_id(entry.production)}, as recorded then"
        elif entry.builds:
            yield "production", "the newest of these that passes the gate, or the pinned one"
        if entry.job is not None:
            yield "open job", entry.job.id
