"""What a reviewer sees beside the plan itself: commits, gates, examples that differ. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.data.reports.diff import Difference, DiffSamples


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDiff:
    """Examples of a new build that differ from earlier ones."""

    against: str
    """The earlier dataset, for people: `build 0123456789ab in production`."""
    difference: Difference | None = None
    """None if the earlier dataset cannot be had."""
    samples: DiffSamples | None = None
    """The first examples of each kind; None if they are not shown."""
    note: str = ""
    """Reason for what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateChange:
    """A gate, before and after, and what recorded scores tell about it."""

    old: tuple[str, ...] | None
    """Conditions at the base commit; None if the fine-tune, or its spec, was not there."""
    new: tuple[str, ...]
    allowed_worse: bool = False
    """True if the old gate was `gate: []`, which promotes a model that is worse than its base, too."""
    allows_worse: bool = False
    """The same of the new gate. Without `gate`, there are no conditions either, and it is False."""
    foreseen: str = ""
    """Verdict of the new gate on recorded scores, for people; empty where they tell nothing."""

    @property
    def is_changed(self) -> bool:
        """True if the gate was another one before."""
        before, now = (self.old, self.allowed_worse), (self.new, self.allows_worse)
        return self.old is not None and before != now


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Everything that a comment shows beside the plan."""

    head: str | None = None
    """Commit that was planned, in full."""
    base: str | None = None
    """Commit that it is compared with, in full."""
    base_note: str = ""
    """Reason why nothing is compared with the base commit."""
    production: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of the build in production, by fine-tune."""
    data: Mapping[str, DataDiff] = field(default_factory=dict)
    """Examples that differ, by fine-tune."""
    gates: Mapping[str, GateChange] = field(default_factory=dict)
    """Gates, by fine-tune."""
    approve_above_usd: float | None = None
    """Cost above which somebody must approve the cost itself; None for no limit."""


NOTHING = Review()
