"""What is wrong with a training, named from its losses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.findings import (
    DIVERGENCE,
    OVERFITTING,
    PLATEAU,
    WORDS,
    WRONG_TEMPLATE,
    findings_of,
)

NAN, INF = math.nan, math.inf


def curve(train=(), held_out=()):
    """Return a curve: train losses from step 1 on, and pairs of step and held-out loss."""
    steps = {step: {"train_loss": loss} for step, loss in enumerate(train, start=1)}
    for step, loss in held_out:
        steps.setdefault(step, {})["held_out_loss"] = loss
    return [CurvePoint(step=step, **steps[step]) for step in sorted(steps)]


def names(points, **known):
    return [finding.name for finding in findings_of(points, **known)]


def falling(start, end, count=20):
    return [start + (end - start) * n / (count - 1) for n in range(count)]


def noisy(level, count, spread):
    """Return losses around a level, without chance: every residue of 7 once in a while."""
    return [level + spread * (n * 3 % 7 - 3) / 3 for n in range(count)]


LEARNS = falling(2.0, 0.5)
CASES = {
    "nothing": ([], [], []),
    "one point": ([2.0], [(0, 2.0)], []),
    "it learns": (LEARNS, [(0, 2.0), (10, 1.2), (20, 1.0)], []),
    "it learns, held out is not measured": (LEARNS, [], []),
    "held-out losses alone": ([], [(0, 2.0), (10, 1.2), (20, 2.0)], []),
    "held out rises": (LEARNS, [(0, 2.0), (10, 1.2), (20, 1.5)], [OVERFITTING]),
    "held out rises by four percent": (LEARNS, [(0, 2.0), (10, 1.0), (20, 1.04)], []),
    "held out rises from the start": (LEARNS, [(0, 2.0), (10, 2.1), (20, 2.4)], [OVERFITTING]),
    "held out rises and falls again": (LEARNS, [(0, 2.0), (5, 1.0), (10, 1.5), (20, 0.9)], []),
    "a rise near zero": (falling(0.08, 0.001), [(0, 0.08), (10, 0.002), (20, 0.01)], []),
    "both rise after the minimum": (
        [*falling(2.0, 1.0, 10), *falling(1.0, 1.9, 10)],
        [(0, 2.0), (10, 1.0), (20, 1.4)],
        [],
    ),
    "not a number": ([2.0, 1.5, NAN], [], [DIVERGENCE]),
    "held out is infinite": (LEARNS, [(0, 2.0), (20, INF)], [DIVERGENCE]),
    "it explodes": (falling(2.0, 9.0), [(0, 2.0), (20, 9.0)], [DIVERGENCE]),
    "it explodes at the second step": (
        [2.0, 30.0, 25.0, 12.0],
        [(0, 2.0), (4, 14.0)],
        [DIVERGENCE],
    ),
    "only held out explodes": (noisy(2.0, 20, 0.1), [(0, 2.0), (20, 3.1)], [DIVERGENCE]),
    "a rise by less than half": (falling(2.0, 2.9), [], [PLATEAU]),
    "nothing is learned": (noisy(2.0, 50, 0.5), [(0, 2.0), (50, 1.99)], [PLATEAU]),
    "nothing is learned, as train losses alone show": (noisy(2.0, 50, 0.05), [], [PLATEAU]),
    "noise hides what train losses show": (noisy(2.0, 50, 1.5), [], []),
    "it learns at once": ([2.0, *noisy(1.0, 49, 0.1)], [], []),
    "a noisy start is no divergence": ([0.5, 1.5, 0.9, 1.2, 1.1, 1.3], [], []),
    "nothing is to be learned": (noisy(0.05, 50, 0.01), [], []),
    "too few steps to tell": ([2.0] * 9, [], []),
    "noise hides what held-out examples show": (noisy(2.0, 50, 0.5), [(0, 2.0), (50, 1.5)], []),
    "it starts at chance": (falling(9.0, 2.0), [], [WRONG_TEMPLATE]),
    "a small base knows no better": (falling(9.0, 2.0), [(0, 9.0), (20, 3.0)], []),
    "it starts far above the base": (falling(4.0, 1.0), [(0, 2.0), (20, 1.0)], [WRONG_TEMPLATE]),
    "one odd batch is no start": ([4.0, *LEARNS], [(0, 2.0), (20, 1.0)], []),
    "the worst first": (
        falling(9.0, 0.1),
        [(0, 5.0), (10, 3.0), (20, 4.0)],
        [WRONG_TEMPLATE, OVERFITTING],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_found(case):
    train, held_out, expected = CASES[case]
    assert names(curve(train, held_out)) == expected


@pytest.mark.parametrize(
    ("base_loss", "expected"),
    [(None, []), (2.0, []), (1.9, []), (1.8, [WRONG_TEMPLATE]), (0.5, [WRONG_TEMPLATE]), (NAN, [])],
)
def test_the_loss_before_training_is_the_base_models_own(base_loss, expected):
    points = curve(LEARNS, [(0, 2.0), (20, 1.0)])
    assert names(points, base_loss=base_loss) == expected


@pytest.mark.parametrize(("base_loss", "expected"), [(1.4, []), (1.2, [WRONG_TEMPLATE])])
def test_first_train_losses_are_compared_where_held_out_is_not_measured(base_loss, expected):
    assert names(curve(LEARNS), base_loss=base_loss) == expected


def test_the_first_loss_of_a_preference_training_says_nothing_of_the_template():
    points = curve(falling(9.0, 2.0))
    assert names(points, method="supervised") == [WRONG_TEMPLATE]
    assert names(points, method="dpo") == []


def test_many_measurements_of_parts_must_rise_above_their_noise():
    train = falling(2.0, 0.5, 100)
    steady = list(enumerate(noisy(1.5, 100, 0.4), start=1))
    rising = [(step, loss + 0.02 * max(0, step - 40)) for step, loss in steady]
    assert names(curve(train, steady)) == []
    assert names(curve(train, rising)) == [OVERFITTING]


def test_a_smooth_rise_over_many_epochs_is_found():
    held_out = [(n, 6.0 - 0.1 * n if n < 10 else 5.0 + 0.08 * (n - 10)) for n in range(26)]
    assert names(curve(falling(5.9, 0.5, 25), held_out)) == [OVERFITTING]


def test_a_finding_has_its_rule_and_its_numbers():
    (found,) = findings_of(curve(LEARNS, [(0, 2.0), (10, 1.234), (20, 1.5)]))
    assert found.text == (
        "the held-out loss rose from its lowest, 1.23 at step 10, to 1.5, by more than 5 %, while "
        "the train loss fell: train for fewer epochs, or add examples"
    )
    (found,) = findings_of([CurvePoint(step=3, train_loss=NAN)])
    assert found.text.startswith("the train loss is nan at step 3: lower the learning rate")


LOSSES = st.none() | st.floats(min_value=0, max_value=1e308) | st.sampled_from([NAN, INF, -INF])
POINTS = st.lists(
    st.builds(
        CurvePoint,
        step=st.integers(min_value=0, max_value=10**9),
        train_loss=LOSSES,
        held_out_loss=LOSSES,
    ),
    max_size=60,
    unique_by=lambda point: point.step,
).map(lambda points: sorted(points, key=lambda point: point.step))


@given(POINTS, st.none() | st.floats())
def test_any_curve_can_be_read(points, base_loss):
    found = findings_of(points, base_loss=base_loss)
    assert len({finding.name for finding in found}) == len(found)
    assert all(finding.name in WORDS and "\n" not in finding.text for finding in found)
    losses = [one for point in points for one in (point.train_loss, point.held_out_loss)]
    if any(loss is not None and not math.isfinite(loss) for loss in losses):
        assert found[0].name == DIVERGENCE


@given(st.lists(st.floats(min_value=0.2, max_value=5.9), min_size=1, max_size=300))
def test_losses_that_only_fall_are_never_overfitting_nor_divergence(losses):
    ordered = sorted(losses, reverse=True)
    held_out = list(enumerate(ordered))
    assert not {OVERFITTING, DIVERGENCE} & {*names(curve(ordered, held_out))}


def test_a_rise_after_the_weights_that_are_kept_does_no_harm():
    points = curve(LEARNS, [(0, 2.0), (10, 1.2), (20, 1.5)])
    assert names(points) == ["overfitting"]
    assert names(points, keeps_best=True) == []
    assert names(curve([2.0, NAN]), keeps_best=True) == ["divergence"]


def test_a_loss_next_to_the_base_is_exact_at_first():
    """The first steps of a huge rate are above the start already."""
    points = curve([0.693, 0.895, 4.42, 8.3, 6.26, 3.27, 1.1, 2.02, 1.47, 1.14, 1.7, 2.23])
    assert "divergence" in names(points, method="dpo")
    assert "divergence" not in names(points)
    assert "divergence" not in names(curve([0.693, 0.9, 0.8, 0.7, 0.72, 0.69]), method="dpo")
