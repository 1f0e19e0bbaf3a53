"""The training loop: transformers' Trainer with our loss, order, checkpoints and progress.

What is overridden: batches come in an order that follows from the seed; only labelled positions
reach the output layer, and the mean is over the labelled tokens of the whole optimiser step; a
checkpoint gets its name only when it is complete; a loss that is not finite ends the run.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from backends.base import BackendError, Json
from backends.local_gpu.batches import Batches, Examples, by_length, collate
from backends.local_gpu.encode import Tokens
from backends.local_gpu.loss import LabelledLoss
from backends.local_gpu.models import seal
from backends.local_gpu.run_dir import encode, read_json

CHECKPOINT_SECONDS: Final = "FTCTL_CHECKPOINT_SECONDS"
"""Environment variable: seconds between checkpoints within an epoch."""
_CHECKPOINT_SECONDS: Final = 30.0
_KEPT: Final = 2
"""Checkpoints kept: the newest, and the one before it."""
_REPORT_S: Final = 0.2
"""Least time between two lines of progress."""
_STATE: Final = "ftctl.json"
"""In every checkpoint: whose it is, and what has been measured so far."""


@dataclass(slots=True)
class Course:
    """What has been measured so far; it travels through checkpoints.

    Attributes:
        loss_sum: Of all steps' mean losses.
        held_out: Mean held-out loss before training and after every epoch.
        seconds: Time spent training, interruptions left out.
    """

    fingerprint: str
    attempt: int
    loss_sum: float = 0.0
    held_out: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sets:
    """What is trained on and what is only measured."""

    train: Tokens
    held_out: Tokens


class LabelledTrainer(Trainer):  # type: ignore[misc]
    """A Trainer for token arrays. See the module's docstring."""

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        sets: Sets,
        loss: LabelledLoss,
        course: Course,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(model=model, args=args, train_dataset=Examples(len(sets.train)))
        self.sets = sets
        self.loss = loss
        self.course = course
        self.dtype = dtype
        self.batches = Batches(
            sets.train.lengths,
            args.per_device_train_batch_size,
            args.gradient_accumulation_steps,
            args.seed,
        )
        # Our loss always divides by the labelled tokens of the whole optimiser step.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = True
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return the batches of the epoch that `batches.epoch` names."""
        return DataLoader(
            self.train_dataset,
            batch_sampler=self.batches,
            collate_fn=lambda places: collate(self.sets.train, places),
            # Its own, so that starting an epoch does not draw from the model's chance.
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
        """Count nothing: walking over every parameter at every step costs more than it tells."""
        del inputs
        return 0

    def measure(self) -> float | None:
        """Return the mean held-out loss per labelled token, in nats; None without examples."""
        tokens = self.sets.held_out
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
        """Note every step's loss; a loss that is not finite ends the run before it is saved."""
        if "loss" in logs:
            for key in ("loss", "grad_norm"):
                if not math.isfinite(logs.get(key, 0.0)):
                    raise BackendError(
                        f"the {key.replace('_', ' ')} became {logs[key]} "
                        f"at step {self.state.global_step}",
                        "lower `learning_rate`, or set `dtype: float32`",
                    )
            self.course.loss_sum += logs["loss"]
        super().log(logs, start_time)
        # The curve is in progress.jsonl; here it would grow with every checkpoint.
        self.state.log_history.clear()

    def _save(self, output_dir: str | None = None, state_dict: object = None) -> None:
        """Write weights only; the arguments would be written as a pickle."""
        del state_dict
        if isinstance(self.model, PeftModel):
            # A layer with an adapter on it is still the base model's.
            self.model.save_pretrained(output_dir, save_embedding_layers=False)
        else:
            self.model.save_pretrained(output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        """Write a checkpoint beside the others, then rename it to where it counts."""
        folder = Path(self.args.output_dir)
        partial = folder / f"checkpoint-{self.state.global_step}"
        final = folder.parent / partial.name
        shutil.rmtree(partial, ignore_errors=True)
        super()._save_checkpoint(model, trial)
        course = {key: getattr(self.course, key) for key in Course.__slots__}
        (partial / _STATE).write_bytes(encode(course))
        if final.exists():
            shutil.rmtree(final)
        seal(partial, final)
        for old in _checkpoints(folder.parent)[:-_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Writes progress, asks for checkpoints, measures after epochs, stops when told to.

    Attributes:
        stopping: Set by whoever wants the run to stop after the step in hand.
        cancelled: Whether it stops for good, without a checkpoint.
    """

    def __init__(self, trainer: LabelledTrainer, progress: Path) -> None:
        self.stopping = False
        self.cancelled = False
        self._trainer = trainer
        self._progress = progress
        self._started = time.monotonic()
        self._before = trainer.course.seconds
        self._saved = self._reported = self._started
        self._tokens = 0
        self._mean_tokens = float(trainer.sets.train.lengths.sum()) / len(trainer.batches)
        self._first_step = 0
        self._every = float(os.environ.get(CHECKPOINT_SECONDS, _CHECKPOINT_SECONDS))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure the untrained model, unless an earlier start has."""
        del args, control
        self._first_step = state.global_step
        course = self._trainer.course
        if not course.held_out:
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
        """Save when it is time, stop when it is asked for."""
        del args
        if self.stopping:
            control.should_training_stop = True
        if state.global_step % self._steps_per_epoch(state) == 0:
            return  # the epoch's end measures first and saves then
        due = time.monotonic() - self._saved >= self._every
        if (due or self.stopping) and not self.cancelled:
            self._save(control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure and save after every epoch."""
        del args
        if self.cancelled or state.global_step % self._steps_per_epoch(state):
            return
        self._measure(state)
        self._save(control)

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
        last = state.global_step == state.max_steps
        if "loss" not in logs or not (last or now - self._reported >= _REPORT_S):
            return
        self._reported = now
        steps = max(state.global_step - self._first_step, 1)
        per_step = (now - self._started) / steps
        self._write(
            state,
            {
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                "tokens_per_s": self._tokens_per_step() / per_step,
                "eta_s": per_step * (state.max_steps - state.global_step),
            },
        )

    def _measure(self, state: TrainerState) -> None:
        loss = self._trainer.measure()
        if loss is None:
            return
        self._trainer.course.held_out.append(loss)
        self._write(state, {"held_out_loss": loss})

    def _save(self, control: TrainerControl) -> None:
        self._saved = time.monotonic()
        self._trainer.course.seconds = self._before + self._saved - self._started
        control.should_save = True

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


def newest_checkpoint(folder: Path, fingerprint: str, attempt: int) -> tuple[Path, Course] | None:
    """Return the newest complete checkpoint and what had been measured there.

    Raises:
        BackendError: It was written by another job.
    """
    for path in reversed(_checkpoints(folder)):
        raw = read_json(path / _STATE)
        if raw is None:
            continue
        course = Course(**raw)
        if (course.fingerprint, course.attempt) != (fingerprint, attempt):
            raise BackendError(
                f"{path} belongs to another job ({course.fingerprint})",
                "remove that folder: the job then starts from its beginning",
            )
        return path, course
    return None


def _checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))
