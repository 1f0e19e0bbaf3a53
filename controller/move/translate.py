"""Hyperparameters of one backend as those of another, by their common names. Pure.

Whatever cannot be carried over is named with the reason. A rate multiplier is a factor on a rate
that services do not publish: it becomes the same factor on the default rate of the new home, which
is a start and not the same training.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from backends.contract import common_names as common
from backends.contract.inspector import Json

AUTO: Final = "auto"
_DEVICE_BATCH: Final = 8
"""Most examples at once for a batch that is given as a whole: memory is what it costs."""
_DIGITS: Final = 6
"""Significant digits of a computed rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Hyperparameters of one place."""

    place: str
    names: Mapping[str, str]
    """Common names of its hyperparameters, by its own names."""
    defaults: Mapping[str, Json] = field(default_factory=dict)
    """Its complete hyperparameters where a spec writes none."""

    def own(self, name: str) -> str | None:
        """Return its own name of a common name; None if it has no such hyperparameter."""
        return next((own for own, shared in self.names.items() if shared == name), None)

    def default(self, name: str) -> float | None:
        """Return the number that holds where a spec writes none; None if the service chooses."""
        value = self.defaults.get(self.own(name) or "")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number and isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A hyperparameter, and what becomes of it."""

    key: str
    value: Json
    """As it was written."""
    becomes: Mapping[str, Json]
    """Hyperparameters of the new home; empty if it is not carried over."""
    why: str = ""
    """Formula of the value, or the reason why it is not carried over."""

    @property
    def is_kept(self) -> bool:
        """True if nothing changes."""
        return dict(self.becomes) == {self.key: self.value}


