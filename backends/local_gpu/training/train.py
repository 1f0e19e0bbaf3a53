"""One training job, from request to model folder. Runs in a process of its own.

`python -m backends.local_gpu.training.train DIR`, which `device_queue` becomes once a device is free.
Reads `request.json` and the data; writes checkpoints, progress, the model's folder and, last,
`result.json`. On SIGTERM, it saves a checkpoint and ends; a later start continues from there.
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from transformers import PreTrainedModel, set_seed

from backends.atomic_files import append_line
from backends.contract.errors import BackendError
from backends.contract.jobs import TrainRequest
from backends.contract.methods import METHODS
from backends.contract.speed import speed_words
from backends.local_gpu.jobs.run_dir import RunDir, read_request, write_end
from backends.local_gpu.jobs.speeds import remember
from backends.local_gpu.jobs.worker_record import HEARTBEAT_S, read_worker, write_worker
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.adapters import share_inputs, start_adapter
from backends.local_gpu.models.base_folders import base_folder
from backends.local_gpu.models.base_models import verify_unchanged
from backends.local_gpu.models.model_folders import (
    complete_folder,
    device,
    load_model,
    precision,
    whole_size,
)
from backends.local_gpu.tokens.answer_tokens import Answers
from backends.local_gpu.tokens.chat_tokens import Chat
from backends.local_gpu.tokens.tokenizers import open_example_tokenizer
from backends.local_gpu.training.arguments import training_arguments
from backends.local_gpu.training.checkpoints import TrainingState, newest_checkpoint
from backends.local_gpu.training.disk_space import require_room, write_speed
from backends.local_gpu.training.ending.amounts import passes
from backends.local_gpu.training.ending.stopping import early_stopping_of, require_held_out
from backends.local_gpu.training.finished_model import (
    facts_of,
    speed_of,
    write_model,
    write_success,
)
from backends.local_gpu.training.fitting import is_out_of_memory, make_fit
from backends.local_gpu.training.learned import check_adapter, check_learned, sums
from backends.local_gpu.training.loss import computing, labelled_loss
from backends.local_gpu.training.objectives.choose import (
    EncodedSplit,
    Job,
    objective_of,
    switch_dropout_off,
)
from backends.local_gpu.training.objectives.objective import Objective
from backends.local_gpu.training.objectives.reference import Reference
from backends.local_gpu.training.packing.fill import budget_of
from backends.local_gpu.training.packing.self_check import (
    attention_of,
    start_packing,
    start_sharing,
)
from backends.local_gpu.training.packing.shared_prefix import may_share
from backends.local_gpu.training.reporter import Reporter
from backends.local_gpu.training.speed.work import work_of
from backends.local_gpu.training.token_files import kept_tokens
from backends.local_gpu.training.tokenized_dataset import Tokens, encode_file
from backends.local_gpu.training.trainer import LabelledTrainer

STOPPED: Final = 143
"""Exit status after SIGTERM, as in shells."""


@dataclass(slots=True)
class Stop:
    """Handler of SIGTERM.

    Attributes:
        reporter: The running training, which stops after the current step; None before it.
        cancel: File whose existence means to stop for good.
    """

    cancel: Path
    reporter: Reporter | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Stop the training, or the process when nothing is being trained."""
        del number, frame
        if self.reporter is None:
            sys.exit(STOPPED)
        self.reporter.cancelled = self.cancel.exists()
        self.reporter.stopping = True


def main(folder: Path) -> int:
    """Run the job of a folder and write its result."""
    run = RunDir(path=folder)
    stop = Stop(cancel=run.cancel)
    signal.signal(signal.SIGTERM, stop.receive)
    threading.Thread(target=_beat, args=(run,), daemon=True).start()
    try:
        finished = train(run, stop)
    except BackendError as error:
        write_end(run, "failed", error.message, error.remedy)
        return 1
    except SystemExit:
        finished = False
    except Exception as error:  # noqa: BLE001 - the parent only reads files: this is the border
        traceback.print_exc()
        write_end(run, "failed", *_explain(error))
        return 1
    if finished:
        return 0
    if run.cancel.exists():
        write_end(run, "cancelled", "cancelled")
        return 0
    if (worker := read_worker(run)) is not None:
        # It stopped on request, which does not mean that the run cannot succeed.
        write_worker(run, replace(worker, starts=0))
    return STOPPED


