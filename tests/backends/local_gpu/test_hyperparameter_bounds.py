"""The range of each number of `hyperparameters`, its edges included, and names that backends share."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract import common_names
from backends.contract.errors import HyperparametersInvalid
from backends.local_gpu.hyperparameters import COMMON_NAMES, METHODS, REFERENCE, parse

WHOLE = {
    "num_train_epochs": (1, 10_000),
    "max_steps": (1, 1_000_000_000),
    "per_device_train_batch_size": (1, 65_536),
    "gradient_accumulation_steps": (1, 65_536),
    "eval_steps": (1, 1_000_000_000),
    "max_tokens_per_batch": (8, 16_777_216),
    "r": (1, 4096),
}
NUMBERS = {
    # Least and most; None where there is no end. The last two: whether each end is allowed.
    "learning_rate": (0, 1, False, True),
    "warmup_steps": (0, None, True, False),
    "weight_decay": (0, 10, True, True),
    "max_grad_norm": (0, None, True, False),
    "lora_alpha": (0, None, False, False),
    "lora_dropout": (0, 1, True, False),
    "loraplus_lr_ratio": (1, 1000, True, True),
}
OF_PREFERENCES = {
    ("dpo", "beta"): (0, 1000, False, True),
    ("kto", "beta"): (0, 1000, False, True),
    ("kto", "desirable_weight"): (0, 1000, False, True),
    ("kto", "undesirable_weight"): (0, 1000, False, True),
}
REAL = {("supervised", key): value for key, value in NUMBERS.items()} | OF_PREFERENCES


def problem_of(method, key, value):
    """Return the message about a value; None if it is kept as it is."""
    try:
        found = parse(method, {key: value})
    except HyperparametersInvalid as error:
        (problem,) = error.problems
        assert problem.field.partition(".")[0] == key
        return problem.message
    assert found.get(key, value) == value
    return None


@pytest.mark.parametrize("key", WHOLE)
def test_whole_numbers_have_a_least_and_a_most(key):
    least, most = WHOLE[key]
    assert problem_of("supervised", key, least) is None
    assert problem_of("supervised", key, most) is None
    assert problem_of("supervised", key, least - 1) == (
        f"must be at least {least}, not {least - 1}"
    )
    assert problem_of("supervised", key, most + 1).startswith("must be at most ")
    for value in (1.5, "8", True, [8]):
        assert problem_of("supervised", key, value).startswith("must be a whole number, not ")


@pytest.mark.parametrize(("method", "key"), REAL)
def test_numbers_have_ends_that_are_allowed_or_not(method, key):
    least, most, least_in, most_in = REAL[method, key]
    assert (problem_of(method, key, least) is None) == least_in
    assert problem_of(method, key, math.nextafter(least, -1)) is not None
    assert problem_of(method, key, least + 0.5 if key != "warmup_steps" else 0.5) is None
    if most is None:
        assert problem_of(method, key, 10**12) is None
    else:
        assert (problem_of(method, key, most) is None) == most_in
        assert problem_of(method, key, math.nextafter(most, math.inf)) is not None
    # Not a number, and no number at all.
    for value in (math.nan, math.inf, -math.inf, "0.5", True, [0.5]):
        assert problem_of(method, key, value) is not None


@pytest.mark.parametrize(
    ("key", "least", "most"), [("patience", 1, 1_000_000), ("min_delta", 0, 1000)]
)
def test_early_stopping_has_ends_too(key, least, most):
    for value in (least, most):
        kept = parse("supervised", {"early_stopping": {key: value}})["early_stopping"]
        assert kept[key] == value
    for value in (least - 1, most + 1, math.nan, None, "3"):
        with pytest.raises(HyperparametersInvalid) as caught:
            parse("supervised", {"early_stopping": {key: value}})
        (problem,) = caught.value.problems
        assert problem.field == f"early_stopping.{key}"


@pytest.mark.parametrize(
    ("value", "kept"), [(8, True), (1_048_576, True), (7, False), (1_048_577, False)]
)
def test_blocks_of_texts_have_a_least_and_a_most(value, kept):
    assert (problem_of("continued-pretraining", "max_length", value) is None) == kept


@settings(deadline=None)
@given(steps=st.floats(0, 1e6, allow_nan=False))
def test_warm_up_is_a_fraction_or_whole_steps(steps):
    kept = problem_of("supervised", "warmup_steps", steps) is None
    assert kept == (steps <= 1 or steps.is_integer())


@pytest.mark.parametrize(
    ("key", "values", "refused"),
    [
        (
            "lr_scheduler_type",
            ["linear", "cosine", "constant", "constant_with_warmup"],
            "polynomial",
        ),
        ("dtype", ["auto", "bfloat16", "float16", "float32"], "fp16"),
        ("gradient_checkpointing", ["auto", "selective", "on", "off"], "true"),
        ("optim", ["adamw", "adamw_8bit"], "sgd"),
        ("quantization", ["nf4", None], "int4"),
        ("chat_template", ["chatml", None], "llama3"),
        ("thinking", ["on", "off"], "auto"),
    ],
)
def test_words_are_of_a_closed_set_that_a_message_names(key, values, refused):
    for value in values:
        assert problem_of("supervised", key, value) is None
    message = problem_of("supervised", key, refused)
    assert f"not the text '{refused}'" in message
    assert all(value in message for value in values if value is not None)


@pytest.mark.parametrize("value", ["sigmoid", "sigmoid_norm", "ipo"])
def test_losses_of_pairs(value):
    assert problem_of("dpo", "loss_type", value) is None
    assert problem_of("dpo", "loss_type", f"{value}x") is not None


def test_common_names_are_those_of_every_backend():
    assert COMMON_NAMES == {
        "num_train_epochs": common_names.EPOCHS,
        "per_device_train_batch_size": common_names.DEVICE_BATCH,
        "gradient_accumulation_steps": common_names.ACCUMULATION,
        "learning_rate": common_names.RATE,
        "lr_scheduler_type": common_names.SCHEDULE,
        "warmup_steps": common_names.WARMUP,
        "weight_decay": common_names.WEIGHT_DECAY,
        "max_grad_norm": common_names.MAX_GRAD_NORM,
        "r": common_names.LORA_RANK,
        "lora_dropout": common_names.LORA_DROPOUT,
    }
    assert COMMON_NAMES.keys() <= parse("supervised", {}).keys()


def test_the_reference_describes_every_setting_of_every_method_once():
    described = [key for model in REFERENCE.values() for key in model.model_fields]
    twice = {key for key in described if described.count(key) > 1}
    assert twice == {"beta"}  # pairs and marked answers each have one
    for method in METHODS:
        for kind in ("lora", "full"):
            assert parse(method, {"finetuning_type": kind}).keys() - {"recipe"} <= set(described)
    assert all(
        field.description for model in REFERENCE.values() for field in model.model_fields.values()
    )
    # Each heading names what its settings apply to, as `ftctl help training` prints it.
    for heading in list(REFERENCE)[2:]:
        named = [
            word
            for word in heading.replace("`", " ").replace("method:", " ").split()
            if word in METHODS
        ]
        assert named
