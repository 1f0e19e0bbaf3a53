"""Names of hyperparameters that several backends have under names of their own. Part of the contract.

A backend's `common_names` maps its own names to these, so that a spec can move to another backend.
"""

from typing import Final

EPOCHS: Final = "epochs"
"""Passes over the training set, a whole number."""
BATCH: Final = "batch"
"""Examples of one optimiser step."""
DEVICE_BATCH: Final = "device_batch"
"""Examples that go through the model at once."""
ACCUMULATION: Final = "accumulation"
"""Batches of one optimiser step; with `device_batch` they make up `batch`."""
RATE: Final = "rate"
"""The learning rate itself."""
RATE_MULTIPLIER: Final = "rate_multiplier"
"""Factor on the learning rate that the service chooses."""
BETA: Final = "beta"
"""Strength that keeps preference training close to the base model."""
WARMUP: Final = "warmup"
"""Share of the steps in which the rate rises, below 1."""
SCHEDULE: Final = "schedule"
"""Course of the rate, in the words of transformers."""
WEIGHT_DECAY: Final = "weight_decay"
MAX_GRAD_NORM: Final = "max_grad_norm"
LORA_RANK: Final = "lora_rank"
LORA_ALPHA: Final = "lora_alpha"
LORA_DROPOUT: Final = "lora_dropout"

COMMON_NAMES: Final = frozenset(
    {
        *(EPOCHS, BATCH, DEVICE_BATCH, ACCUMULATION, RATE, RATE_MULTIPLIER, BETA, WARMUP, SCHEDULE),
        *(WEIGHT_DECAY, MAX_GRAD_NORM, LORA_RANK, LORA_ALPHA, LORA_DROPOUT),
    }
)
"""Every common name."""
