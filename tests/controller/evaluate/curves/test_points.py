"""Kept curves: thinned, and written so that they read back the same."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.points import MOST_POINTS, curve_lines, parse_curve, thinned

LONG = [
    CurvePoint(step=0, held_out_loss=3.0, epoch=0.0),
    *(CurvePoint(step=n, train_loss=3.0 + n, epoch=n / 1000) for n in range(1, 10_001)),
]


def test_a_long_curve_is_thinned_to_means():
    short = thinned(LONG)
    assert len(short) == MOST_POINTS
    assert short[:2] == LONG[:2]
    assert short[-1].step == 10_000
    assert short[-1].train_loss == pytest.approx(10_003 - 25, abs=1)
    assert short[-1].epoch == 10.0
    assert thinned(short) == short


def test_the_last_point_of_a_step_counts():
    twice = [
        CurvePoint(step=2, train_loss=1.0),
        CurvePoint(step=1, train_loss=2.0),
        CurvePoint(step=2, train_loss=3.0),
    ]
    assert thinned(twice) == [twice[1], twice[2]]


def test_what_diverged_stays_visible():
    points = [*LONG[:5000], CurvePoint(step=5000, train_loss=math.nan), *LONG[5001:]]
    assert sum(math.isnan(one.train_loss) for one in thinned(points)[1:]) == 1


def test_lines_are_json_without_what_is_not_known():
    points = [
        CurvePoint(step=0, held_out_loss=math.inf),
        CurvePoint(step=1, train_loss=1 / 3, epoch=0.5, learning_rate=1e-5),
        CurvePoint(step=2, train_loss=math.nan),
    ]
    text = curve_lines(points)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert lines == [
        {"step": 0, "held_out_loss": "inf"},
        {"step": 1, "train_loss": 0.333333, "epoch": 0.5, "learning_rate": 1e-5},
        {"step": 2, "train_loss": "nan"},
    ]
    assert curve_lines(parse_curve(text)) == text


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b"1", b"{}", b'{"step": null}', b'{"step": 1, "epoch": []}', b"\xff\n"]
)
def test_a_damaged_file_is_refused(text):
    with pytest.raises(ValueError, match="a line is not a point of a curve"):
        parse_curve(text)


NUMBERS = st.none() | st.floats()
POINTS = st.lists(
    st.builds(
        CurvePoint,
        step=st.integers(min_value=0, max_value=500),
        train_loss=NUMBERS,
        held_out_loss=NUMBERS,
        epoch=NUMBERS,
    ),
    max_size=40,
)


@given(POINTS, st.integers(min_value=3, max_value=30))
def test_thinning_keeps_order_ends_and_limit(points, most):
    short = thinned(points, most)
    steps = [point.step for point in short]
    assert len(short) <= most
    assert steps == sorted(set(steps))
    assert steps[:1] == sorted(point.step for point in points)[:1]
    assert steps[-1:] == sorted(point.step for point in points)[-1:]
    assert curve_lines(parse_curve(curve_lines(short))) == curve_lines(short)
