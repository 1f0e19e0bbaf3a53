"""The training loop: transformers' Trainer with our objectives, order and checkpoints.

It differs from transformers' own in five points. The order of batches follows from the seed. The
objective gives the loss, and its mean is over the items of the whole optimiser step. A checkpoint
gets its name only when it is complete. A loss that is not finite ends the run. On a GPU, losses are
read a few times a second, and the host prepares the next batches meanwhile.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments

from backends.atomic_files import publish_dir
from backends.contract.errors import BackendError
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.training.arguments import two_rates
from backends.local_gpu.training.batching import Batch, Batches, Examples, by_length
from backends.local_gpu.training.checkpoints import STATE, TrainingState, checkpoints
from backends.local_gpu.training.disk_space import (
    checkpoint_size,
    free,
    is_about_room,
    trained_size,
    without_checkpoint,
)
from backends.local_gpu.training.ending.stopping import EarlyStopping
from backends.local_gpu.training.fitting import is_out_of_memory
from backends.local_gpu.training.loss import computing
from backends.local_gpu.training.objectives.objective import Objective
from backends.local_gpu.training.pace import Pace
from backends.local_gpu.training.packing.documents import sent
from backends.local_gpu.training.packing.fill import Budget
from backends.local_gpu.training.speed.prefetch import Prefetch
from backends.local_gpu.training.speed.readings import Readings

CHECKPOINT_SECONDS: Final = "FTCTL_CHECKPOINT_SECONDS"
"""Environment variable: seconds between checkpoints within an epoch."""
_LEAST_SCALE: Final = 1.0
"""Scale of losses in float16 below which infinite gradients are the training's own."""
_SMALL: Final = 256 * 2**20
"""Largest size in bytes at which the checkpoint before the newest is kept too."""


