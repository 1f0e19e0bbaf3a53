"""Hyperparameters from one home to another, by the tables that the backends ship."""

from functools import partial

import pytest

from backends.contract.common_names import COMMON_NAMES
from backends.contract.errors import HyperparametersInvalid
from backends.local_gpu import hyperparameters as local
from backends.openai import hyperparameters as openai
from backends.openai.profiles.profile import PROFILES
from controller.move.translate import Home, Translation, merged

KINDS = {"openai": "openai", "openai@nebius": "nebius", "openai@azure": "azure"}


def parser_of(place):
    return local.parse if place == "local-gpu" else partial(openai.parse, kind=KINDS[place])


def home(place, raw):
    names = local.COMMON_NAMES if place == "local-gpu" else openai.common_names(KINDS[place])
    written = {key: value for key, value in raw.items() if names.get(key) != "rate"}
    return Home(place=place, names=names, defaults=parser_of(place)("supervised", written))


def translated(old, new, raw, chosen=None):
    def refusal(key, value):
        try:
            parser_of(new)("supervised", {key: value})
        except HyperparametersInvalid as error:
            return error.problems[0].message
        return ""

    translation = Translation(
        old=home(old, raw),
        new=home(new, {}),
        refusal=refusal,
        same_backend=old.partition("@")[0] == new.partition("@")[0],
        chosen=chosen or {},
    )
    carried = translation.of(raw)
    assert [one.key for one in carried] == list(raw), "every key is named"
    lost = {one.key: one.why for one in carried if not one.becomes}
    assert all(lost.values()), "with a reason"
    parser_of(new)("supervised", merged(carried))
    return merged(carried), lost, {one.key: one.why for one in carried}


@pytest.mark.parametrize(
    ("old", "new", "raw", "wanted", "lost"),
    [
        (
            "openai",
            "local-gpu",
            {"n_epochs": 3, "batch_size": 16, "learning_rate_multiplier": 1.8},
            {
                "num_train_epochs": 3,
                "per_device_train_batch_size": 8,
                "gradient_accumulation_steps": 2,
                "learning_rate": 0.00036,
            },
            {},
        ),
        # Eight at once at most, and exactly as many a step as before.
        (
            "openai",
            "local-gpu",
            {"batch_size": 13},
            {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 13},
            {},
        ),
        ("openai", "local-gpu", {"batch_size": 5}, {"per_device_train_batch_size": 5}, {}),
        (
            "openai",
            "openai@nebius",
            {"n_epochs": 30, "learning_rate_multiplier": 0.5},
            {"learning_rate": 5e-06},
            {"n_epochs": "as n_epochs: 30 it is refused: must be at most 20, not 30"},
        ),
        (
            "openai@nebius",
            "openai",
            {"learning_rate": 2e-05, "packing": True},
            {"learning_rate_multiplier": 2.0},
            {"packing": "as packing: True it is refused: is not a hyperparameter here"},
        ),
        (
            "openai@nebius",
            "local-gpu",
            {"learning_rate": 1e-05, "lora_r": 16, "lora_alpha": 16, "warmup_ratio": 0.1},
            {"learning_rate": 1e-05, "r": 16, "warmup_steps": 0.1},
            {"lora_alpha": "local-gpu has no such setting"},
        ),
        (
            "local-gpu",
            "openai",
            {
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 4,
                "learning_rate": 0.0004,
                "r": 8,
                "warmup_steps": 10,
            },
            {"batch_size": 16, "learning_rate_multiplier": 2.0},
            {
                "gradient_accumulation_steps": "counted in batch_size",
                "r": "openai has no such setting",
                "warmup_steps": "openai has no such setting",
            },
        ),
        # Full tuning has a lower rate by default, which is what the factor is of.
        (
            "local-gpu",
            "openai",
            {"finetuning_type": "full", "learning_rate": 4e-05},
            {"learning_rate_multiplier": 2.0},
            {"finetuning_type": "openai has no such setting"},
        ),
        (
            "local-gpu",
            "openai@nebius",
            {"gradient_accumulation_steps": 2, "warmup_steps": 10, "weight_decay": 0.1},
            {"batch_size": 16, "weight_decay": 0.1},
            {"warmup_steps": "a number of steps is another share of other data"},
        ),
        (
            "openai",
            "openai@azure",
            {"n_epochs": "auto", "learning_rate_multiplier": 2},
            {"n_epochs": "auto", "learning_rate_multiplier": 2},
            {},
        ),
    ],
)
def test_the_table(old, new, raw, wanted, lost):
    found, without, _ = translated(old, new, raw)
    assert found == wanted
    assert without == lost


def test_auto_becomes_what_the_service_chose():
    raw = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
    found, lost, why = translated("openai", "local-gpu", raw, {"n_epochs": 4, "batch_size": 2})

    assert found == {"num_train_epochs": 4, "per_device_train_batch_size": 2}
    assert why["n_epochs"] == "openai chose 4"
    assert lost == {"learning_rate_multiplier": "openai chose it; the default of local-gpu holds"}


def test_a_multiplier_says_what_it_became():
    why = translated("openai", "local-gpu", {"learning_rate_multiplier": 2})[2]
    assert why["learning_rate_multiplier"] == (
        "2 x 0.0002, the default rate of local-gpu; openai does not publish the rate that it "
        "multiplies, so this is a start, not the same rate"
    )


@pytest.mark.parametrize("kind", [None, *PROFILES])
def test_common_names_are_known_and_given_once(kind):
    names = local.COMMON_NAMES if kind is None else openai.common_names(kind)
    assert {*names.values()} <= COMMON_NAMES
    assert len({*names.values()}) == len(names)
    assert "epochs" in names.values()
