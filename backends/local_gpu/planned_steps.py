"""Number of optimiser steps of a training, with limits that end it before its epochs. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from backends.contract.inspector import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSteps:
    """The steps of a training."""

    most: int | None
    """None if they are not known."""
    may_stop_earlier: bool
    """True if held-out losses may end the training."""
    shares: tuple[float, float]
    """Least and most part of the work of all epochs that is done."""

    def of_hours(self, hours: tuple[float, float] | None) -> tuple[float, float] | None:
        """Return the least and the most hours, by those that all epochs would take."""
        if hours is None:
            return None
        return hours[0] * self.shares[0], hours[1] * self.shares[1]


def planned_steps(settings: Mapping[str, Json], per_epoch: int | None) -> PlannedSteps:
    """Return the steps that a training takes.

    Args:
        settings: Complete hyperparameters.
        per_epoch: Optimiser steps of an epoch; None if they are not known.
    """
    epochs, limit = int(str(settings["num_train_epochs"])), settings.get("max_steps")
    rule, every = settings.get("early_stopping"), settings.get("eval_steps")
    stops = isinstance(rule, Mapping)
    if per_epoch is None:
        most = limit if isinstance(limit, int) else None
        return PlannedSteps(
            most=most,
            may_stop_earlier=stops or most is not None,
            shares=(0.0 if stops or most is not None else 1.0, 1.0),
        )
    whole = per_epoch * epochs
    most = min(whole, limit) if isinstance(limit, int) else whole
    least = most
    if isinstance(rule, Mapping):
        # The first measurement is always the best so far.
        measurements = 1 + int(str(rule["patience"]))
        least = min(most, measurements * (every if isinstance(every, int) else per_epoch))
    return PlannedSteps(
        most=most, may_stop_earlier=least < most, shares=(least / whole, most / whole)
    )
