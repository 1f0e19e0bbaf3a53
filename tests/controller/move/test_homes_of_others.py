"""Hyperparameters between homes of any backend, by their common names and defaults alone."""

import pytest

from backends.contract import common_names as common
from controller.move.translate import Home, Translation, merged

SPLIT = {"rows": common.DEVICE_BATCH, "steps": common.ACCUMULATION}
RATE, FACTOR = {"rate": common.RATE}, {"factor": common.RATE_MULTIPLIER}


def carried(raw, old, new, *, defaults=None, refusal=None, places=("a", "b")):
    """Return what becomes of hyperparameters, and why; both homes have the same defaults."""
    translation = Translation(
        old=Home(place=places[0], names=old, defaults=defaults or {}),
        new=Home(place=places[1], names=new, defaults=defaults or {}),
        refusal=refusal or (lambda _key, _value: ""),
        same_backend=False,
    )
    found = translation.of(raw)
    return merged(found), {one.key: one.why for one in found}


@pytest.mark.parametrize(
    ("batch", "wanted"),
    [
        (1, {"rows": 1}),
        (7, {"rows": 7}),
        (8, {"rows": 8}),
        (9, {"rows": 3, "steps": 3}),
        (11, {"rows": 1, "steps": 11}),
        (12, {"rows": 6, "steps": 2}),
        (16, {"rows": 8, "steps": 2}),
        (1024, {"rows": 8, "steps": 128}),
    ],
)
def test_a_batch_is_split_into_eight_at_once_at_most(batch, wanted):
    found, why = carried({"batch": batch}, {"batch": common.BATCH}, SPLIT)
    assert found == wanted
    assert why["batch"] == (f"{batch} examples a step" if "steps" in wanted else "")


@pytest.mark.parametrize(
    ("raw", "old", "new", "wanted", "why"),
    [
        # Without accumulation at the new home, a batch is taken as it is.
        ({"batch": 16}, {"batch": common.BATCH}, {"rows": common.DEVICE_BATCH}, {"rows": 16}, ""),
        ({"batch": 4}, {"batch": common.BATCH}, {}, {}, "b has no such setting"),
        ({"rows": 4}, SPLIT, {}, {}, "b has no such setting"),
        ({"rows": 4}, SPLIT, {"batch": common.BATCH}, {"batch": 4}, "4 x 1 examples a step"),
        ({"steps": 4}, SPLIT, {"batch": common.BATCH}, {"batch": 4}, "1 x 4 examples a step"),
        ({"rows": "most"}, SPLIT, {"batch": common.BATCH}, {}, "it is not a number"),
        ({"warm": 0.99}, {"warm": common.WARMUP}, {"w": common.WARMUP}, {"w": 0.99}, ""),
        (
            {"warm": 1},
            {"warm": common.WARMUP},
            {"w": common.WARMUP},
            {},
            "a number of steps is another share of other data",
        ),
        ({"rate": "fast"}, RATE, FACTOR, {}, "it is not a number"),
        ({"rate": True}, RATE, FACTOR, {}, "it is not a number"),
        ({"rate": 1e-4}, RATE, FACTOR, {}, "b chooses its rate itself"),
        ({"rate": 1e-4}, RATE, {}, {}, "b chooses its rate itself"),
        ({"factor": 2}, FACTOR, RATE, {}, "b has no default rate to multiply"),
        ({"factor": 2}, FACTOR, {}, {}, "b chooses its rate itself"),
        (
            {"rate": 1e-4},
            RATE,
            {"learning_rate": common.RATE},
            {"learning_rate": 1e-4},
            "the same rate; another model may need another one",
        ),
        (
            {"factor": 2},
            FACTOR,
            {"times": common.RATE_MULTIPLIER},
            {"times": 2},
            "a factor on another server's rate, which need not be the same rate",
        ),
    ],
)
def test_every_value_is_carried_or_dropped_with_its_reason(raw, old, new, wanted, why):
    found, reasons = carried(raw, old, new)
    assert found == wanted
    assert reasons == {next(iter(raw)): why}


def test_a_factor_on_the_same_service_needs_no_word():
    found, why = carried({"factor": 2}, FACTOR, FACTOR, places=("a", "a"))
    assert (found, why) == ({"factor": 2}, {"factor": ""})


@pytest.mark.parametrize("default", ["auto", True, None])
def test_a_default_that_is_not_a_number_multiplies_nothing(default):
    defaults = {"rate": default}
    assert carried({"factor": 2}, FACTOR, RATE, defaults=defaults)[0] == {}
    assert carried({"rate": 1e-4}, RATE, FACTOR, defaults=defaults)[0] == {}


def test_a_computed_rate_has_six_digits():
    found, _ = carried({"factor": 1 / 3}, FACTOR, RATE, defaults={"rate": 2e-4})
    assert found == {"rate": 6.66667e-05}
    found, _ = carried({"rate": 1e-4}, RATE, FACTOR, defaults={"rate": 3e-4})
    assert found == {"factor": 0.333333}


def test_of_two_settings_that_become_one_the_first_holds():
    old = {"batch": common.BATCH, **SPLIT}
    found, why = carried({"batch": 12, "rows": 4}, old, SPLIT)
    assert found == {"rows": 6, "steps": 2}
    assert why == {"batch": "12 examples a step", "rows": "rows is given already"}


def test_a_value_that_the_new_home_refuses_is_dropped_as_it_would_be_written():
    def refusal(key, value):
        return "must be at most 1e-05" if key == "learning_rate" and value > 1e-5 else ""

    new = {"learning_rate": common.RATE}
    found, why = carried({"rate": 0.0002}, RATE, new, refusal=refusal)
    assert found == {}
    assert why == {"rate": "as learning_rate: 0.0002 it is refused: must be at most 1e-05"}
