"""Checks that a training changed what it should have changed."""

from collections.abc import Mapping

import torch
from peft import PeftModel

from backends.contract.errors import BackendError
from backends.local_gpu.models.adapters import PREFIX, start_values, unchanged_layers
from backends.local_gpu.models.language_part import decoder_name
from backends.local_gpu.training.parallel.parallel import whole


def sums(model: torch.nn.Module) -> dict[str, float]:
    """Return one number for each trained tensor; of an adapter, the half that starts as zero."""
    learning = (
        start_values(model)
        if isinstance(model, PeftModel)
        else (pair for pair in model.named_parameters() if pair[1].requires_grad)
    )
    return {
        name: float(whole(weights.detach().sum(dtype=torch.float64))) for name, weights in learning
    }


def check_learned(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """Require that trained tensors changed, and that all are finite.

    Raises:
        BackendError: They did not, or are not.
    """
    if not all(abs(value) < float("inf") for value in after.values()):
        raise BackendError("the trained weights are not finite", "Lower `learning_rate`.")
    if before == after:
        raise BackendError(
            "nothing was learned: all trained weights are unchanged",
            "Raise `learning_rate`, or train for more steps.",
        )


def check_adapter(trained: torch.nn.Module, recipe: int) -> None:
    """Require that every layer of an adapter has learned: an idle layer should not be in it.

    By recipe 1, the output layer and layers outside the language part never learn.
    """
    if not isinstance(trained, PeftModel):
        return
    idle = [name for name, weights in start_values(trained) if not bool(weights.any())]
    if recipe == 1:
        inside = PREFIX + decoder_name(trained.get_base_model())
        idle = [name for name in idle if name.startswith(f"{inside}.")]
    idle += unchanged_layers(trained)
    if idle:
        first, *others = (name.partition(".lora_")[0].removeprefix(PREFIX) for name in idle)
        noun = "layer" if len(others) == 1 else "layers"
        more = f" and on {len(others)} more {noun}" if others else ""
        raise BackendError(
            f"the adapter on {first}{more} has learned nothing",
            "Name the layers that texts go through in `target_modules`, or write all-linear.",
        )
