"""Progress of a training: its lines, its measurements, and when it saves or stops."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backends.contract.inspector import Json
from backends.local_gpu.training.trainer import LabelledTrainer

_REPORT_S: Final = 0.2
"""Seconds after which the next step writes a line of progress."""
_REPORTS: Final = 200
"""Steps that write a line of progress in any case, evenly spaced: the curve of a fast training."""


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
        self._mean_tokens = trainer.objective.train.tokens / len(trainer.batches)
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
        if "loss" not in logs:
            return
        every = max(1, state.max_steps // _REPORTS)
        # The step of this loss; more steps may have ended since.
        step = int(logs["step"])
        is_due = step in {1, state.max_steps} or step % every == 0
        if not (is_due or now - self._reported >= _REPORT_S):
            return
        self._reported = now
        steps, pace = state.global_step - self._first_step, self._trainer.pace
        more = state.max_steps - state.global_step
        # Measurements are made before the first step, and after every epoch.
        unmeasured = state.num_train_epochs + 1 - len(self._trainer.history.held_out)
        self._write(
            state,
            step,
            {
                "loss": logs["loss"],
                "learning_rate": logs["learning_rate"],
                **self._trainer.take_observed(),
                "tokens_per_s": self._tokens_per_step() / max(pace.per_step(now, steps), 1e-9),
                "eta_s": pace.left(now, steps, more, unmeasured),
            },
        )

    def _measure(self, state: TrainerState) -> None:
        began = time.monotonic()
        measured = self._trainer.measure()
        if measured is None:
            return
        loss, observed = measured
        ended = time.monotonic()
        self._trainer.pace.note_measuring(began, ended)
        self._trainer.history.measuring += ended - began
        self._trainer.history.held_out.append(loss)
        if state.global_step:
            # The untrained model is its own reference: every reward is nothing but rounding.
            self._trainer.history.observed.append(observed)
        else:
            observed = {}
        self._write(
            state,
            state.global_step,
            {"held_out_loss": loss, **{f"held_out_{name}": one for name, one in observed.items()}},
        )

    def _save_if_due(self, control: TrainerControl, *, epoch_ends: bool) -> None:
        due = self._trainer.pace.is_due(time.monotonic(), epoch_ends=epoch_ends)
        if (due or self.stopping) and not (self.cancelled or self.used_up):
            self._trainer.history.seconds = self._seconds()
            control.should_save = True

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _write(self, state: TrainerState, step: int, values: Mapping[str, Json]) -> None:
        line = {
            "time_s": time.time(),
            "step": step,
            "total_steps": state.max_steps,
            "epoch": round(step / self._steps_per_epoch(state), 4),
            **values,
        }
        # Not durable on purpose: waiting for the disk several times a second costs training time.
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _steps_per_epoch(self, state: TrainerState) -> int:
        return int(state.max_steps // state.num_train_epochs)

    def _tokens_per_step(self) -> float:
        return self._mean_tokens * float(self._trainer.args.gradient_accumulation_steps)