def train(run: RunDir, stop: Stop) -> bool:
    """Train the model that a folder's request asks for.

    Returns:
        True if the training ended, False if it was stopped.

    Raises:
        BackendError: The training failed for a reason that a person can fix.
    """
    if run.model.exists():
        # The last start died after publishing the model, before it wrote the result.
        write_success(run, read_json(run.model / "metrics.json") or {})
        return True
    request = read_request(run)
    settings: Mapping[str, Any] = request.hyperparameters
    state = run.path.parent.parent
    verify_unchanged(request.base_model, state)
    where = device()
    dtype = precision(settings["dtype"], where)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False

    base = base_folder(request.base_model)
    adapter = settings["finetuning_type"] == "lora"
    # A frozen base may have the computation's precision; trained weights need float32.
    model = load_model(
        base, dtype if adapter else torch.float32, where, settings.get("quantization")
    )
    chat, job = _job(run, request, model)
    _choose_attention(model, job, where, partial(computing, where, dtype))
    if METHODS[request.method].is_of_preferences:
        switch_dropout_off(model)
    set_seed(request.seed)
    trained = start_adapter(model, request, base) if adapter else model
    if dtype != torch.float32:
        share_inputs(trained)
    before = sums(trained)

    resumed = newest_checkpoint(run.checkpoints, request.fingerprint, request.attempt)
    history = resumed[1] if resumed else TrainingState(request.fingerprint, request.attempt)
    objective = _objective(run, job, trained, history, partial(computing, where, dtype))
    trainer = LabelledTrainer(
        trained,
        training_arguments(run, settings, request.seed, where),
        objective,
        history,
        dtype,
        budget_of(settings),
    )
    trainer.notify = partial(note, run)
    _set_up(run, request, model, base, trainer)
    _limit(run, trainer, settings, resumed)
    reporter = Reporter(trainer, run.progress, _limit_s(request))
    trainer.add_callback(reporter)
    note(run, f"resumed from {resumed[0].name}" if resumed else f"training on {where.type}")
    stop.reporter = reporter
    trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
    stop.reporter = None
    if reporter.used_up and not reporter.stopping:
        raise _used_up(request, trainer, reporter.spent_s, run)
    if trainer.state.global_step < trainer.state.max_steps and not reporter.stopped_early:
        note(
            run,
            "stopped"
            if reporter.cancelled
            else "stopped; continues from its checkpoint when submitted",
        )
        return False
    _end(run, trainer)
    check_learned(before, sums(trained))
    check_adapter(trained, settings["recipe"])
    flops = work_of(model, job.train.rows) * passes(trainer)
    facts = facts_of(trainer, where, dtype) | speed_of(trainer, where, dtype, flops)
    facts["attention"] = attention_of(model)
    note(run, speed_words(facts))
    write_model(
        run, request, trained, facts, lambda to, texts: complete_folder(to, chat, base, texts)
    )
    remember(state, request, facts, len(objective.train))
    return True


def _job(run: RunDir, request: TrainRequest, model: PreTrainedModel) -> tuple[Chat | None, Job]:
    """Return the examples of a run as tokens, and the template of its conversations."""
    settings: Mapping[str, Any] = request.hyperparameters
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    reader = open_example_tokenizer(
        base_folder(request.base_model),
        settings.get("chat_template"),
        settings.get("max_length"),
        longest,
        thinking=settings.get("thinking") == "on",
        recipe=int(settings["recipe"]),
    )
    chat = reader if isinstance(reader, Chat) else None
    if chat is not None and METHODS[request.method].is_of_preferences:
        reader = Answers(chat=chat)
    batch = settings.get("max_tokens_per_batch")

    def encoded(path: Path, origins: Path | None) -> Tokens:
        encode = partial(encode_file, reader, path, origins, longest, batch)
        return kept_tokens(run.tokens / path.stem, path, encode)

    train_set = encoded(run.train, run.origins)
    held_out = encoded(run.held_out, None)
    require_held_out(settings, len(held_out))
    if len(train_set) == 0:
        raise BackendError("there is nothing to train on: the training set is empty")
    return chat, Job(
        method=request.method,
        settings=settings,
        seed=request.seed,
        loss=labelled_loss(model, head_learns=settings["recipe"] > 1),
        train=EncodedSplit(rows=train_set, path=run.train),
        held_out=EncodedSplit(rows=held_out, path=run.held_out),
        longest=longest,
    )


