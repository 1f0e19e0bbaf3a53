"""The training loop: transformers' Trainer with our objectives, order and checkpoints.

It differs from transformers' own in five points. The order of batches follows from the seed. The
objective gives the loss, and its mean is over the items of the whole optimiser step. A checkpoint
gets its name only when it is complete. A loss that is not finite ends the run. On a GPU, losses are
read a few times a second, and the host prepares the next batches meanwhile.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, TrainingArguments

from backends.contract.errors import BackendError
from backends.local_gpu.training.arguments import two_rates
from backends.local_gpu.training.batching import Batch, Batches, Examples, by_length
from backends.local_gpu.training.checkpoints import TrainingState
from backends.local_gpu.training.disk_space import checkpoint_size, trained_size
from backends.local_gpu.training.ending.stopping import EarlyStopping
from backends.local_gpu.training.loss import computing
from backends.local_gpu.training.objectives.objective import Objective
from backends.local_gpu.training.pace import Pace
from backends.local_gpu.training.packing.documents import sent
from backends.local_gpu.training.parallel.deal import Dealt, Idle, counting
from backends.local_gpu.training.parallel.parallel import observed_sum, whole
from backends.local_gpu.training.parallel.saving import SavingTrainer
from backends.local_gpu.training.speed.prefetch import Prefetch
from backends.local_gpu.training.speed.readings import Readings
from backends.local_gpu.training.start.fitting import is_out_of_memory

CHECKPOINT_SECONDS: Final = "FTCTL_CHECKPOINT_SECONDS"
"""Environment variable: seconds between checkpoints within an epoch."""
_LEAST_SCALE: Final = 1.0
"""Scale of losses in float16 below which infinite gradients are the training's own."""
_Observed: TypeAlias = tuple[torch.Tensor, torch.Tensor | None]
"""Summed loss of a batch, and what was observed."""


class StartAgain(Exception):
    """All processes must start again, with batches that are halved as often as told."""

    def __init__(self, halvings: int) -> None:
        super().__init__(halvings)
        self.halvings = halvings


