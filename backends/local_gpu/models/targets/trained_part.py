"""The trained part of a base model, with warnings about mixtures of experts."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from backends.contract.jobs import TrainedPart
from backends.local_gpu.models.targets.selection import Kind, Known, Targets, select
from backends.local_gpu.models.targets.stored import Stored

_FLOAT: Final = 4
"""Bytes of a trained number in an adapter's file."""
_MOST: Final = 0.5
"""Share of a model above which its experts are most of it."""


def trained_part(stored: Stored, settings: Mapping[str, Any]) -> TrainedPart | None:
    """Return how much of a model is trained; None where its files do not tell.

    Args:
        stored: The base model.
        settings: Complete hyperparameters.
    """
    if settings["finetuning_type"] == "full":
        return TrainedPart(parameters=stored.weights - stored.beside, of=stored.weights)
    chosen = select(stored.known, settings)
    size = chosen.size(int(settings["r"]))
    if not size:
        return None
    return TrainedPart(
        parameters=size,
        of=stored.weights,
        adapter_bytes=_FLOAT * (size + _stored_twice(stored.known, chosen)),
        warnings=tuple(_warnings(stored.known, chosen, stored.weights)),
    )


def _stored_twice(known: Known, chosen: Targets) -> int:
    """Return the weights that an adapter's file has under the names of both ends of a model."""
    ends = [one.size for one in chosen.saved if one.kind is Kind.EMBEDDING]
    return sum(ends) if known.tied else 0


def _warnings(known: Known, chosen: Targets, weights: int) -> Iterator[str]:
    """Yield what a person should know of a mixture of experts."""
    experts = known.of(Kind.EXPERTS)
    if not experts:
        return
    share = sum(one.size for one in experts) / weights
    learning = [one for one in chosen.parameters if one.kind is Kind.EXPERTS]
    left = sum(one.size for one in experts if one not in learning) / weights
    if left > _MOST * share and left > _MOST:
        names = ", ".join(dict.fromkeys(".".join(one.name.split(".")[-2:]) for one in experts))
        yield (
            f"{left:.0%} of the model are experts that get no adapter: with `target_parameters: "
            f"[{names}]` they do"
        )
    routers = [one for one in chosen.parameters if one.kind is Kind.ROUTER]
    if routers:
        name = routers[0].owner.rpartition(".")[2]
        yield (
            "the router that chooses experts is trained too, and few examples may unbalance it: "
            f"`exclude_modules: [{name}]` leaves it as it is"
        )