def _set_up(
    run: RunDir, request: TrainRequest, model: PreTrainedModel, base: Path, trainer: LabelledTrainer
) -> None:
    """Set the rates of a training, make it fit its device, and note how."""
    ratio = request.hyperparameters.get("loraplus_lr_ratio")
    trainer.rate_ratio = None if ratio is None else float(str(ratio))
    longest, history = int(trainer.objective.train.lengths.max()), trainer.history
    halvings = make_fit(model, base, request, longest, trainer.dtype, trainer.notify)
    if halvings > history.halvings:
        history.halvings = halvings
        note(run, f"batches are computed in {trainer.batch_parts} parts, to fit the memory")
    if request.hyperparameters["finetuning_type"] != "lora":
        recipe = int(str(request.hyperparameters["recipe"]))
        trainer.reserve = whole_size(trainer.model, base, recipe)


def _choose_attention(
    model: PreTrainedModel,
    job: Job,
    where: torch.device,
    precision: Callable[[], AbstractContextManager[None]],
) -> None:
    """Let a model compute packed rows if the job has any."""
    if job.settings.get("packing"):
        start_packing(model, job.loss, job.train.rows, precision)
    elif where.type == "cuda":
        # The same attention needs no mask for padding: looking whether there is any stops the host.
        with suppress(BackendError):
            start_packing(model, job.loss, job.train.rows, precision)
    elif may_share(model, job.train.rows, job.settings):
        with suppress(BackendError):
            start_sharing(model, job.loss, job.train.rows, precision)


def _objective(
    run: RunDir,
    job: Job,
    trained: torch.nn.Module,
    history: TrainingState,
    precision: Callable[[], AbstractContextManager[None]],
) -> Objective:
    """Return the objective of a job; measuring the base model for it counts as time of the run."""
    began = time.monotonic()
    reference = Reference(
        model=trained,
        loss=job.loss,
        precision=precision,
        size=job.settings.get("per_device_train_batch_size", 1),
        folder=run.checkpoints,
        note=partial(note, run),
    )
    objective = objective_of(job, reference)
    if METHODS[job.method].is_of_preferences:
        history.seconds += time.monotonic() - began
        history.measuring += time.monotonic() - began
    return objective


def _end(run: RunDir, trainer: LabelledTrainer) -> None:
    """Put the best weights back, where these are kept."""
    if trainer.early_stopping is not None:
        note(run, trainer.early_stopping.end(trainer.state.global_step))


def _limit(
    run: RunDir,
    trainer: LabelledTrainer,
    settings: Mapping[str, Any],
    resumed: tuple[Path, TrainingState] | None,
) -> None:
    """Set when a training measures, whether that ends it, and what its checkpoints may take.

    Raises:
        BackendError: The disk has no room for the model.
    """
    trainer.eval_steps = settings.get("eval_steps")
    rule = early_stopping_of(settings, trainer.model, trainer.history)
    if rule is not None:
        trainer.stop_early(rule)
        if resumed is not None:
            rule.load(resumed[0])
    require_room(run.path, trainer.reserve)
    size = trainer.pace.size
    trainer.pace.expect(size, write_speed(run.path, size))


def _limit_s(request: TrainRequest) -> float | None:
    return None if request.max_gpu_hours is None else request.max_gpu_hours * 3600


def _used_up(
    request: TrainRequest, trainer: LabelledTrainer, spent_s: float, run: RunDir
) -> BackendError:
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    state = trainer.state
    needed = spent_s / 3600 * state.max_steps / state.global_step
    return BackendError(
        f"stopped at step {state.global_step} of {state.max_steps}: "
        f"budget.max_gpu_hours of {request.max_gpu_hours:g} is used up",
        f"Raise it to about {needed:.2g}, or train less, then `ftctl retry NAME`.",
    )


def note(run: RunDir, message: str) -> None:
    """Add a line for people to a run's events."""
    append_line(run.progress, json.dumps({"time_s": time.time(), "message": message}).encode())


def _explain(error: Exception) -> tuple[str, str]:
    text = f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        return (
            f"out of memory ({text.splitlines()[0]})",
            (
                "halve `per_device_train_batch_size` or `max_tokens_per_batch`, and double "
                "`gradient_accumulation_steps`: as many examples for each step in half the memory"
            ),
        )
    return text, "the whole traceback is in the job's log: `ftctl logs NAME`"


def _beat(run: RunDir) -> None:
    """Show that this process lives, and stop a job that another machine cancelled."""
    while True:
        run.heartbeat.touch()
        if run.cancel.exists():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(HEARTBEAT_S)


if __name__ == "__main__":
    status = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written, and taking torch down would keep the device for longer.
    os._exit(status)
