"""One training job, from request to model folder. Runs in a process of its own.

`python -m backends.local_gpu.training.train DIR`, which `device_queue` becomes once a device is free.
For a job on several devices, `ranks` starts one for each. Reads `request.json` and the data; writes
checkpoints, progress, the model's folder and, last, `result.json`. Of several processes, the first
writes. On SIGTERM, it saves a checkpoint and ends; a later start continues from there.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from transformers import PreTrainedModel, set_seed

from backends.atomic_files import append_line, write_atomic
from backends.contract.errors import BackendError
from backends.contract.jobs import TrainRequest
from backends.contract.methods import METHODS
from backends.contract.speed import speed_words
from backends.local_gpu.jobs.rank_protocol import AGAIN, LOST, STOPPED
from backends.local_gpu.jobs.run_dir import RunDir, read_request, write_end
from backends.local_gpu.jobs.speeds import remember
from backends.local_gpu.jobs.worker_record import HEARTBEAT_S, read_worker, write_worker
from backends.local_gpu.json_files import json_bytes, read_json
from backends.local_gpu.memory.fit import Fit
from backends.local_gpu.models.adapters import share_inputs, start_adapter
from backends.local_gpu.models.base_folders import base_folder
from backends.local_gpu.models.base_models import verify_unchanged
from backends.local_gpu.models.model_folders import (
    complete_folder,
    device,
    precision,
    whole_size,
    with_weights,
)
from backends.local_gpu.training.arguments import training_arguments
from backends.local_gpu.training.checkpoints import TrainingState, newest_checkpoint
from backends.local_gpu.training.disk_space import require_room, write_speed
from backends.local_gpu.training.ending.amounts import passes
from backends.local_gpu.training.ending.errors import explain, used_up
from backends.local_gpu.training.ending.stopping import early_stopping_of
from backends.local_gpu.training.finished_model import (
    facts_of,
    speed_of,
    write_model,
    write_success,
)
from backends.local_gpu.training.learned import check_adapter, check_learned, sums
from backends.local_gpu.training.loss import computing
from backends.local_gpu.training.objectives.choose import switch_dropout_off
from backends.local_gpu.training.objectives.reference import Reference
from backends.local_gpu.training.packing.self_check import attention_of
from backends.local_gpu.training.parallel.parallel import gathered
from backends.local_gpu.training.parallel.world import World, is_lost, join
from backends.local_gpu.training.reporter import Reporter
from backends.local_gpu.training.speed.work import work_of
from backends.local_gpu.training.start.examples import EncodedExamples, encode_examples
from backends.local_gpu.training.start.fitting import fit_onto, make_fit, open_model
from backends.local_gpu.training.start.objective import (
    batches_of,
    choose_attention,
    job_of,
    start_objective,
)
from backends.local_gpu.training.trainer import LabelledTrainer, StartAgain

_VERDICT_S: Final = 2.0
"""Seconds after an error in which a process is ended if another one's end has caused the error."""


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
        self.reporter.ask_to_stop(for_good=self.cancel.exists())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Started:
    """A training that is ready to begin or to continue."""

    trainer: LabelledTrainer
    model: PreTrainedModel
    """The base model, with or without an adapter on it."""
    examples: EncodedExamples
    before: Mapping[str, float]
    """Sums of the weights before the training."""
    resumed: Path | None
    """The checkpoint that it continues from."""


def main(folder: Path) -> int:
    """Run the job of a folder and write its result."""
    run = RunDir(path=folder)
    stop, world = Stop(cancel=run.cancel), World()
    signal.signal(signal.SIGTERM, stop.receive)
    # What was imported stays; a training begins with a search for cycles in all there is.
    gc.freeze()
    rank = os.environ.get("RANK")
    threading.Thread(target=_beat, args=(run, rank), daemon=True).start()
    try:
        world = join(device())
        finished = train(run, stop, world)
    except StartAgain as error:
        write_atomic(run.halvings, json_bytes({"halvings": error.halvings}))
        return AGAIN
    except BackendError as error:
        write_end(run, "failed", error.message, error.remedy)
        return 1
    except SystemExit:
        finished = False
    except Exception as error:  # noqa: BLE001 - the parent only reads files: this is the border
        traceback.print_exc()
        return _fail(run, error, is_alone=rank is None)
    if finished:
        return 0
    if not world.is_first:
        return STOPPED
    if run.cancel.exists():
        write_end(run, "cancelled", "cancelled")
        return 0
    if (worker := read_worker(run)) is not None:
        # It stopped on request, which does not mean that the run cannot succeed.
        write_worker(run, replace(worker, starts=0))
    return STOPPED


