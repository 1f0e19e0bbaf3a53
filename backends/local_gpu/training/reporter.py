"""Progress of a training: its lines, its measurements, and when it saves or stops."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from backends.contract.inspector import Json
from backends.local_gpu.json_files import last_line
from backends.local_gpu.training.trainer import LabelledTrainer

_REPORT_S: Final = 0.2
"""Seconds after which the next step writes a line of progress."""
_REPORTS: Final = 200
"""Steps that write a line of progress in any case, evenly spaced: the curve of a fast training."""


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Writes progress, requests checkpoints, measures, stops on request or when a limit is reached.

    Attributes:
        stopping: True if the training stops after the current step, as every process does.
        cancelled: True if the training stops for good, without a checkpoint.
        used_up: True if the training stopped because it used all its time.
        stopped_early: True if the training ended because its held-out loss fell no more.
    """

    def __init__(
        self,
        trainer: LabelledTrainer,
        progress: Path,
        max_seconds: float | None = None,
    ) -> None:
        """Prepare the reports of one start.

        Args:
            trainer: The training.
            progress: File for the reports.
            max_seconds: Seconds of device time that all starts together may take.
        """
        self.stopping = False
        self.cancelled = False
        self._asked = (False, False)
        self.used_up = False
        self.stopped_early = False
        self._spent_before = spent_in(progress)
        self._trainer = trainer
        self._progress = progress
        self._max_seconds = math.inf if max_seconds is None else max_seconds
        self._started = self._reported = time.monotonic()
        self._before = trainer.history.seconds
        self._mean_tokens = trainer.objective.train.rows.count / len(trainer.batches)
        self._first_step = 0

    def ask_to_stop(self, *, for_good: bool) -> None:
        """Ask the training to stop after a step; may be called at any time."""
        self._asked = (True, for_good)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure the untrained model, unless an earlier start has."""
        del args
        self._first_step = state.global_step
        pace = self._trainer.pace
        # Earlier work, such as reading a checkpoint, does not count as a step's time.
        pace.started = pace.saved = time.monotonic()
        if not self._trainer.history.held_out:
            self._measure(state, control)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Choose the order of the epoch that begins."""
        del args, control
        self._trainer.batches.epoch = state.global_step // self._trainer.steps_per_epoch

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure and save when due; stop on request or when the budget is used up."""
        del args
        step = state.global_step
        self._agree()
        ends_epoch = step % self._trainer.steps_per_epoch == 0
        if self._trainer.eval_steps is None:
            due = step == state.max_steps and not ends_epoch
        else:
            due = step == state.max_steps or step % self._trainer.eval_steps == 0
        # A training that has ended is published, even if it was cancelled meanwhile.
        if due and (step == state.max_steps or not self.cancelled):
            self._measure(state, control)
        is_over = step == state.max_steps or self.stopped_early
        (spent_s,) = self._trainer.parallel.world.most(self.spent_s)
        self.used_up = spent_s >= self._max_seconds and not is_over
        if self.stopping or self.used_up:
            control.should_training_stop = True
        # The epoch's end saves; a training that is over inside an epoch needs no checkpoint.
        if not ends_epoch and not is_over:
            self._save_if_due(control, epoch_ends=False)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Measure after every epoch if steps do not decide, and save if a checkpoint is due."""
        del args
        is_last = state.global_step == state.max_steps
        if state.global_step % self._trainer.steps_per_epoch or (self.cancelled and not is_last):
            return
        if self._trainer.eval_steps is None:
            self._measure(state, control)
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
        # One measurement is made before the first step.
        planned = 1 + math.ceil(
            state.max_steps / (self._trainer.eval_steps or self._trainer.steps_per_epoch)
        )
        unmeasured = planned - len(self._trainer.history.held_out)
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

    def _measure(self, state: TrainerState, control: TrainerControl) -> None:
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
        rule = self._trainer.early_stopping
        if rule is None or not state.global_step:
            return
        rule.judge(state.global_step, loss, observed)
        if rule.stops and state.global_step < state.max_steps:
            self.stopped_early = True
            control.should_training_stop = True

    def _save_if_due(self, control: TrainerControl, *, epoch_ends: bool) -> None:
        here = self._trainer.pace.is_due(time.monotonic(), epoch_ends=epoch_ends)
        (due,) = self._trainer.parallel.world.most(here)
        over = self.cancelled or self.used_up or self.stopped_early
        if (due or self.stopping) and not over:
            self._trainer.history.seconds = self._seconds()
            control.should_save = True

    def _agree(self) -> None:
        """Stop where any process is asked to: all of them compute each step together."""
        stopping, cancelled = self._trainer.agree(*self._asked)
        self.stopping, self.cancelled = bool(stopping), bool(cancelled)

    @property
    def spent_s(self) -> float:
        """Seconds of device time of all starts, with work that a killed start lost."""
        now = (time.monotonic() - self._started) * self._trainer.parallel.world.size
        return max(self._spent_before, self._before) + now

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._started

    def _write(self, state: TrainerState, step: int, values: Mapping[str, Json]) -> None:
        if not self._trainer.parallel.world.is_first:
            return
        line = {
            "time_s": time.time(),
            "step": step,
            "total_steps": state.max_steps,
            "epoch": round(step / self._trainer.steps_per_epoch, 4),
            "spent_s": round(self.spent_s, 3),
            **values,
        }
        # Not durable on purpose: waiting for the disk several times a second costs training time.
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _tokens_per_step(self) -> float:
        return self._mean_tokens * float(self._trainer.batches.accumulation)


def spent_in(progress: Path) -> float:
    """Return the seconds of device time that earlier starts have reported."""
    line = last_line(progress, "spent_s")
    return 0.0 if line is None else float(line["spent_s"])
