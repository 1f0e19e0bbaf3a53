"""The curve of a build, in one line and drawn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from backends.contract.jobs import CurvePoint
from controller.evaluate.curves.findings import Finding
from controller.render.curve import curve_summary, end_lines, finding_line
from controller.render.curve_plot import curve_plot

OVERFITS = [
    CurvePoint(
        step=step,
        train_loss=2.4 * math.exp(-step / 40) + 0.05 * math.sin(step) if step else None,
        held_out_loss=1.2 + 1.2 * math.exp(-step / 25) + 0.004 * step if step % 20 == 0 else None,
    )
    for step in range(201)
]


def test_an_overfitting_training_is_drawn(golden):
    golden("render/curve.txt", curve_plot("카페-상담, build 0123456789ab", OVERFITS))


def test_few_measurements_are_drawn(golden):
    points = [
        CurvePoint(step=0, held_out_loss=2.5),
        CurvePoint(step=1, train_loss=2.25),
        CurvePoint(step=2, train_loss=math.nan, held_out_loss=math.inf),
        CurvePoint(step=4, held_out_loss=1.5),
    ]
    golden("render/curve_few.txt", curve_plot("faq", points))


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (OVERFITS, "train 2.383 -> -0.02749, held out 2.4 -> 2 (lowest 1.549 at step 60)"),
        (OVERFITS[:1], "held out 2.4 -> 2.4"),
        ([CurvePoint(step=1, train_loss=0.5)], "train 0.5 -> 0.5"),
        ([CurvePoint(step=1, train_loss=math.nan)], "no finite loss"),
        ([], "no finite loss"),
    ],
)
def test_a_curve_in_one_line(points, expected):
    assert curve_summary(points) == expected


def test_a_finding_is_a_line():
    assert finding_line(Finding(name="plateau", text="it is flat")) == "! plateau: it is flat"


def test_nothing_is_drawn_without_a_finite_loss():
    assert curve_plot("faq", []) == ""
    assert curve_plot("faq", [CurvePoint(step=1, train_loss=math.nan)]) == ""


LOSSES = st.none() | st.floats(min_value=0, max_value=1e300) | st.just(math.nan)


@given(
    st.lists(
        st.builds(
            CurvePoint,
            step=st.integers(min_value=0, max_value=10**12),
            train_loss=LOSSES,
            held_out_loss=LOSSES,
        ),
        max_size=30,
        unique_by=lambda point: point.step,
    )
)
def test_any_curve_fits_into_a_terminal(points):
    drawn = curve_plot("카페\x1b[31m", sorted(points, key=lambda point: point.step))
    assert "\x1b" not in drawn
    assert max(map(cell_len, drawn.splitlines()), default=0) <= 79


def test_why_a_training_ended_is_shown(golden):
    stopped = {
        "steps": 1260,
        "planned_steps": 4500,
        "best_step": 1110,
        "stopped_because": "the held-out loss was no lower than 1.234 in 3 measurements",
    }
    ended = {"steps": 2000, "stopped_because": "max_steps was reached"}
    whole = {"steps": 90, "best_step": 90}
    given = (stopped, ended, whole, {"steps": 9}, {})
    golden("render/ended.txt", "\n\n".join("\n".join(end_lines(facts)) for facts in given))
