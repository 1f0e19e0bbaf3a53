"""One training job, from request to model folder. Runs in a process of its own.

`python -m backends.local_gpu.training.train DIR`, which `device_queue` becomes once a device is free.
Reads `request.json` and the data; writes checkpoints, progress, the model's folder and, last,
`result.json`. On SIGTERM, it saves a checkpoint and ends; a later start continues from there.
"""

import json
import os
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from peft import PeftModel
from transformers import PreTrainedModel, TrainingArguments, set_seed

from backends.atomic_files import append_line, publish_dir, write_atomic
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import TrainRequest
from backends.local_gpu.jobs.run_dir import RunDir, read_request, write_end
from backends.local_gpu.jobs.speeds import remember
from backends.local_gpu.jobs.worker_record import HEARTBEAT_S, read_worker, write_worker
from backends.local_gpu.json_files import json_bytes, read_json
from backends.local_gpu.models.adapters import PREFIX, add_adapter, save_adapter, start_values
from backends.local_gpu.models.base_models import verify_unchanged
from backends.local_gpu.models.language_part import decoder_name
from backends.local_gpu.models.model_files import weights_digest
from backends.local_gpu.models.model_folders import (
    base_folder,
    complete_folder,
    device,
    load_model,
    model_card,
    precision,
    save_model,
    whole_size,
)
from backends.local_gpu.tokens.chat_tokens import Chat
from backends.local_gpu.tokens.tokenizers import open_example_tokenizer
from backends.local_gpu.training.checkpoints import TrainingState, newest_checkpoint
from backends.local_gpu.training.disk_space import require_room
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.tokenized_dataset import encode_file
from backends.local_gpu.training.trainer import LabelledTrainer, Reporter, Splits

PACKAGES: Final = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")
"""Packages whose versions are recorded with a model."""
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
        _write_success(run, read_json(run.model / "metrics.json") or {})
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
    model = load_model(base, dtype if adapter else torch.float32, where)
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    reader = open_example_tokenizer(
        base,
        settings.get("chat_template"),
        settings.get("max_length"),
        longest,
        thinking=settings.get("thinking") == "on",
        recipe=int(settings["recipe"]),
    )
    chat = reader if isinstance(reader, Chat) else None
    splits = Splits(
        train=encode_file(reader, run.train, run.origins, longest),
        held_out=encode_file(reader, run.held_out, None, longest),
    )
    if len(splits.train) == 0:
        raise BackendError("there is nothing to train on: the training set is empty")
    loss = labelled_loss(model, head_learns=settings["recipe"] > 1)
    set_seed(request.seed)
    trained = add_adapter(model, settings) if adapter else model
    before = _sums(trained)

    resumed = newest_checkpoint(run.checkpoints, request.fingerprint, request.attempt)
    history = resumed[1] if resumed else TrainingState(request.fingerprint, request.attempt)
    trainer = LabelledTrainer(
        trained, _arguments(run, settings, request.seed, where), splits, loss, history, dtype
    )
    trainer.notify = partial(note, run)
    if not adapter:
        trainer.reserve = whole_size(trained, base, settings["recipe"])
    require_room(run.path, trainer.reserve)
    reporter = Reporter(trainer, run.progress, _limit_s(request))
    trainer.add_callback(reporter)
    note(run, f"resumed from {resumed[0].name}" if resumed else f"training on {where.type}")
    stop.reporter = reporter
    trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
    stop.reporter = None
    if reporter.used_up and not reporter.stopping:
        raise _used_up(request, trainer, run)
    if trainer.state.global_step < trainer.state.max_steps:
        note(
            run,
            "stopped"
            if reporter.cancelled
            else "stopped; continues from its checkpoint when submitted",
        )
        return False
    _check_learned(before, _sums(trained))
    _check_adapter(trained, settings["recipe"])
    facts = _facts(trainer, where, dtype)
    _write_model(
        run, request, trained, facts, lambda to, texts: complete_folder(to, chat, base, texts)
    )
    remember(state, request, facts, len(splits.train))
    return True


def _limit_s(request: TrainRequest) -> float | None:
    return None if request.max_gpu_hours is None else request.max_gpu_hours * 3600


def _used_up(request: TrainRequest, trainer: LabelledTrainer, run: RunDir) -> BackendError:
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    state = trainer.state
    needed = trainer.history.seconds / 3600 * state.max_steps / state.global_step
    return BackendError(
        f"stopped at step {state.global_step} of {state.max_steps}: "
        f"budget.max_gpu_hours of {request.max_gpu_hours:g} is used up",
        f"Raise it to about {needed:.2g}, or train less, then `ftctl retry NAME`.",
    )