class LabelledTrainer(Trainer):  # type: ignore[misc]
    """A Trainer of an objective. See the module's docstring."""

    early_stopping: EarlyStopping | None = None
    eval_steps: int | None = None
    """Optimiser steps between measurements; None to measure after every epoch."""

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        objective: Objective,
        history: TrainingState,
        dtype: torch.dtype,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=Examples(len(objective.train)))
        self.objective = objective
        self.history = history
        self.dtype = dtype
        self.batches = Batches(
            objective.train.lengths,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            args.seed,
            regroups=objective.regroups,
            budget=budget,
        )
        self.budget = budget
        self.epochs = math.ceil(args.num_train_epochs)
        """Passes over the training set, if nothing ends the training before."""
        if args.max_steps > 0:
            # transformers would train for more epochs.
            args.max_steps = min(args.max_steps, self.steps_per_epoch * self.epochs)
        self.observed: torch.Tensor | None = None
        """Sums of what the batches since `take_observed` observed."""
        # The loss always divides by the items of the whole optimiser step.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = True
        self.remove_callback(PrinterCallback)
        chosen = os.environ.get(CHECKPOINT_SECONDS)
        self.notify: Callable[[str], None] = print
        """Receives messages for people."""
        self.reserve = trained_size(model)
        """Bytes that the trained model needs on disk."""
        self.rate_ratio: float | None = None
        """Rate of an adapter's second matrices as a multiple of the first ones'."""
        self._told = False
        self._step: list[Batch] = []
        """The batches of this optimiser step so far."""
        self._observed_before: torch.Tensor | None = None
        if dtype == torch.float16:
            # Small gradients would be zero in 16 bits: losses are scaled up, gradients down again.
            self.accelerator.scaler = torch.amp.GradScaler(args.device.type)
            self.accelerator.unscale_gradients = self._unscale
        on_gpu = args.device.type == "cuda"
        self.defers = on_gpu and args.world_size == 1
        """True if steps do not wait until their losses are known. Several processes wait together."""
        self.prefetch: Prefetch[Batch] | None = Prefetch() if on_gpu else None
        self._readings = Readings()
        self._noted = 0
        self.pace = Pace(
            started=time.monotonic(),
            size=checkpoint_size(model),
            fixed=None if chosen is None else float(chosen),
        )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """Create the optimiser, with two rates where `rate_ratio` is set."""
        if self.rate_ratio is None:
            return super().create_optimizer(model)
        self.optimizer = two_rates(self.model, self.args, self.rate_ratio)
        return self.optimizer

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of a pass over the training set; the last may have fewer examples."""
        return math.ceil(len(self.batches) / int(self.args.gradient_accumulation_steps))

    def stop_early(self, rule: EarlyStopping) -> None:
        """Let a rule end the training; checkpoints hold its best weights too."""
        self.early_stopping = rule
        self.pace.expect(self.pace.size + trained_size(self.model))

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return the batches of the epoch that `batches.epoch` names."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=self.objective.train.collate,
            # A generator of its own: starting an epoch must not draw from the model's random state.
            generator=torch.Generator(),
            pin_memory=self.args.device.type == "cuda",
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the Trainer's signature
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return a batch's part of the mean loss of the whole optimiser step."""
        del model, return_outputs
        outcome = self.objective.outcome(inputs)
        self.observed = _sum(self.observed, outcome.observed)
        return outcome.total / num_items_in_batch

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add a batch's gradients; where the memory does not do, halve the batches of the step."""
        self._step.append(inputs)
        loss = self._attempt(model, inputs, num_items_in_batch)
        while loss is None:
            self._halve()
            # A part of the gradients may be there already, so the whole step starts anew.
            model.zero_grad()
            self.observed = self._observed_before
            for batch in self._step:
                loss = self._attempt(model, batch, num_items_in_batch)
                if loss is None:
                    break
        return loss

    def _attempt(
        self, model: torch.nn.Module, batch: Batch, items: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return a batch's part of the loss; None if the memory does not do."""
        try:
            parts = self._parts(batch, self.history.halvings)
            losses = [super(LabelledTrainer, self).training_step(model, p, items) for p in parts]
            return torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # The error held on to what the batch had allocated.
        if self.args.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _parts(self, batch: Batch, halvings: int) -> list[Batch]:
        halves = self.objective.halves(batch) if halvings else None
        if halves is None:
            return [batch]
        return [part for half in halves for part in self._parts(half, halvings - 1)]

    def _halve(self) -> None:
        """Halve batches from now on.

        Raises:
            BackendError: Batches cannot be smaller.
        """
        before = [len(self._parts(batch, self.history.halvings)) for batch in self._step]
        self.history.halvings += 1
        after = [len(self._parts(batch, self.history.halvings)) for batch in self._step]
        if before == after:
            raise BackendError(
                f"out of memory at step {self.state.global_step + 1}, in the smallest batches",
                "Set `gradient_checkpointing: on`, lower `per_device_train_batch_size`, or shorten "
                "the examples (`prepare: {max_tokens: ...}`).",
            )
        self.notify(
            f"out of memory at step {self.state.global_step + 1}: from now on, batches are computed "
            f"in {self.batch_parts} parts; each step sees the same examples"
        )

    @property
    def batch_parts(self) -> int:
        """Parts that a batch is computed in, one after the other."""
        return int(2**self.history.halvings)

    def _unscale(self, optimizer: object = None) -> None:
        del optimizer
        self.accelerator.scaler.unscale_(self.optimizer.optimizer)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], torch.Tensor]:
        """Return the batches of an optimiser step, and the number of items that they have."""
        self._step, self._observed_before = [], self.observed
        if self.prefetch is None:
            batches = list(islice(epoch_iterator, num_batches))
        else:
            batches = self.prefetch.take(epoch_iterator, num_batches)
        items = torch.tensor(sum(map(self.objective.items, batches)))
        self.history.slots += sum(batch["input_ids"].numel() for batch in batches)
        items = items.to(device, non_blocking=True)
        if self.args.world_size > 1:
            items = self.accelerator.gather(items).sum()
        return batches, items

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """Return a batch on the device; what the host needs of it stays."""
        return sent(inputs, self.args.device)

    def take_observed(self) -> dict[str, float]:
        """Return what was observed since the last call, by name."""
        observed, self.observed = self.observed, None
        return {} if observed is None else self.objective.named(observed)

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """Compute in the chosen precision while trained weights stay float32."""
        return computing(self.args.device, self.dtype)

    def floating_point_ops(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Count nothing: a walk over all parameters at every step costs more than it is worth."""
        del inputs
        return 0

    def measure(self) -> tuple[float, dict[str, float]] | None:
        """Return the mean held-out loss, and what else is observed; None without examples."""
        examples = self.objective.held_out
        if len(examples) == 0:
            return None
        self.model.eval()
        total, items, observed = 0.0, 0, None
        with torch.no_grad(), self.compute_loss_context_manager():
            size = self.args.per_device_train_batch_size
            for places in by_length(examples.lengths, size, self.budget):
                batch = self._prepare_inputs(examples.collate(places))
                outcome = self.objective.outcome(batch)
                total += float(outcome.total)
                items += self.objective.items(batch)
                observed = _sum(observed, outcome.observed)
        self.model.train()
        return total / items, {} if observed is None else self.objective.named(observed)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, and forget: the curve is in progress.jsonl, and would grow with every checkpoint."""
        super().log(logs, start_time)
        self.state.log_history.clear()

    def _maybe_log_save_evaluate(
        self,
        tr_loss: torch.Tensor,
        grad_norm: torch.Tensor,
        model: torch.nn.Module,
        *more: object,
        learning_rate: float | None = None,
    ) -> None:
        """Keep a step's numbers, read those that are due, then save if that is due."""
        step = self.state.global_step
        self.control.should_log = False  # `_read` does it
        if step > self._noted:
            self._noted = step
            if self.args.world_size > 1:
                tr_loss = self.accelerator.reduce(tr_loss, "mean")
            rate = self._get_learning_rate() if learning_rate is None else learning_rate
            self._readings.add(step, tr_loss, grad_norm, rate)
            self._tr_loss.zero_()
        if not self.defers or self._readings.are_due() or self._is_turning_point(step):
            self._read()
        super()._maybe_log_save_evaluate(
            tr_loss, grad_norm, model, *more, learning_rate=learning_rate
        )

    def _is_turning_point(self, step: int) -> bool:
        """Return True if what comes after a step must know that its loss was finite."""
        ends, control = step % self.steps_per_epoch == 0, self.control
        return step == 1 or ends or control.should_save or control.should_training_stop

    def _read(self) -> None:
        """Add the losses of all steps up to now; one that is not finite ends the run."""
        for one in self._readings.take():
            for name, value in (("loss", one.loss), ("grad norm", one.grad_norm)):
                if name == "grad norm" and self._is_scale_falling():
                    continue
                if not math.isfinite(value):
                    raise BackendError(
                        f"the {name} became {value} at step {one.step}",
                        "Lower `learning_rate`, or set `dtype: float32`.",
                    )
            self.history.loss_sum += one.loss
            self.log(asdict(one))

    def _is_scale_falling(self) -> bool:
        """Return True if a gradient may be infinite because losses are still scaled too high."""
        scaler = self.accelerator.scaler
        return scaler is not None and scaler.get_scale() > _LEAST_SCALE

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Write weights only: transformers would write the arguments as a pickle."""
        del state_dict
        if isinstance(self.model, PeftModel):
            # A base layer with an adapter on it still belongs to the base model.
            self.model.save_pretrained(output_dir, save_embedding_layers=False)
        else:
            self.model.save_pretrained(output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        """Write a checkpoint to a temporary folder, then rename it to its final place.

        Where the disk has no room for it beside the final model, training continues without it.
        """
        began = time.monotonic()
        place = Path(self.args.output_dir).parent
        if free(place) < self.pace.size + self.reserve:
            self._go_on_without(place)
        else:
            try:
                self._write_checkpoint(model, trial)
            except (OSError, SafetensorError, RuntimeError) as error:
                if not is_about_room(error):
                    raise
                shutil.rmtree(self.args.output_dir, ignore_errors=True)
                self._go_on_without(place)
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

    def _go_on_without(self, folder: Path) -> None:
        """Report once that the disk has no room for a checkpoint."""
        if not self._told:
            self._told = True
            self.notify(without_checkpoint(folder, self.pace.size))


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
