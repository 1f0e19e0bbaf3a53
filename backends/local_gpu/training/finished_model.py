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
from backends.local_gpu.training.speed.peaks import peak_flops
from backends.local_gpu.training.trainer import LabelledTrainer

PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
"""Packages whose versions are recorded with a model."""


def packages() -> dict[str, str]:
    """Return the versions of the training packages."""
    return {name: version(name) for name in PACKAGES}


def facts_of(trainer: LabelledTrainer, where: torch.device, dtype: torch.dtype) -> dict[str, Json]:
    """Return what is recorded of a finished training."""
    history, steps = trainer.history, trainer.state.global_step
    epochs = trainer.state.num_train_epochs
    tokens = trainer.objective.train.tokens * epochs
    seconds = history.seconds
    if where.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return {
        "trained_tokens": tokens,
        "trained_labels": trainer.objective.train.labels * epochs,
        "steps": steps,
        "epochs": epochs,
        "train_loss": history.loss_sum / steps,
        "held_out_loss_before": history.held_out[0] if history.held_out else None,
        "held_out_loss": history.held_out[-1] if history.held_out else None,
        "held_out_loss_by_epoch": list(history.held_out[1:]),
        **{
            f"held_out_{name}": number
            for last in history.observed[-1:]
            for name, number in last.items()
        },
        **({"batch_parts": trainer.batch_parts} if history.halvings else {}),
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(peak),
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "packages": packages(),
    }


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
    tokens = trainer.objective.train.tokens * trainer.state.num_train_epochs
    seconds = history.seconds - history.measuring
    peak = peak_flops(torch.cuda.get_device_name(), dtype) if where.type == "cuda" else None
    devices = trainer.args.world_size
    return {
        "tokens_per_s": round(tokens / seconds, 1),
        "padding": round(1 - tokens / history.slots, 4),
        "tflops_per_s": float(f"{flops / seconds / 1e12:.4g}"),
        "mfu": None if peak is None else round(flops / seconds / (peak * devices), 4),
    }


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
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    publish_dir(partial, run.model)
    write_success(run, facts)


def write_success(run: RunDir, facts: Mapping[str, Json]) -> None:
    """Record that the model of a run is complete; its checkpoints and tokens go."""
    # The model is there; the result comes last.
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    shutil.rmtree(run.tokens, ignore_errors=True)
    ended: dict[str, Json] = {
        "state": "succeeded",
        "facts": dict(facts),
        "finished_s": time.time(),
    }
    write_atomic(run.result, json_bytes(ended))