class LabelledTrainer(SavingTrainer):
    """A Trainer of an objective. See the module's docstring."""

    eval_steps: int | None = None
    """Optimiser steps between measurements; None to measure after every epoch."""

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        objective: Objective,
        history: TrainingState,
        dtype: torch.dtype,
        batches: Batches,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=Examples(len(objective.train)))
        self.objective = objective
        self.history = history
        self.dtype = dtype
        self.batches = batches
        """The batches of all processes."""
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
        self._step: list[Batch] = []
        """The batches of this optimiser step so far."""
        self._batches_of_step = 0
        """Number of batches that this step will have."""
        self._counts = True
        """False while a batch is computed that counts nothing."""
        self._observed_in_step: torch.Tensor | None = None
        if dtype == torch.float16:
            # Small gradients would be zero in 16 bits: losses are scaled up, gradients down again.
            self.accelerator.scaler = torch.amp.GradScaler(args.device.type)
            self.accelerator.unscale_gradients = self._unscale
        on_gpu = args.device.type == "cuda"
        self.defers = on_gpu
        """True if steps do not wait until their losses are known."""
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
        return math.ceil(len(self.batches) / self.batches.accumulation)

    def stop_early(self, rule: EarlyStopping) -> None:
        """Let a rule end the training; checkpoints hold its best weights too."""
        self.early_stopping = rule
        self.pace.expect(self.pace.size + trained_size(self.model))

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return the batches of the epoch that `batches.epoch` names."""
        examples, parallel = self.objective.train, self.parallel
        return DataLoader(
            self.train_dataset,
            batch_sampler=Dealt(self.batches, len(examples), parallel.share, parallel.world),
            collate_fn=counting(examples.collate),
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
        total, observed = self.parallel.learn(partial(self._outcome, inputs))
        if not self._counts:
            total, observed = total * 0, None if observed is None else observed * 0
        self._observed_in_step = _sum(self._observed_in_step, observed)
        return total / num_items_in_batch

    def _outcome(self, batch: Mapping[str, torch.Tensor]) -> _Observed:
        outcome = self.objective.outcome(batch)
        return outcome.total, outcome.observed

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Add a batch's gradients; where the memory does not do, halve the batches of the step."""
        if not self._step:
            self._draw_apart()
        self._step.append(inputs)
        loss = self._attempt(model, inputs, num_items_in_batch)
        while loss is None:
            self._halve()
            # A part of the gradients may be there already, so the whole step starts anew.
            model.zero_grad()
            self._observed_in_step = None
            for batch in self._step:
                loss = self._attempt(model, batch, num_items_in_batch)
                if loss is None:
                    break
        if len(self._step) == self._batches_of_step:
            self.parallel.add_gradients(self.model)
            observed = observed_sum(self._observed_in_step, self.parallel.world)
            self.observed = _sum(self.observed, observed)
        return loss

    def _draw_apart(self) -> None:
        """Let each of several processes draw random numbers of its own, the same after a stop."""
        world = self.parallel.world
        if not world.is_alone:
            entropy = [self.args.seed, self.state.global_step, world.rank]
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def _attempt(
        self, model: torch.nn.Module, batch: Batch, items: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return a batch's part of the loss; None if the memory does not do."""
        parts = [(one, not isinstance(batch, Idle)) for one in self._halved(batch)]
        if self.parallel.is_sharded:
            # Layers are gathered together, so each process computes as many parts as the others.
            (most,) = self.parallel.world.most(len(parts))
            parts += [(parts[-1][0], False)] * (int(most) - len(parts))
        losses = []
        try:
            for part, self._counts in parts:
                losses.append(super().training_step(model, part, items))
            return torch.stack(losses).sum() if len(losses) > 1 else losses[0]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self.parallel.is_sharded:
            # The others wait for this batch.
            self._halve()
            raise StartAgain(self.history.halvings)
        # The error held on to what the batch had allocated.
        if self.args.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _halved(self, batch: Batch) -> list[Batch]:
        return self._parts(batch, self.history.halvings)

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
        before = [len(self._halved(batch)) for batch in self._step]
        self.history.halvings += 1
        after = [len(self._halved(batch)) for batch in self._step]
        if before == after:
            raise BackendError(
                f"out of memory at step {self.state.global_step + 1}, in the smallest batches",
                "Set `gradient_checkpointing: on`, lower `per_device_train_batch_size`, or shorten "
                "the examples (`prepare: {max_tokens: ...}`).",
            )
        self._tell_halved(self.state.global_step + 1)

    def _tell_halved(self, step: int) -> None:
        self.notify(
            f"out of memory at step {step}: from now on, batches are computed in "
            f"{self.batch_parts} parts; each step sees the same examples"
        )

    def agree(self, *numbers: float) -> list[float]:
        """Return the largest of every process's numbers, after each step; so all halve alike."""
        *found, halvings = self.parallel.world.most(*numbers, self.history.halvings)
        if halvings > self.history.halvings:
            self.history.halvings = int(halvings)
            self._tell_halved(self.state.global_step)
        return found

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
        self._step, self._observed_in_step = [], None
        if self.prefetch is None:
            batches = list(islice(epoch_iterator, num_batches))
        else:
            batches = self.prefetch.take(epoch_iterator, num_batches)
        self._batches_of_step = len(batches)
        counted = [batch for batch in batches if not isinstance(batch, Idle)]
        slots = sum(batch["input_ids"].numel() for batch in counted)
        numbers = torch.tensor([sum(map(self.objective.items, counted)), slots])
        items, slots_of_all = self.parallel.world.sum(numbers)
        self.history.slots += int(slots_of_all)
        return batches, items.to(device, non_blocking=True)

    def _prepare_inputs(self, inputs: Batch) -> Batch:
        """Return a batch on the device; what the host needs of it stays."""
        return sent(inputs, self.args.device)

    def take_observed(self) -> dict[str, float]:
        """Return what was observed since the last call, by name."""
        observed, self.observed = self.observed, None
        return {} if observed is None else self.objective.named(observed)

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """Compute in the chosen precision while trained weights stay float32."""
        return computing(self.args.device, self.dtype, keeps=not self.parallel.is_sharded)

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
        sums, observed, world = torch.zeros(2, dtype=torch.float64), None, self.parallel.world
        with torch.no_grad(), self.compute_loss_context_manager():
            size, budget = self.args.per_device_train_batch_size, self.batches.budget
            for places, counts in world.own(by_length(examples.lengths, size, budget)):
                batch = self._prepare_inputs(examples.collate(places))
                loss, here = self.parallel.run(partial(self._outcome, batch))
                if counts:
                    sums += torch.tensor([float(loss), self.objective.items(batch)])
                observed = _sum(observed, here if here is None or counts else here * 0)
        self.model.train()
        total, items = world.sum(sums).tolist()
        observed = observed_sum(observed, world)
        return total / items, {} if observed is None else self.objective.named(observed)

    def _get_grad_norm(
        self, model: torch.nn.Module, grad_norm: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the norm of all gradients, whichever process has them."""
        return whole(super()._get_grad_norm(model, grad_norm=grad_norm))

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
            # Each process has a part of the mean.
            tr_loss = self.parallel.world.sum(tr_loss)
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


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
