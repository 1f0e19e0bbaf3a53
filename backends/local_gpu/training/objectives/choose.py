"""The objective of a job, by its method."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from backends.contract.methods import DPO, KTO
from backends.local_gpu.training.batching import Batches, by_length
from backends.local_gpu.training.loss import LabelledLoss
from backends.local_gpu.training.objectives.likelihood import Likelihood, Sequences
from backends.local_gpu.training.objectives.marked import Marked, MarkedLoss, mismatched
from backends.local_gpu.training.objectives.objective import Objective
from backends.local_gpu.training.objectives.pairs import PairLoss, Pairs
from backends.local_gpu.training.objectives.reference import Reference
from backends.local_gpu.training.tokenized_dataset import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSplit:
    """Rows of one split, and the file of its examples."""

    rows: Tokens
    path: Path

    @property
    def marks(self) -> npt.NDArray[np.bool_]:
        """For each marked answer, True if it is good."""
        with self.path.open("rb") as file:
            return np.array([json.loads(line)["label"] for line in file if line.strip()], bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Inputs of an objective."""

    method: str
    settings: Mapping[str, Any]
    seed: int
    loss: LabelledLoss
    train: EncodedSplit
    held_out: EncodedSplit
    longest: int | None
    """Most tokens that the model reads, if it has a limit."""


def objective_of(job: Job, reference: Reference) -> Objective:
    """Return the objective of a job; one of preferences measures its answers with the base first.

    Args:
        job: The job.
        reference: The base model.
    """
    if job.method == DPO.name:
        return _pairs(job, reference)
    if job.method == KTO.name:
        return _marked(job, reference)
    train = Sequences(rows=job.train.rows, packed=bool(job.settings.get("packing")))
    held_out = Sequences(rows=job.held_out.rows)
    return Likelihood(loss=job.loss, train=train, held_out=held_out)


def switch_dropout_off(model: PreTrainedModel) -> None:
    """Switch off a base model's own dropout, as references are measured without any."""
    for module in model.modules():
        for name in ("p", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def _pairs(job: Job, reference: Reference) -> PairLoss:
    rows = {"train": job.train.rows, "held_out": job.held_out.rows}
    known = reference.of(rows)
    return PairLoss(
        loss=job.loss,
        train=Pairs(rows=rows["train"], reference=known["train"]),
        held_out=Pairs(rows=rows["held_out"], reference=known["held_out"]),
        loss_type=job.settings["loss_type"],
        beta=job.settings["beta"],
    )


def _marked(job: Job, reference: Reference) -> MarkedLoss:
    size = job.settings["per_device_train_batch_size"]
    train, held_out = job.train.rows, job.held_out.rows
    accumulation = job.settings["gradient_accumulation_steps"]
    batches = list(Batches(train.lengths, size, accumulation, job.seed, regroups=False))
    rows = {
        "train": train,
        "held_out": held_out,
        "train_others": mismatched(train, batches, job.longest),
        "held_out_others": mismatched(held_out, by_length(held_out.lengths, size), job.longest),
    }
    known = reference.of(rows)

    def marked(split: EncodedSplit, name: str) -> Marked:
        return Marked(
            rows=split.rows,
            good=split.marks,
            reference=known[name],
            others=rows[f"{name}_others"],
            other_reference=known[f"{name}_others"],
        )

    return MarkedLoss(
        loss=job.loss,
        train=marked(job.train, "train"),
        held_out=marked(job.held_out, "held_out"),
        beta=job.settings["beta"],
        desirable_weight=job.settings["desirable_weight"],
        undesirable_weight=job.settings["undesirable_weight"],
    )
