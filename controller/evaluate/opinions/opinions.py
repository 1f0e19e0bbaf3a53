"""Opinions on answers, whoever has them. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controller.evaluate.scoring import Tallies


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """Tallies of metrics that need an opinion, and what is worth knowing about them."""

    tallies: Mapping[str, Tallies] = field(default_factory=dict)
    """By role. A model on whose answers there is no opinion by a metric lacks this metric."""
    remarks: tuple[str, ...] = ()
    """Sentences for people: what did not count, how far raters agree."""


def joined(opinions: Iterable[Opinions]) -> Opinions:
    """Return opinions of several metrics in one."""
    tallies: dict[str, Tallies] = {}
    remarks: list[str] = []
    for one in opinions:
        for role, found in one.tallies.items():
            tallies.setdefault(role, {}).update(found)
        remarks += one.remarks
    return Opinions(tallies=tallies, remarks=tuple(remarks))
