"""The objective of a starting training, on a loaded model."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedModel

from backends.contract.errors import BackendError
from backends.contract.jobs import TrainRequest
from backends.contract.methods import METHODS
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.training.batching import Batches
from backends.local_gpu.training.checkpoints import TrainingState
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.objectives.choose import EncodedSplit, Job, objective_of
from backends.local_gpu.training.objectives.objective import Objective
from backends.local_gpu.training.objectives.reference import Reference
from backends.local_gpu.training.packing.fill import budget_of
from backends.local_gpu.training.packing.self_check import start_packing, start_sharing
from backends.local_gpu.training.packing.shared_prefix import may_share
from backends.local_gpu.training.parallel.parallel import Parallel
from backends.local_gpu.training.start.examples import EncodedExamples


def job_of(
    run: RunDir,
    request: TrainRequest,
    model: PreTrainedModel,
    examples: EncodedExamples,
    parallel: Parallel,
) -> Job:
    """Return the inputs of a run's objective.

    Args:
        run: The run.
        request: Its request.
        model: The base model, loaded.
        examples: Its examples.
        parallel: The processes.
    """
    settings: Mapping[str, Any] = request.hyperparameters
    find_loss = partial(labelled_loss, model, head_learns=settings["recipe"] > 1)
    return Job(
        method=request.method,
        settings=settings,
        seed=request.seed,
        loss=parallel.run(find_loss),
        train=EncodedSplit(rows=examples.train, path=run.train),
        held_out=EncodedSplit(rows=examples.held_out, path=run.held_out),
        longest=examples.longest,
    )


def batches_of(objective: Objective, settings: Mapping[str, Any], seed: int) -> Batches:
    """Return the batches of a training, the same on any number of devices.

    Args:
        objective: The objective of the training.
        settings: Complete hyperparameters.
        seed: Seed of the fine-tune.
    """
    return Batches(
        objective.train.lengths,
        settings.get("per_device_train_batch_size", 1),
        settings["gradient_accumulation_steps"],
        seed,
        regroups=objective.regroups,
        budget=budget_of(settings),
    )


def choose_attention(
    model: PreTrainedModel,
    job: Job,
    where: torch.device,
    precision: Callable[[], AbstractContextManager[None]],
    parallel: Parallel,
) -> None:
    """Let a model compute packed rows if the job has any, or what all rows begin with only once.

    Args:
        model: The model before its training.
        job: The job.
        where: The device of this process.
        precision: Returns the context in which training computes.
        parallel: The processes.

    Raises:
        BackendError: The model computes other losses for packed examples.
    """
    start = partial(start_packing, model, job.loss, job.train.rows, precision)
    if job.settings.get("packing"):
        parallel.run(start)
    elif parallel.is_sharded:
        pass
    elif where.type == "cuda":
        # The same attention needs no mask for padding: looking whether there is any stops the host.
        with suppress(BackendError):
            start()
    elif may_share(model, job.train.rows, job.settings):
        with suppress(BackendError):
            start_sharing(model, job.loss, job.train.rows, precision)


def start_objective(job: Job, reference: Reference, history: TrainingState) -> Objective:
    """Return the objective of a job; measuring the base model for it counts as time of the run.

    Args:
        job: The job.
        reference: Its base model.
        history: Measurements of the run so far.
    """
    began = time.monotonic()
    objective = objective_of(job, reference)
    if METHODS[job.method].is_of_preferences:
        history.seconds += time.monotonic() - began
        history.measuring += time.monotonic() - began
    return objective
