"""Hyperparameters of the protocol, as the backend gets them, and as clients see them again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import BaseModel
from controller.server.api.errors import ApiError
from controller.server.jobs.hyperparameters import as_json, to_backend
from tests.controller.server.serve_helpers import Trainer

MODEL = BaseModel(reference="base", revision=None, identity="base")


@pytest.fixture(scope="module")
def translate(tmp_path_factory):
    backend = Trainer(tmp_path_factory.mktemp("backend"))

    def to(asked, method="supervised"):
        return to_backend(backend, MODEL, method, asked)

    return to


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        ({"n_epochs": 4}, {"num_train_epochs": 4}),
        ({"batch_size": 16}, {"per_device_train_batch_size": 16}),
        ({"r": 4, "lora_alpha": 8}, {"r": 4, "lora_alpha": 8}),
        ({"learning_rate": 0.001}, {"learning_rate": 0.001}),
        ({"n_epochs": 1, "batch_size": 256}, {"num_train_epochs": 1}),
    ],
)
def test_names_are_translated_and_others_passed_on(translate, asked, settings):
    defaults = translate({})
    found = translate(asked)
    assert settings.items() <= found.items()
    assert found.keys() == defaults.keys()


@pytest.mark.parametrize(
    "asked",
    [
        {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
        {"n_epochs": None, "batch_size": None, "learning_rate_multiplier": None},
        {"learning_rate_multiplier": 1},
    ],
)
def test_auto_and_nothing_are_the_defaults(translate, asked):
    assert translate(asked) == translate({})


@given(factor=st.floats(0.01, 10))
def test_the_multiplier_is_a_factor_on_the_default_rate(translate, factor):
    default = translate({})["learning_rate"]
    found = translate({"learning_rate_multiplier": factor})["learning_rate"]
    assert found == pytest.approx(default * factor)


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"n_epochs": 0}, "n_epochs", "from 1 to 50"),
        ({"n_epochs": 51}, "n_epochs", "from 1 to 50"),
        ({"n_epochs": 1.5}, "n_epochs", "a whole number"),
        ({"n_epochs": True}, "n_epochs", "a whole number"),
        ({"n_epochs": "3"}, "n_epochs", "'auto' or"),
        ({"batch_size": 257}, "batch_size", "from 1 to 256"),
        ({"learning_rate_multiplier": 0}, "learning_rate_multiplier", "greater than 0"),
        ({"learning_rate_multiplier": True}, "learning_rate_multiplier", "a number"),
        ({"learning_rate_multiplier": "2"}, "learning_rate_multiplier", "a number"),
        (
            {"learning_rate_multiplier": 2, "learning_rate": 0.1},
            "learning_rate_multiplier",
            "cannot be combined with learning_rate",
        ),
        # What the backend refuses has the name that the client wrote.
        ({"learning_rate_multiplier": 1e9}, "learning_rate_multiplier", "learning_rate"),
        ({"rank": 4}, "rank", "is not"),
        ({"r": 0}, "r", "must be"),
    ],
)
def test_an_invalid_value_is_named_as_the_client_wrote_it(translate, asked, param, said):
    with pytest.raises(ApiError) as caught:
        translate(asked)
    error = caught.value
    assert (error.status, error.code) == (400, "invalid_value")
    assert error.param == f"hyperparameters.{param}"
    assert error.message.startswith(f"Invalid 'hyperparameters.{param}': ")
    assert said in error.message or said in param


@pytest.mark.parametrize(
    ("asked", "settings", "shown"),
    [
        (
            {},
            None,
            {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"},
        ),
        (
            {"n_epochs": 4, "r": 8},
            None,
            {"n_epochs": 4, "batch_size": "auto", "learning_rate_multiplier": "auto", "r": 8},
        ),
        (
            {"n_epochs": "auto"},
            {"num_train_epochs": 3, "per_device_train_batch_size": 8},
            {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0},
        ),
        (
            {"learning_rate_multiplier": 0.5, "r": 8},
            {"num_train_epochs": 3},
            {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 0.5, "r": 8},
        ),
    ],
)
def test_clients_see_what_they_asked_for_and_then_what_is_used(asked, settings, shown):
    assert as_json(asked, settings) == shown