Refusal = Callable[[str, Json], str]
"""Returns why the new home refuses a hyperparameter; empty if it takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """Translates the hyperparameters of one spec."""

    old: Home
    new: Home
    refusal: Refusal
    same_backend: bool
    """True if both homes are endpoints of one backend, which share names beside the common ones."""
    chosen: Mapping[str, Json] = field(default_factory=dict)
    """What the service chose for `auto`, as recorded with the build in production."""

    def of(self, raw: Mapping[str, Json]) -> tuple[Carried, ...]:
        """Return what becomes of each hyperparameter, in order."""
        carried: list[Carried] = []
        for each in self._all(raw):
            one = self._checked(each)
            taken = [key for key in one.becomes if key in merged(carried)]
            if taken:
                one = self._dropped(one.key, one.value, f"{taken[0]} is given already")
            carried.append(one)
        return tuple(carried)

    def _all(self, raw: Mapping[str, Json]) -> Iterator[Carried]:
        for key, written in raw.items():
            value, note = written, ""
            if written == AUTO and not self._takes_auto(key):
                value = self.chosen.get(key, AUTO)
                if value == AUTO:
                    why = f"{self.old.place} chose it; the default of {self.new.place} holds"
                    yield Carried(key=key, value=written, becomes={}, why=why)
                    continue
                note = f"{self.old.place} chose {_shown(value)}"
            one = self._one(key, value, raw)
            why = "; ".join(filter(None, [note, one.why]))
            yield Carried(key=key, value=written, becomes=one.becomes, why=why)

    def _takes_auto(self, key: str) -> bool:
        own = self.new.own(self.old.names.get(key, ""))
        return own is not None and not self.refusal(own, AUTO)

    def _one(self, key: str, value: Json, raw: Mapping[str, Json]) -> Carried:
        name = self.old.names.get(key)
        if name is None:
            if self.same_backend:
                return Carried(key=key, value=value, becomes={key: value})
            return self._dropped(key, value, f"{self.new.place} has no such setting")
        if name in {common.BATCH, common.DEVICE_BATCH, common.ACCUMULATION}:
            return self._batch(key, name, value, raw)
        if name in {common.RATE, common.RATE_MULTIPLIER}:
            return self._rate(key, name, value)
        own = self.new.own(name)
        if own is None:
            return self._dropped(key, value, f"{self.new.place} has no such setting")
        is_share = isinstance(value, int | float) and value < 1
        if name == common.WARMUP and not is_share:
            return self._dropped(key, value, "a number of steps is another share of other data")
        return Carried(key=key, value=value, becomes={own: value})

    def _batch(self, key: str, name: str, value: Json, raw: Mapping[str, Json]) -> Carried:
        own = self.new.own(name)
        if own is not None:
            return Carried(key=key, value=value, becomes={own: value})
        if not isinstance(value, int):
            return self._dropped(key, value, "it is not a number")
        whole, device = self.new.own(common.BATCH), self.new.own(common.DEVICE_BATCH)
        if name == common.BATCH and device is not None:
            return self._split(key, value, device)
        if name == common.BATCH or whole is None:
            return self._dropped(key, value, f"{self.new.place} has no such setting")
        if name == common.ACCUMULATION and self.old.own(common.DEVICE_BATCH) in raw:
            return self._dropped(key, value, f"counted in {whole}")
        factors = [self._written(one, raw) for one in (common.DEVICE_BATCH, common.ACCUMULATION)]
        if None in factors:
            return self._dropped(key, value, "it is not a number")
        product = math.prod(int(one or 1) for one in factors)
        why = " x ".join(str(int(one or 1)) for one in factors) + " examples a step"
        return Carried(key=key, value=value, becomes={whole: product}, why=why)

    def _split(self, key: str, value: int, device: str) -> Carried:
        steps = self.new.own(common.ACCUMULATION)
        at_once = value
        if steps is not None and value > _DEVICE_BATCH:
            at_once = max(one for one in range(1, _DEVICE_BATCH + 1) if value % one == 0)
        becomes: dict[str, Json] = {device: at_once}
        if steps is not None and at_once != value:
            becomes[steps] = value // at_once
        why = f"{value} examples a step" if len(becomes) > 1 else ""
        return Carried(key=key, value=value, becomes=becomes, why=why)

    def _written(self, name: str, raw: Mapping[str, Json]) -> float | None:
        own = self.old.own(name)
        if own is None:
            return 1
        value = raw.get(own, self.old.defaults.get(own, 1))
        return value if isinstance(value, int) else None

    def _rate(self, key: str, name: str, value: Json) -> Carried:
        own = self.new.own(name)
        if own is not None:
            why = ""
            if name == common.RATE_MULTIPLIER and self.old.place != self.new.place:
                why = "a factor on another server's rate, which need not be the same rate"
            elif name == common.RATE:
                why = "the same rate; another model may need another one"
            return Carried(key=key, value=value, becomes={own: value}, why=why)
        rate, factor = self.new.own(common.RATE), self.new.own(common.RATE_MULTIPLIER)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self._dropped(key, value, "it is not a number")
        if name == common.RATE_MULTIPLIER and rate is not None:
            default = self.new.default(common.RATE)
            if default is None:
                why = f"{self.new.place} has no default rate to multiply"
                return self._dropped(key, value, why)
            why = (
                f"{value:g} x {default:g}, the default rate of {self.new.place}; {self.old.place} "
                "does not publish the rate that it multiplies, so this is a start, not the same rate"
            )
            return Carried(key=key, value=value, becomes={rate: _rounded(value * default)}, why=why)
        default = self.old.default(common.RATE)
        if factor is None or default is None:
            return self._dropped(key, value, f"{self.new.place} chooses its rate itself")
        why = (
            f"{value:g} / {default:g}, the default rate of {self.old.place}; {self.new.place} does "
            "not publish the rate that it multiplies, so this is a start, not the same rate"
        )
        return Carried(key=key, value=value, becomes={factor: _rounded(value / default)}, why=why)

    def _checked(self, one: Carried) -> Carried:
        refused = [text for key, value in one.becomes.items() if (text := self.refusal(key, value))]
        if not refused:
            return one
        becomes = ", ".join(f"{key}: {_shown(value)}" for key, value in one.becomes.items())
        why = f"as {becomes} it is refused: {'; '.join(refused)}"
        return self._dropped(one.key, one.value, why)

    def _dropped(self, key: str, value: Json, why: str) -> Carried:
        return Carried(key=key, value=value, becomes={}, why=why)


def merged(carried: Sequence[Carried]) -> dict[str, Json]:
    """Return the hyperparameters of the new home."""
    return {key: value for one in carried for key, value in one.becomes.items()}


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")


def _shown(value: Json) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
