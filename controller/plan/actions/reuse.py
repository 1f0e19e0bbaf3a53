"""Return to a recorded build: nothing is trained. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from backends.contract.inspector import Json
from controller.lockfile.early import EarlyBuild
from controller.plan.actions.base import ActionStyle, BaseAction, Row, build_words, if_it_passes
from controller.plan.actions.groups import CancellingAction
from controller.plan.fingerprint import short_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse(CancellingAction):
    """Use a recorded build again."""

    fingerprint: str
    source: str
    """The fine-tune that has the build: this one, or another one with equal inputs."""
    promote: bool
    """True if its recorded scores already pass the gate, so that it goes to production at once."""
    keeps_scores: bool = True
    """True if its recorded scores were measured as this spec asks."""
    elsewhere: str | None = None
    """What to do, where the model is only at another machine: only there it can be reused."""
    early: EarlyBuild | None = None
    """The build, where it was trained for a pull request and the lockfile does not have it."""
    own_job = None

    @property
    def style(self) -> ActionStyle:
        """Words for people."""
        if self.early is not None:
            return _TAKE_OVER if self.promote else _JUDGE_EARLY
        return _GO_BACK if self.promote else _JUDGE

    @property
    def target(self) -> str:
        """Fingerprint of the build."""
        return self.fingerprint

    def follows(self, seen: BaseAction) -> bool:
        """Return True if another action works towards the same build."""
        return seen.wants(self.fingerprint) and self.cancels_no_more(seen)

    def decisive(self) -> dict[str, Json]:
        """Return the build and its source."""
        return {"fingerprint": self.fingerprint, "source": self.source, "promote": self.promote}

    def json(self) -> dict[str, Json]:
        """Return the build and its source, and what to do if the model is at another machine."""
        more: dict[str, Json] = {} if self.elsewhere is None else {"elsewhere": self.elsewhere}
        if self.early is not None:
            more |= {"trained_for_pull": self.early.pull}
        return {**self.effects_json(), **self.decisive(), **more}

    def production_after(self, now: str | None) -> str:
        """Return the recorded build, or what is there if that has to be judged first."""
        build = build_words(self.fingerprint)
        return build if self.promote else if_it_passes(build, now)

    def rows(self) -> Iterator[Row]:
        """Yield the build, what it cancels and replaces, and its cost."""
        build = short_id(self.fingerprint)
        yield "build", build
        if self.elsewhere is not None:
            yield "model", f"at another machine, which alone can reuse it; {self.elsewhere}"
        yield from self.cancel_rows()
        if self.promote and self.replaces != self.fingerprint:
            replaced = f"build {short_id(self.replaces)}" if self.replaces else "none"
            yield "production", f"{replaced} -> build {build}"
        yield "cost", "$0.00"


_GO_BACK = ActionStyle("=", "goes back to a recorded build", "to reuse", 30, done="reused")
_JUDGE = ActionStyle("=", "will judge a recorded build", "to reuse", 30, done="reused")
_TAKE_OVER = ActionStyle(
    "=", "is already trained, and goes into production", "already trained", 29, done="taken over"
)
_JUDGE_EARLY = ActionStyle(
    "=", "is already trained, and will be judged", "already trained", 29, done="taken over"
)
