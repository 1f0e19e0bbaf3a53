"""Early stopping: which measurement is the best, and the weights that it was made with.

The best weights are kept in memory and in every checkpoint, so that a continued training stops at
the same step and keeps the same weights.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file

from backends.contract.errors import BackendError
from backends.local_gpu.training.checkpoints import TrainingState
from backends.local_gpu.training.parallel.parallel import Parallel, gathered

_NEEDING_HELD_OUT: Final = ("eval_steps", "early_stopping")
FILE: Final = "best.safetensors"
"""File in a checkpoint: the trained weights of the lowest held-out loss so far."""


@dataclass(slots=True, kw_only=True)
class EarlyStopping:
    """The rule of a training that its held-out loss may end."""

    patience: int
    min_delta: float
    model: torch.nn.Module
    history: TrainingState
    parallel: Parallel = field(default_factory=Parallel)
    _weights: dict[str, torch.Tensor] = field(default_factory=dict)
    _saved: tuple[int, Path] | None = None
    """The step of the best weights on disk, and their file."""

    @property
    def stops(self) -> bool:
        """True if the training is to end."""
        return self.history.waited >= self.patience

    @property
    def reason(self) -> str:
        """Reason why the training ends, for people."""
        history = self.history
        times = "measurement" if self.patience == 1 else "measurements"
        lowest = "" if history.best_loss is None else f" than {history.best_loss:.4g}"
        by = f" by {self.min_delta:g}" if self.min_delta else ""
        return f"the held-out loss was no lower{lowest}{by} in {self.patience} {times}"

    def end(self, step: int) -> str:
        """Put the best weights back into the model; return how the training ended, for people.

        Args:
            step: Its last step.
        """
        if not self.parallel.is_sharded:
            with torch.no_grad():
                for name, weights in _trained(self.model):
                    if name in self._weights:
                        weights.copy_(self._weights[name])
        why = f"stopped at step {step}: {self.reason}" if self.stops else f"ended at step {step}"
        if not self.history.best_step:
            return f"{why}; no held-out loss was finite"
        return f"{why}; the weights of step {self.history.best_step} are kept"

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The best weights; of shards, in the first process only."""
        return self._weights

    def judge(self, step: int, loss: float, observed: Mapping[str, float]) -> None:
        """Compare a measurement of trained weights with the best so far; keep better weights."""
        history = self.history
        lowest = math.inf if history.best_loss is None else history.best_loss
        # Also false for a loss that is not a number.
        history.waited = 0 if loss < lowest - self.min_delta else history.waited + 1
        if loss < lowest:
            history.best_step, history.best_loss = step, loss
            history.best_observed = dict(observed)
            self._keep()

    def save(self, folder: Path) -> None:
        """Add the best weights to a checkpoint, as a link where an earlier one has them."""
        step, target = self.history.best_step, folder / FILE
        if not step:
            return
        if self._saved is not None and self._saved[0] == step:
            try:
                os.link(self._saved[1], target)
            except OSError:
                save_file(self._weights, target)
        else:
            save_file(self._weights, target)

    def saved(self, folder: Path) -> None:
        """Record the final folder of a checkpoint that `save` added the weights to."""
        self._saved = (self.history.best_step, folder / FILE)

    def load(self, folder: Path) -> None:
        """Read the best weights of a checkpoint.

        Raises:
            BackendError: They are not all there.
        """
        if not self.history.best_step or (
            self.parallel.is_sharded and not self.parallel.world.is_first
        ):
            return
        found = load_file(folder / FILE) if (folder / FILE).is_file() else {}
        expected = {name: weights.shape for name, weights in _trained(self.model)}
        if {name: weights.shape for name, weights in found.items()} != expected:
            raise BackendError(
                f"{folder} lacks the best weights so far, of step {self.history.best_step}",
                "Remove that folder: the job then continues from an earlier one, or from its "
                "beginning.",
            )
        # Tensors of a mapped file would change with it.
        self._weights = {name: weights.clone() for name, weights in found.items()}
        self.saved(folder)

    def _keep(self) -> None:
        if self.parallel.is_sharded:
            self._weights = gathered(_trained(self.model), self.parallel.world)
            return
        # New tensors each time would need the memory twice.
        for name, weights in _trained(self.model):
            if name in self._weights:
                self._weights[name].copy_(weights.detach())
            else:
                self._weights[name] = weights.detach().to("cpu", copy=True).contiguous()


def early_stopping_of(
    settings: Mapping[str, Any],
    model: torch.nn.Module,
    history: TrainingState,
    parallel: Parallel,
) -> EarlyStopping | None:
    """Return the rule that the hyperparameters of a training ask for, if any.

    Args:
        settings: Complete hyperparameters.
        model: The model in training.
        history: Its measurements so far.
        parallel: The processes.
    """
    asked = settings.get("early_stopping")
    if asked is None:
        return None
    return EarlyStopping(
        patience=asked["patience"],
        min_delta=asked["min_delta"],
        model=model,
        history=history,
        parallel=parallel,
    )


def require_held_out(settings: Mapping[str, Any], held_out: int) -> None:
    """Require held-out examples where settings need some.

    Raises:
        BackendError: There are none.
    """
    names = [name for name in _NEEDING_HELD_OUT if settings.get(name) is not None]
    if names and not held_out:
        needs = "needs" if len(names) == 1 else "need"
        raise BackendError(
            f"{' and '.join(names)} {needs} held-out examples, and there are none",
            "Add `data.held_out`, or remove the setting.",
        )


def _trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, one) for name, one in model.named_parameters() if one.requires_grad)
