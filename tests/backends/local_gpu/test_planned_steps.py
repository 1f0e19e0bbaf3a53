"""The steps that a training takes, and the share of its work where something may end it earlier."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local_gpu.planned_steps import planned_steps


def steps_of(per_epoch, epochs=3, **settings):
    found = planned_steps({"num_train_epochs": epochs, **settings}, per_epoch)
    return found.most, found.may_stop_earlier, found.shares


@pytest.mark.parametrize(
    ("settings", "most", "earlier", "shares"),
    [
        ({}, 30, False, (1.0, 1.0)),
        ({"max_steps": None}, 30, False, (1.0, 1.0)),
        ({"max_steps": 30}, 30, False, (1.0, 1.0)),
        ({"max_steps": 31}, 30, False, (1.0, 1.0)),
        ({"max_steps": 15}, 15, False, (0.5, 0.5)),
        # Two measurements, of which the first is the best so far: an epoch each.
        ({"early_stopping": {"patience": 1}}, 30, True, (20 / 30, 1.0)),
        ({"early_stopping": {"patience": 2}}, 30, False, (1.0, 1.0)),
        ({"early_stopping": {"patience": 5}}, 30, False, (1.0, 1.0)),
        ({"early_stopping": {"patience": 1}, "eval_steps": 3}, 30, True, (6 / 30, 1.0)),
        ({"early_stopping": {"patience": 4}, "eval_steps": 3}, 30, True, (15 / 30, 1.0)),
        ({"early_stopping": {"patience": 1}, "max_steps": 25}, 25, True, (20 / 30, 25 / 30)),
        ({"early_stopping": {"patience": 1}, "max_steps": 20}, 20, False, (20 / 30, 20 / 30)),
        ({"early_stopping": {"patience": 1}, "max_steps": 6}, 6, False, (6 / 30, 6 / 30)),
        # How often is measured ends nothing by itself.
        ({"eval_steps": 3}, 30, False, (1.0, 1.0)),
        ({"early_stopping": None, "eval_steps": 1}, 30, False, (1.0, 1.0)),
    ],
)
def test_steps_and_what_may_end_them(settings, most, earlier, shares):
    assert steps_of(10, **settings) == (most, earlier, shares)


@pytest.mark.parametrize(
    ("settings", "most", "earlier", "least"),
    [
        ({}, None, False, 1.0),
        ({"max_steps": 5}, 5, True, 0.0),
        ({"early_stopping": {"patience": 3}}, None, True, 0.0),
        ({"early_stopping": {"patience": 3}, "max_steps": 5}, 5, True, 0.0),
    ],
)
def test_where_an_epoch_is_not_known_only_a_limit_is(settings, most, earlier, least):
    assert steps_of(None, **settings) == (most, earlier, (least, 1.0))


@settings(deadline=None)
@given(
    per_epoch=st.integers(1, 10_000),
    epochs=st.integers(1, 100),
    limit=st.none() | st.integers(1, 100_000),
    patience=st.none() | st.integers(1, 50),
    every=st.none() | st.integers(1, 5000),
    hours=st.tuples(st.floats(0, 100), st.floats(0, 1000)),
)
def test_a_training_never_does_more_than_its_epochs(
    per_epoch, epochs, limit, patience, every, hours
):
    rule = None if patience is None else {"patience": patience}
    settings = {"max_steps": limit, "early_stopping": rule, "eval_steps": every}
    found = planned_steps({"num_train_epochs": epochs, **settings}, per_epoch)
    least, most = found.shares
    assert 1 <= found.most <= per_epoch * epochs
    assert limit is None or found.most <= limit
    assert 0 < least <= most <= 1
    assert found.may_stop_earlier == (least < most)
    assert not found.may_stop_earlier or rule is not None
    assert found.of_hours(hours) == (hours[0] * least, hours[1] * most)
    assert found.of_hours(None) is None
