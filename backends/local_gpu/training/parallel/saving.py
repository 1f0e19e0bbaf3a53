"""Checkpoints of a training: complete under their names, and the same for any number of devices.

The first process writes them. Shards are gathered for that, and divided anew when a checkpoint is
read, so a training continues on another number of devices.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers import Trainer

from backends.atomic_files import publish_dir
from backends.contract.errors import BackendError
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.training.checkpoints import STATE, TrainingState, checkpoints
from backends.local_gpu.training.disk_space import free, is_about_room, without_checkpoint
from backends.local_gpu.training.ending.stopping import EarlyStopping
from backends.local_gpu.training.pace import Pace
from backends.local_gpu.training.parallel.parallel import Parallel, gathered, part_like, put

_SMALL: Final = 256 * 2**20
"""Largest size in bytes at which the checkpoint before the newest is kept too."""
_WEIGHTS: Final = "model.safetensors"
_OPTIMIZER: Final = "optimizer.pt"
_SCHEDULER: Final = "scheduler.pt"


class SavingTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose checkpoints are whole. See the module's docstring."""

    parallel: Parallel = Parallel()
    """The processes, and how they hold the model."""
    history: TrainingState
    pace: Pace
    reserve: int
    """Bytes that the trained model needs on disk."""
    early_stopping: EarlyStopping | None = None
    notify: Callable[[str], None]
    """Receives messages for people."""
    _told: bool = False
    _gathered: dict[str, torch.Tensor]
    """Weights of the checkpoint that is being written, where processes have shards of them."""
    _optimizer_state: dict[str, Any]

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        """Write a checkpoint to a temporary folder, then rename it to its final place.

        Where the disk has no room for it beside the final model, training continues without it.
        """
        began = time.monotonic()
        place, world = Path(self.args.output_dir).parent, self.parallel.world
        lacks_room = world.is_first and free(place) < self.pace.size + self.reserve
        if any(world.most(lacks_room)):
            self._go_on_without(place)
        else:
            if self.parallel.is_sharded:
                self._gather()
            if world.is_first:
                try:
                    self._write_checkpoint(model, trial)
                except (OSError, SafetensorError, RuntimeError) as error:
                    if not is_about_room(error):
                        raise
                    shutil.rmtree(self.args.output_dir, ignore_errors=True)
                    self._go_on_without(place)
            # Who ends now must not end before the checkpoint is complete.
            world.wait()
        ended = time.monotonic()
        self.pace.note_saving(began, ended)
        self.history.saving += ended - began

    def _write_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        folder = Path(self.args.output_dir)
        partial = folder / f"checkpoint-{self.state.global_step}"
        final = folder.parent / partial.name
        shutil.rmtree(partial, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        history = {key: getattr(self.history, key) for key in TrainingState.__slots__}
        (partial / STATE).write_bytes(json_bytes(history))
        if self.early_stopping is not None:
            self.early_stopping.save(partial)
        if final.exists():
            shutil.rmtree(final)
        publish_dir(partial, final)
        if self.early_stopping is not None:
            self.early_stopping.saved(final)
        kept = 2 if self.pace.size <= _SMALL else 1
        for old in checkpoints(folder.parent)[:-kept]:
            shutil.rmtree(old, ignore_errors=True)

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Write weights only: transformers would write the arguments as a pickle."""
        del state_dict
        if isinstance(self.model, PeftModel):
            # A base layer with an adapter on it still belongs to the base model.
            self.model.save_pretrained(output_dir, save_embedding_layers=False)
        elif self.parallel.is_sharded:
            folder = Path(str(output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            save_file(self._gathered, folder / _WEIGHTS, metadata={"format": "pt"})
        else:
            self.model.save_pretrained(output_dir)

    def _gather(self) -> None:
        """Collect weights and the optimiser's state in the first process."""
        world = self.parallel.world
        self._gathered = gathered(self.model.named_parameters(), world)
        state = self.optimizer.state_dict()
        # The optimiser's own values must stay as they are.
        collected: dict[int, dict[str, Any]] = {}
        for place, values in state["state"].items():
            tensors = {key: one for key, one in values.items() if isinstance(one, torch.Tensor)}
            collected[place] = {**values, **gathered(tensors.items(), world)}
        self._optimizer_state = {**state, "state": collected} if world.is_first else {}

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.parallel.is_sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        torch.save(self._optimizer_state, Path(output_dir) / _OPTIMIZER)
        torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / _SCHEDULER)
        self._gathered, self._optimizer_state = {}, {}

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        """Read the weights of a checkpoint, each process its part of them.

        Raises:
            BackendError: They are not all there.
        """
        if not self.parallel.is_sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        folder = Path(resume_from_checkpoint)
        missing = dict(self.model.named_parameters())
        present = self.model.state_dict()
        for file in sorted(folder.glob("model*.safetensors")):
            with safe_open(file, framework="pt") as stored:
                names = stored.keys()
                for name in names:
                    if name in present:
                        put(present[name], stored.get_tensor(name))
                        missing.pop(name, None)
        if missing:
            raise BackendError(
                f"{folder} lacks the weights of {next(iter(missing))}",
                "Remove that folder: the job then continues from an earlier one, or from its "
                "beginning.",
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self.parallel.is_sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        folder = Path(checkpoint)
        state = torch.load(folder / _OPTIMIZER, map_location="cpu", weights_only=True, mmap=True)
        trained = [one for group in self.optimizer.param_groups for one in group["params"]]
        for place, values in state["state"].items():
            for key, one in values.items():
                if isinstance(one, torch.Tensor):
                    values[key] = part_like(one, trained[place])
        self.optimizer.load_state_dict(state)
        self.lr_scheduler.load_state_dict(torch.load(folder / _SCHEDULER, weights_only=True))

    def _go_on_without(self, folder: Path) -> None:
        """Report once that the disk has no room for a checkpoint."""
        if not self._told:
            self._told = True
            self.notify(without_checkpoint(folder, self.pace.size))
