"""Arguments of transformers' Trainer and its optimiser, from a job's hyperparameters."""

from collections.abc import Mapping
from typing import Any

import torch
from peft.optimizers import create_loraplus_optimizer
from transformers import Trainer, TrainingArguments

from backends.local_gpu.jobs.run_dir import RunDir


def training_arguments(
    run: RunDir,
    settings: Mapping[str, Any],
    seed: int,
    where: torch.device,
    accumulation: int | None = None,
) -> TrainingArguments:
    """Return the arguments of a run's training.

    Args:
        run: The run; checkpoints are written into its folder.
        settings: Complete hyperparameters.
        seed: Seed of the fine-tune.
        where: The device to train on.
        accumulation: Batches of a step that this process computes; None for all of them.
    """
    names = (
        "num_train_epochs",
        "learning_rate",
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
        **({"optim": "adamw_bnb_8bit"} if settings.get("optim") == "adamw_8bit" else {}),
        disable_tqdm=True,
        log_level="warning",
        max_steps=settings.get("max_steps") or -1,
        remove_unused_columns=False,
        # Absent where batches have a number of tokens: the trainer makes its batches itself.
        per_device_train_batch_size=settings.get("per_device_train_batch_size", 1),
        gradient_accumulation_steps=accumulation or settings["gradient_accumulation_steps"],
        **{name: settings[name] for name in names},
    )


def two_rates(
    model: torch.nn.Module, args: TrainingArguments, ratio: float
) -> torch.optim.Optimizer:
    """Return an optimiser with a higher rate for an adapter's second matrices (LoRA+)."""
    kind, arguments = Trainer.get_optimizer_cls_and_kwargs(args, model)
    optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
        model,
        kind,
        loraplus_lr_ratio=ratio,
        loraplus_lr_embedding=args.learning_rate,
        loraplus_weight_decay=args.weight_decay,
        **arguments,
    )
    return optimizer