def train(run: RunDir, stop: Stop, world: World | None = None) -> bool:
    """Train the model that a folder's request asks for.

    Args:
        run: The run.
        stop: Learns what to stop.
        world: The processes that train it; None for this process alone.

    Returns:
        True if the training ended, False if it was stopped.

    Raises:
        BackendError: The training failed for a reason that a person can fix.
        StartAgain: The batches must be smaller.
    """
    world = world or World()
    if run.model.exists():
        # The last start died after publishing the model, before it wrote the result.
        if world.is_first:
            write_success(run, read_json(run.model / "metrics.json") or {})
        return True
    request = read_request(run)
    started = _start(run, request, world)
    trainer, resumed = started.trainer, started.resumed
    reporter = Reporter(trainer, run.progress, _limit_s(request))
    trainer.add_callback(reporter)
    place = _place(trainer.args.device, world)
    trainer.notify(f"resumed from {resumed.name}" if resumed else f"training on {place}")
    stop.reporter = reporter
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    stop.reporter = None
    if reporter.used_up and not reporter.stopping:
        raise used_up(request, trainer, reporter.spent_s, run)
    if trainer.state.global_step < trainer.state.max_steps and not reporter.stopped_early:
        stopped = "stopped; continues from its checkpoint when submitted"
        trainer.notify("stopped" if reporter.cancelled else stopped)
        return False
    _finish(run, request, started)
    return True


def _start(run: RunDir, request: TrainRequest, world: World) -> _Started:
    """Load the model, and make a trainer that is ready to train or to continue."""
    settings: Mapping[str, Any] = request.hyperparameters
    notify = partial(note, run) if world.is_first else print
    verify_unchanged(request.base_model, run.path.parent.parent)
    where = device()
    dtype = precision(settings["dtype"], where)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False

    base = base_folder(request.base_model)
    adapter = settings["finetuning_type"] == "lora"
    with world.first_first():
        examples = encode_examples(run, request)
    longest = int(examples.train.lengths.max())
    fit = fit_onto(base, request, longest, dtype, where, world)
    model, parallel = open_model(base, request, dtype, where, fit, world)
    in_precision = partial(computing, where, dtype, keeps=not parallel.is_sharded)
    job = job_of(run, request, model, examples, parallel)
    choose_attention(model, job, where, in_precision, parallel)
    if METHODS[request.method].is_of_preferences:
        switch_dropout_off(model)
    set_seed(request.seed)
    trained = start_adapter(model, request, base) if adapter else model
    if adapter:
        parallel.equalise(trained)
    if dtype != torch.float32:
        share_inputs(trained)
    before = sums(trained)

    resumed = newest_checkpoint(run.checkpoints, request.fingerprint, request.attempt)
    history = resumed[1] if resumed else TrainingState(request.fingerprint, request.attempt)
    reference = Reference(
        model=trained,
        loss=job.loss,
        precision=in_precision,
        size=settings.get("per_device_train_batch_size", 1),
        folder=run.checkpoints,
        note=notify,
        parallel=parallel,
    )
    objective = start_objective(job, reference, history)
    trainer = LabelledTrainer(
        trained,
        training_arguments(run, settings, request.seed, where, parallel.share.accumulation),
        objective,
        history,
        dtype,
        batches_of(objective, settings, request.seed),
    )
    trainer.parallel, trainer.notify = parallel, notify
    _set_up(run, request, model, base, trainer, fit)
    _limit(run, trainer, settings, resumed)
    return _Started(
        trainer=trainer,
        model=model,
        examples=examples,
        before=before,
        resumed=resumed[0] if resumed else None,
    )


