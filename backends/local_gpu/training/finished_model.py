"""The folder of a finished model, and the facts of its training."""

import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from backends.atomic_files import publish_dir, write_atomic
from backends.contract.inspector import Json
from backends.contract.jobs import TrainRequest
from backends.local_gpu.jobs.run_dir import RunDir
from backends.local_gpu.json_files import json_bytes
from backends.local_gpu.models.adapters import save_adapter
from backends.local_gpu.models.base_folders import base_folder
from backends.local_gpu.models.model_files import weights_digest
from backends.local_gpu.models.model_folders import model_card, save_model
from backends.local_gpu.training.ending.amounts import amounts
from backends.local_gpu.training.speed.peaks import peak_flops
from backends.local_gpu.training.trainer import LabelledTrainer

PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
"""Packages whose versions are recorded with a model."""


def packages() -> dict[str, str]:
    """Return the versions of the training packages."""
    return {name: version(name) for name in PACKAGES}


def facts_of(trainer: LabelledTrainer, where: torch.device, dtype: torch.dtype) -> dict[str, Json]:
    """Return what is recorded of a finished training. Every process must call it."""
    history, steps = trainer.history, trainer.state.global_step
    epochs: float = steps / trainer.steps_per_epoch
    tokens, labels = amounts(trainer)
    seconds = history.seconds
    if where.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    (peak,) = trainer.parallel.world.most(peak)
    return {
        "trained_tokens": tokens,
        "trained_labels": labels,
        "trained_parameters": _trained(trainer.model),
        "steps": steps,
        "epochs": int(epochs) if epochs.is_integer() else round(epochs, 4),
        "train_loss": history.loss_sum / steps,
        **_measured(trainer),
        **_ended(trainer),
        **({"batch_parts": trainer.batch_parts} if history.halvings else {}),
        "seconds": round(seconds, 3),
        "checkpoint_share": round(history.saving / seconds, 4),
        "peak_memory_mb": round(peak),
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
        **_devices(trainer),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "packages": packages(),
    }


def _trained(model: torch.nn.Module) -> int:
    """Return the number of weights that learn; shared weights count once."""
    learning = {id(one): one.numel() for one in model.parameters() if one.requires_grad}
    return sum(learning.values())


def speed_of(
    trainer: LabelledTrainer, where: torch.device, dtype: torch.dtype, flops: float
) -> dict[str, Json]:
    """Return how fast a training was.

    Args:
        trainer: The finished training.
        where: Its device.
        dtype: Precision of the matrix work.
        flops: Floating-point operations that the training needed.
    """
    history = trainer.history
    tokens, _ = amounts(trainer)
    seconds = history.seconds - history.measuring
    peak = peak_flops(torch.cuda.get_device_name(), dtype) if where.type == "cuda" else None
    devices = trainer.parallel.world.size
    return {
        "tokens_per_s": round(tokens / seconds, 1),
        "padding": round(1 - tokens / history.slots, 4),
        "tflops_per_s": float(f"{flops / seconds / 1e12:.4g}"),
        "mfu": None if peak is None else round(flops / seconds / (peak * devices), 4),
    }


def _devices(trainer: LabelledTrainer) -> dict[str, Json]:
    """Return how many devices worked at once, where that was more than one."""
    parallel = trainer.parallel
    if parallel.world.is_alone:
        return {}
    return {"gpus": parallel.world.size, "sharded": parallel.is_sharded}


def _measured(trainer: LabelledTrainer) -> dict[str, Json]:
    """Return the held-out losses, and what was observed with that of the published weights."""
    history, rule = trainer.history, trainer.early_stopping
    loss = history.held_out[-1] if history.held_out else None
    observed = history.observed[-1] if history.observed else {}
    if rule is not None and history.best_step:
        loss, observed = history.best_loss, history.best_observed
    losses: dict[str, Json] = {
        "held_out_loss_before": history.held_out[0] if history.held_out else None,
        "held_out_loss": loss,
    }
    if trainer.eval_steps is None:
        losses["held_out_loss_by_epoch"] = list(history.held_out[1:])
    return losses | {f"held_out_{name}": number for name, number in observed.items()}


def _ended(trainer: LabelledTrainer) -> dict[str, Json]:
    """Return the step whose weights are published, and why the training ended before its epochs."""
    state, rule = trainer.state, trainer.early_stopping
    facts: dict[str, Json] = {}
    if rule is not None and trainer.history.best_step:
        facts["best_step"] = trainer.history.best_step
    if rule is not None and state.global_step < state.max_steps:
        facts["planned_steps"] = state.max_steps
        facts["stopped_because"] = rule.reason
    elif state.global_step < trainer.steps_per_epoch * trainer.epochs:
        facts["stopped_because"] = "max_steps was reached"
    return facts


def write_model(
    run: RunDir,
    request: TrainRequest,
    trained: PreTrainedModel | PeftModel,
    facts: dict[str, Json],
    complete: Callable[[Path, Mapping[str, str]], None],
) -> None:
    """Write the model's folder, and last the run's result.

    Args:
        run: The run of the training.
        request: Its request.
        trained: The trained model, or an adapter on its base model.
        facts: Facts of the training; the digest of the weights is added.
        complete: Adds texts and the files of the base model to a folder of weights.
    """
    partial = run.path / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    base = base_folder(request.base_model)
    if isinstance(trained, PeftModel):
        save_adapter(trained, partial, request.base_model, base)
    else:
        save_model(trained, partial, base, int(str(request.hyperparameters["recipe"])))
    facts["weights_digest"] = weights_digest(partial)
    provenance: dict[str, Json] = {
        "name": request.name,
        "fingerprint": request.fingerprint,
        "attempt": request.attempt,
        "base_model": {
            "reference": request.base_model.reference,
            "revision": request.base_model.revision,
            "identity": request.base_model.identity,
        },
        "method": request.method,
        "hyperparameters": dict(request.hyperparameters),
        "seed": request.seed,
        **{key: facts[key] for key in ("packages", "threads", "device", "dtype")},
    }
    adapter = isinstance(trained, PeftModel)
    texts = {
        "README.md": model_card(request, facts, adapter=adapter),
        "provenance.json": json_bytes(provenance).decode(),
        "metrics.json": json_bytes(facts).decode(),
    }
    complete(partial, texts)
    # From here on there is a model: a request to stop comes too late.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    publish_dir(partial, run.model)
    write_success(run, facts)
    signal.signal(signal.SIGTERM, before)


def write_success(run: RunDir, facts: Mapping[str, Json]) -> None:
    """Record that the model of a run is complete; its checkpoints and tokens go."""
    # The model is there; the result comes last.
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    shutil.rmtree(run.tokens, ignore_errors=True)
    run.rendezvous.unlink(missing_ok=True)
    ended: dict[str, Json] = {
        "state": "succeeded",
        "facts": dict(facts),
        "finished_s": time.time(),
    }
    write_atomic(run.result, json_bytes(ended))
