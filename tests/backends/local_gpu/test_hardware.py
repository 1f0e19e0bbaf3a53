"""Shares of a step on several devices, and numbers of devices that it cannot be divided among."""

import pytest

from backends.local_gpu.hardware import Share, hardware_problem, share_of

EXAMPLES = "per_device_train_batch_size"
BATCHES = "gradient_accumulation_steps"


@pytest.mark.parametrize(
    ("method", "settings", "gpus", "share"),
    [
        ("supervised", {EXAMPLES: 8, BATCHES: 1}, 1, Share(accumulation=1)),
        ("supervised", {EXAMPLES: 8, BATCHES: 4}, 2, Share(accumulation=2)),
        ("supervised", {EXAMPLES: 8, BATCHES: 1}, 2, Share(accumulation=1, size=4)),
        ("supervised", {EXAMPLES: 4, BATCHES: 3}, 2, Share(accumulation=2, size=3)),
        ("dpo", {EXAMPLES: 5, BATCHES: 3}, 3, Share(accumulation=1)),
        ("supervised", {EXAMPLES: 8, BATCHES: 1}, 3, None),
        ("supervised", {BATCHES: 4}, 4, Share(accumulation=1)),
        ("supervised", {BATCHES: 1}, 2, None),
        ("kto", {EXAMPLES: 8, BATCHES: 1}, 2, None),
        ("kto", {EXAMPLES: 8, BATCHES: 2}, 2, Share(accumulation=1)),
    ],
)
def test_a_step_is_divided_without_a_change_of_its_examples(method, settings, gpus, share):
    assert share_of(method, settings, gpus) == share
    assert (hardware_problem(method, settings, gpus) is None) == (share is not None)


@pytest.mark.parametrize(
    ("method", "settings", "message", "remedy"),
    [
        (
            "supervised",
            {EXAMPLES: 8, BATCHES: 1},
            (
                "the 8 examples of a step (per_device_train_batch_size 8 x "
                "gradient_accumulation_steps 1) cannot be divided among 3 GPUs"
            ),
            "Use one of: 1, 2, 4, 8.",
        ),
        (
            "supervised",
            {BATCHES: 4},
            "the 4 batches of a step (gradient_accumulation_steps) cannot be divided among 3 GPUs",
            "Use one of: 1, 2, 4.",
        ),
        (
            "kto",
            {EXAMPLES: 6, BATCHES: 2},
            (
                "the 2 batches of a step (gradient_accumulation_steps), whole with `kto`, cannot be "
                "divided among 3 GPUs"
            ),
            "Use one of: 1, 2.",
        ),
    ],
)
def test_a_number_of_devices_that_does_not_fit_is_named_with_those_that_do(
    method, settings, message, remedy
):
    problem = hardware_problem(method, settings, 3)
    assert (problem.field, problem.message) == ("gpus", message)
    assert problem.remedy.startswith(remedy)