def note(run: RunDir, message: str) -> None:
    """Add a line for people to a run's events."""
    append_line(run.progress, json.dumps({"time_s": time.time(), "message": message}).encode())


def packages() -> dict[str, str]:
    """Return the versions of the training packages."""
    return {name: version(name) for name in PACKAGES}


def _arguments(
    run: RunDir, settings: Mapping[str, Any], seed: int, where: torch.device
) -> TrainingArguments:
    names = (
        "num_train_epochs",
        "learning_rate",
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "lr_scheduler_type",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
    )
    return TrainingArguments(
        # Checkpoints are written here, and moved to the parent folder when they are complete.
        output_dir=str(run.checkpoints / "partial"),
        use_cpu=where.type == "cpu",
        seed=seed,
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="warning",
        remove_unused_columns=False,
        **{name: settings[name] for name in names},
    )


def _sums(model: torch.nn.Module) -> dict[str, float]:
    """Return one number for each trained tensor; of an adapter, the half that starts as zero."""
    learning = (
        start_values(model)
        if isinstance(model, PeftModel)
        else (pair for pair in model.named_parameters() if pair[1].requires_grad)
    )
    return {name: float(weights.detach().sum(dtype=torch.float64)) for name, weights in learning}


def _check_learned(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    if not all(abs(value) < float("inf") for value in after.values()):
        raise BackendError("the trained weights are not finite", "Lower `learning_rate`.")
    if before == after:
        raise BackendError(
            "nothing was learned: all trained weights are unchanged",
            "Raise `learning_rate`, or train for more steps.",
        )


def _check_adapter(trained: torch.nn.Module, recipe: int) -> None:
    """Require that every layer of an adapter has learned: an idle layer should not be in it.

    By recipe 1, the output layer and layers outside the language part never learn.
    """
    if not isinstance(trained, PeftModel):
        return
    idle = [name for name, weights in start_values(trained) if not bool(weights.any())]
    if recipe == 1:
        inside = PREFIX + decoder_name(trained.get_base_model())
        idle = [name for name in idle if name.startswith(f"{inside}.")]
    if idle:
        first, *others = (name.partition(".lora_")[0].removeprefix(PREFIX) for name in idle)
        more = f" and on {len(others)} more layers" if others else ""
        raise BackendError(
            f"the adapter on {first}{more} has learned nothing",
            "Name the layers that texts go through in `target_modules`, or write all-linear.",
        )


def _facts(trainer: LabelledTrainer, where: torch.device, dtype: torch.dtype) -> dict[str, Json]:
    history, steps = trainer.history, trainer.state.global_step
    epochs = trainer.state.num_train_epochs
    tokens = int(trainer.splits.train.lengths.sum()) * epochs
    seconds = history.seconds
    if where.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        # Linux counts in KiB, macOS in bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return {
        "trained_tokens": tokens,
        "trained_labels": trainer.splits.train.labels * epochs,
        "steps": steps,
        "epochs": epochs,
        "train_loss": history.loss_sum / steps,
        "held_out_loss_before": history.held_out[0] if history.held_out else None,
        "held_out_loss": history.held_out[-1] if history.held_out else None,
        "held_out_loss_by_epoch": list(history.held_out[1:]),
        "seconds": round(seconds, 3),
        "tokens_per_s": round(tokens / (seconds - history.measuring), 1),
        "peak_memory_mb": round(peak),
        "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "packages": packages(),
    }


def _write_model(
    run: RunDir,
    request: TrainRequest,
    trained: PreTrainedModel | PeftModel,
    facts: dict[str, Json],
    complete: Callable[[Path, Mapping[str, str]], None],
) -> None:
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
    _write_success(run, facts)


def _write_success(run: RunDir, facts: Mapping[str, Json]) -> None:
    # The model is there; the result comes last.
    shutil.rmtree(run.checkpoints, ignore_errors=True)
    ended: dict[str, Json] = {
        "state": "succeeded",
        "facts": dict(facts),
        "finished_s": time.time(),
    }
    write_atomic(run.result, json_bytes(ended))


def _explain(error: Exception) -> tuple[str, str]:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate" in text:
        return (
            f"out of memory ({text.splitlines()[0]})",
            (
                "halve `per_device_train_batch_size` and double `gradient_accumulation_steps`: "
                "the same training in half the memory"
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
