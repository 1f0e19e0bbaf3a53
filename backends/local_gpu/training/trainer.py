"""The training loop: transformers' Trainer with our loss, order, checkpoints and progress.

It differs from transformers' own in four points. The order of batches follows from the seed. Only
labelled positions reach the output layer, and the mean is over the labelled tokens of the whole
optimiser step. A checkpoint gets its name only when it is complete. A loss that is not finite ends
the run.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from backends.atomic_files import publish_dir
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.training.batching import Batches, Examples, by_length, collate
from backends.local_gpu.training.checkpoints import STATE, TrainingState, checkpoints
from backends.local_gpu.training.disk_space import (
    checkpoint_size,
    free,
    in_words,
    is_about_room,
    trained_size,
)
from backends.local_gpu.training.loss import LabelledLoss
from backends.local_gpu.training.pace import Pace
from backends.local_gpu.training.tokenized_dataset import Tokens

CHECKPOINT_SECONDS: Final = "FTCTL_CHECKPOINT_SECONDS"
"""Environment variable: seconds between checkpoints within an epoch."""
_SMALL: Final = 256 * 2**20
"""Largest size in bytes at which the checkpoint before the newest is kept too."""
_REPORT_S: Final = 0.2
"""Seconds after which the next step writes a line of progress."""
_REPORTS: Final = 200
"""Steps that write a line of progress in any case, evenly spaced: the curve of a fast training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The examples to train on, and the examples to measure."""

    train: Tokens
    held_out: Tokens


class LabelledTrainer(Trainer):  # type: ignore[misc]
    """A Trainer for token arrays. See the module's docstring."""

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        splits: Splits,
        loss: LabelledLoss,
        history: TrainingState,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=Examples(len(splits.train)))
        self.splits = splits
        self.loss = loss
        self.history = history
        self.dtype = dtype
        self.batches = Batches(
            splits.train.lengths,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            args.seed,
        )
        # Our loss always divides by the labelled tokens of the whole optimiser step.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = True
        self.remove_callback(PrinterCallback)
        chosen = os.environ.get(CHECKPOINT_SECONDS)
        self.notify: Callable[[str], None] = print
        """Receives messages for people."""
        self.reserve = trained_size(model)
        """Bytes that the trained model needs on disk."""
        self._told = False
        self.pace = Pace(
            started=time.monotonic(),
            size=checkpoint_size(model),
            fixed=None if chosen is None else float(chosen),
        )

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return the batches of the epoch that `batches.epoch` names."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=lambda places: collate(self.splits.train, places),
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
        """Return the summed loss over the labelled tokens of the whole optimiser step."""
        del model, return_outputs
        return self.loss.total(inputs) / num_items_in_batch

    def compute_loss_context_manager(self) -> AbstractContextManager[None]:
        """Compute in the chosen precision while trained weights stay float32."""
        precision: AbstractContextManager[None] = torch.autocast(
            self.args.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32
        )
        return precision

    def floating_point_ops(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """Count nothing: a walk over all parameters at every step costs more than it is worth."""
        del inputs
        return 0

    def measure(self) -> float | None:
        """Return the mean held-out loss per labelled token, in nats; None without examples."""
        tokens = self.splits.held_out
        if len(tokens) == 0:
            return None
        self.model.eval()
        total = 0.0
        with torch.no_grad(), self.compute_loss_context_manager():
            for places in by_length(tokens.lengths, self.args.per_device_train_batch_size):
                batch = self._prepare_inputs(collate(tokens, places))
                total += float(self.loss.total(batch))
        self.model.train()
        return total / tokens.labels

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add every step's loss; a loss that is not finite ends the run before it is saved."""
        if "loss" in logs:
            for key in ("loss", "grad_norm"):
                if not math.isfinite(logs.get(key, 0.0)):
                    raise BackendError(
                        f"the {key.replace('_', ' ')} became {logs[key]} "
                        f"at step {self.state.global_step}",
                        "Lower `learning_rate`, or set `dtype: float32`.",
                    )
            self.history.loss_sum += logs["loss"]
        super().log(logs, start_time)
        # The curve is in progress.jsonl; here it would grow with every checkpoint.
        self.state.log_history.clear()

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
        self.pace.note_saving(began, time.monotonic())

    def _write_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        folder = Path(self.args.output_dir)
        partial = folder / f"checkpoint-{self.state.global_step}"
        final = folder.parent / partial.name
        shutil.rmtree(partial, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        history = {key: getattr(self.history, key) for key in TrainingState.__slots__}
        (partial / STATE).write_bytes(json_bytes(history))
        if final.exists():
            shutil.rmtree(final)
        publish_dir(partial, final)
        kept = 2 if self.pace.size <= _SMALL else 1
        for old in checkpoints(folder.parent)[:-kept]:
            shutil.rmtree(old, ignore_errors=True)

    def _go_on_without(self, folder: Path) -> None:
        """Report once that the disk has no room for a checkpoint."""
        if not self._told:
            self._told = True
            self.notify(
                f"no room for a checkpoint of {in_words(self.pace.size)} beside the model to come: "
                f"{in_words(free(folder))} are left; an interrupted training continues from the "
                "checkpoint before, or from its beginning"
            )


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Writes progress, requests checkpoints, measures after epochs, stops on request.

    Attributes:
        stopping: Set by another part of the program to stop after the current step.
        cancelled: True if the training stops for good, without a checkpoint.
        used_up: True if the training stopped because it used all its time.
    """

    def __init__(
        self, trainer: LabelledTrainer, progress: Path, max_seconds: float | None = None
    ) -> None:
        self.stopping = False
        self.cancelled = False
        self.used_up = False
        self._trainer = trainer
        self._progress = progress
        self._max_seconds = math.inf if max_seconds is None else max_seconds
        self._started = self._reported = time.monotonic()
        self._before = trainer.history.seconds
        self._mean_tokens = float(trainer.splits.train.lengths.sum()) / len(trainer.batches)
        self._first_step = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure the untrained model, unless an earlier start has."""
        del args, control
        self._first_step = state.global_step
        pace = self._trainer.pace
        # Earlier work, such as reading a checkpoint, does not count as a step's time.
        pace.started = pace.saved = time.monotonic()
        if not self._trainer.history.held_out:
            self._measure(state)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Choose the order of the epoch that begins."""
        del args, control
        self._trainer.batches.epoch = state.global_step // self._steps_per_epoch(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Save when due; stop on request or when the budget is used up."""
        del args
        self.used_up = self._seconds() >= self._max_seconds and state.global_step < state.max_steps
        if self.stopping or self.used_up:
            control.should_training_stop = True
        if state.global_step % self._steps_per_epoch(state) == 0:
            return  # the epoch's end measures first and saves then
        self._save_if_due(control, epoch_ends=False)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure after every epoch, and save if a checkpoint is due."""
        del args
        if self.cancelled or state.global_step % self._steps_per_epoch(state):
            return
        self._measure(state)
        self._save_if_due(control, epoch_ends=True)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Record the time spent, even if no checkpoint was written at the end."""
        del args, state, control
        self._trainer.history.seconds = self._seconds()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float],
        **_: object,
    ) -> None:
        """Write a line of progress."""
        del args, control
        now = time.monotonic()
        every = max(1, state.max_steps // _REPORTS)
        step = state.global_step
        is_due = step in {1, state.max_steps} or step % every == 0
        if "loss" not in logs or not (is_due or now - self._reported >= _REPORT_S):
            return
        self._reported = now
        steps, pace = state.global_step - self._first_step, self._trainer.pace
        more = state.max_steps - state.global_step
        # Measurements are made before the first step, and after every epoch.
        unmeasured = state.num_train_epochs + 1 - len(self._trainer.history.held_out)
        self._write(
            state,
            {
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "tokens_per_s": self._tokens_per_step() / max(pace.per_step(now, steps), 1e-9),
                "eta_s": pace.left(now, steps, more, unmeasured),
            },
        )

    def _measure(self, state: TrainerState) -> None:
        began = time.monotonic()
        loss = self._trainer.measure()
        if loss is None:
            return
        ended = time.monotonic()
        self._trainer.pace.note_measuring(began, ended)
        self._trainer.history.measuring += ended - began
        self._trainer.history.held_out.append(loss)
        self._write(state, {"held_out_loss": loss})

    def _save_if_due(self, control: TrainerControl, *, epoch_ends: bool) -> None:
        due = self._trainer.pace.is_due(time.monotonic(), epoch_ends=epoch_ends)
        if (due or self.stopping) and not (self.cancelled or self.used_up):
            self._trainer.history.seconds = self._seconds()
            control.should_save = True

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _write(self, state: TrainerState, values: Mapping[str, Json]) -> None:
        line = {
            "time_s": time.time(),
            "step": state.global_step,
            "total_steps": state.max_steps,
            "epoch": round(state.global_step / self._steps_per_epoch(state), 4),
            **values,
        }
        # Not durable on purpose: waiting for the disk several times a second costs training time.
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _steps_per_epoch(self, state: TrainerState) -> int:
        return int(state.max_steps // state.num_train_epochs)

    def _tokens_per_step(self) -> float:
        return self._mean_tokens * float(self._trainer.args.gradient_accumulation_steps)