def _finish(run: RunDir, request: TrainRequest, started: _Started) -> None:
    """Check what was learned, and write the model; of several processes, the first does."""
    trainer, examples = started.trainer, started.examples
    parallel, trained = trainer.parallel, trainer.model
    _end(trainer)
    check_learned(started.before, sums(trained))
    check_adapter(trained, int(str(request.hyperparameters["recipe"])))
    where = trainer.args.device
    facts = facts_of(trainer, where, trainer.dtype)
    base = base_folder(request.base_model)
    weights = gathered(trained.named_parameters(), parallel.world) if parallel.is_sharded else {}
    if not parallel.world.is_first:
        return
    flops = work_of(started.model, examples.train) * passes(trainer)
    facts |= speed_of(trainer, where, trainer.dtype, flops)
    facts["attention"] = attention_of(started.model)
    trainer.notify(speed_words(facts))
    if parallel.is_sharded:
        rule = trainer.early_stopping
        trained = with_weights(base, weights if rule is None else {**weights, **rule.weights})
    write_model(
        run,
        request,
        trained,
        facts,
        lambda to, texts: complete_folder(to, examples.chat, base, texts),
    )
    remember(run.path.parent.parent, request, facts, len(trainer.objective.train))


def _fail(run: RunDir, error: Exception, *, is_alone: bool) -> int:
    """Record an error; of several processes, one whose error is not the end of another does."""
    if not is_alone:
        if is_lost(error):
            return LOST
        time.sleep(_VERDICT_S)
    write_end(run, "failed", *explain(error))
    return 1


def _place(where: torch.device, world: World) -> str:
    return where.type if world.is_alone else f"{world.size} devices ({where.type})"


def _set_up(
    run: RunDir,
    request: TrainRequest,
    model: PreTrainedModel,
    base: Path,
    trainer: LabelledTrainer,
    fit: Fit | None,
) -> None:
    """Set the rates of a training, make it fit its devices, and note how."""
    ratio = request.hyperparameters.get("loraplus_lr_ratio")
    trainer.rate_ratio = None if ratio is None else float(str(ratio))
    history = trainer.history
    halvings = make_fit(model, request, fit, trainer.parallel, trainer.notify)
    known = int((read_json(run.halvings) or {}).get("halvings", 0))
    if max(halvings, known) > history.halvings:
        history.halvings = max(halvings, known)
        trainer.notify(f"batches are computed in {trainer.batch_parts} parts, to fit the memory")
    if request.hyperparameters["finetuning_type"] != "lora":
        recipe = int(str(request.hyperparameters["recipe"]))
        trainer.reserve = whole_size(trainer.model, base, recipe)


def _end(trainer: LabelledTrainer) -> None:
    """Put the best weights back, where these are kept."""
    if trainer.early_stopping is not None:
        trainer.notify(trainer.early_stopping.end(trainer.state.global_step))


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
    rule = early_stopping_of(settings, trainer.model, trainer.history, trainer.parallel)
    if rule is not None:
        trainer.stop_early(rule)
        if resumed is not None:
            rule.load(resumed[0])
    require_room(run.path, trainer.reserve)
    size, is_first = trainer.pace.size, trainer.parallel.world.is_first
    trainer.pace.expect(size, write_speed(run.path, size) if is_first else None)


def _limit_s(request: TrainRequest) -> float | None:
    return None if request.max_gpu_hours is None else request.max_gpu_hours * 3600


def note(run: RunDir, message: str) -> None:
    """Add a line for people to a run's events."""
    append_line(run.progress, json.dumps({"time_s": time.time(), "message": message}).encode())


def _beat(run: RunDir, rank: str | None) -> None:
    """Show that this process lives, and stop a job that another machine cancelled.

    Args:
        run: The run.
        rank: Place of this process among those of the job; None if it is the only one.
    """
    parent = os.getppid()
    while True:
        if rank is not None and os.getppid() != parent:
            os._exit(LOST)
        if rank in {None, "0"}:
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
