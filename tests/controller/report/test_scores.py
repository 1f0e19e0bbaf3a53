"""Scores against rivals, intervals, gate conditions, charts."""

import pytest

from controller.evaluate.statistics.samples import Sample
from controller.lockfile.model import Evaluation, RecordedSample, Verdict
from controller.report.charts import bars, curve, length_shares, shade
from controller.report.model import CurvePointView, CurveView, LengthBin, ScoreBlock
from controller.report.samples import interval_of, note_of
from controller.report.scores import (
    conditions_of,
    measured_metrics,
    rivals_of,
    score_blocks,
    telling_metric,
)


def evaluation(scores, metrics=("accuracy",), **recorded):
    return Evaluation(
        fingerprint="ev2:0",
        inputs={"metrics": [one if isinstance(one, dict) else {one: {}} for one in metrics]},
        scores=scores,
        evaluated="2026-11-20T10:00:00Z",
        **recorded,
    )


def blocks(scores, conditions=(), **settings):
    found = evaluation(scores, **settings)
    return score_blocks(found, measured_metrics(found.inputs), conditions)


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        ([], [], None),
        ([], ["accuracy", "exact_match"], "accuracy"),
        (["held_out_loss < 1", "exact_match > 0.5"], ["accuracy", "exact_match"], "exact_match"),
        (["accuracy[lang=ko] > 0.5"], ["exact_match", "accuracy"], "accuracy"),
        (["stop_rate >= 1"], ["accuracy"], "stop_rate"),
        ([], [{"accuracy": {"name": "strict"}}], "strict"),
        (["???"], ["accuracy"], "accuracy"),
        ([], [{"gone": {}}], None),
    ],
)
def test_the_metric_that_tells_right_from_wrong(gate, metrics, expected):
    names = ["accuracy", "exact_match", "strict", "stop_rate", "held_out_loss", "gone"]
    inputs = {"metrics": [one if isinstance(one, dict) else {one: {}} for one in metrics]}
    assert telling_metric(measured_metrics(inputs), gate, dict.fromkeys(names, 1.0)) == expected


def test_rivals_stand_in_the_order_of_importance():
    scores = {"candidate": {"a": 1}, "luna": {"a": 1}, "base": {"a": 1}, "base_again": {"a": 1}}
    found = evaluation({**scores, "production": {"a": 1}, "base_few_shot": {}})
    assert rivals_of(found) == ["production", "base", "luna"]


@pytest.mark.parametrize(
    ("metric", "ours", "theirs", "tone"),
    [
        ("accuracy", 0.9, 0.8, "good"),
        ("accuracy", 0.7, 0.8, "bad"),
        ("accuracy", 0.8, 0.8, "neutral"),
        ("held_out_loss", 0.9, 0.8, "bad"),
        ("held_out_loss", 0.7, 0.8, "good"),
        ("retain.json", 0.7, 0.8, "bad"),
        ("of_a_plug_in", 0.7, 0.8, "neutral"),
    ],
)
def test_a_difference_is_good_or_bad_by_the_direction_of_its_metric(metric, ours, theirs, tone):
    (block,) = blocks({"candidate": {metric: ours}, "base": {metric: theirs}})
    assert block.rows[0].difference is None
    assert block.rows[1].difference.value == pytest.approx(ours - theirs)
    assert block.rows[1].difference.tone == tone


def test_scores_of_the_gate_come_first_with_their_conditions():
    verdict = Verdict(
        passed=False,
        gate=["stop_rate >= 1", "accuracy > base.accuracy"],
        failures=["accuracy > base.accuracy: accuracy is 0.5 (base.accuracy is 0.6)"],
    )
    scores = {"candidate": {"accuracy": 0.5, "held_out_loss": 1, "stop_rate": 1}}
    conditions = conditions_of(verdict, evaluation(scores))
    found = blocks(scores, conditions)
    assert [block.name for block in found] == ["stop_rate", "accuracy", "held_out_loss"]
    assert [one.holds for block in found for one in block.conditions] == [
        "holds",
        "does not hold",
    ]
    assert conditions[1].sentence == "accuracy is 0.5 (base.accuracy is 0.6)"


def test_the_rule_against_a_worse_model_is_a_condition_when_it_failed():
    failure = "held_out_loss <= base.held_out_loss: held_out_loss is 3 (base.held_out_loss is 2)"
    nothing = evaluation({"candidate": {}})
    (one,) = conditions_of(Verdict(passed=False, gate=[], failures=[failure]), nothing)
    assert (one.text, one.holds) == (
        "held_out_loss <= base.held_out_loss",
        "does not hold",
    )


# ---- intervals


def test_intervals_come_from_recorded_samples():
    ours, lead = Sample(n=100, right=80), Sample(n=100, pairs=(60, 20, 5, 15))
    found = evaluation(
        {"candidate": {"accuracy": 0.8}, "base": {"accuracy": 0.65}},
        samples={"candidate": {"accuracy": RecordedSample.of(ours)}},
        differences={"base": {"accuracy": RecordedSample.of(lead)}},
    )
    (block,) = score_blocks(found, measured_metrics(found.inputs), ())
    assert (block.rows[0].interval.low, block.rows[0].interval.high) == ours.interval(0.95)
    difference = block.rows[1].difference.interval
    assert (difference.low, difference.high) == lead.interval(0.95)
    assert difference.low > 0


def test_scores_without_samples_have_no_intervals():
    (block,) = blocks({"candidate": {"accuracy": 0.5}})
    assert (block.rows[0].interval, block.rows[0].note) == (None, "")
    assert interval_of(None) is None


def test_why_there_is_no_interval_is_said():
    sample = Sample(n=3, reason="all 3 examples have the same value")
    assert interval_of(sample) is None
    assert note_of(sample) == "all 3 examples have the same value"
    assert "12 groups" in note_of(Sample(n=90, groups=12, right=0))


def test_the_sentence_of_a_condition_that_holds_says_how_sure_it_is():
    found = evaluation(
        {"candidate": {"accuracy": 0.9}},
        samples={"candidate": {"accuracy": RecordedSample.of(Sample(n=100, right=90))}},
    )
    gate = ["accuracy >= 0.8 @ 95%", "accuracy > 0.85 @ 95%"]
    undecided = "accuracy > 0.85 @ 95%: cannot tell: accuracy is 0.9"
    verdict = Verdict(passed=False, gate=gate, undecided=[undecided])
    sure, unsure = conditions_of(verdict, found)
    assert (sure.holds, unsure.holds) == ("holds", "cannot tell")
    assert "the score is between 0.8256 and 0.9448 at 95%" in sure.sentence
    assert unsure.sentence == "accuracy is 0.9"


# ---- charts


def test_bars_of_a_share_lie_between_0_and_1():
    (block,) = blocks({"candidate": {"accuracy": 0.9}, "base": {"accuracy": 0.45}})
    assert [(bar.start, bar.width) for bar in bars(block)] == [(0.0, 90.0), (0.0, 45.0)]


def test_bars_of_other_numbers_share_a_scale_and_go_below_zero():
    (block,) = blocks({"candidate": {"margin": -1.0}, "base": {"margin": 3.0}}, metrics=[])
    assert [(bar.start, bar.width) for bar in bars(block)] == [(0.0, 25.0), (25.0, 75.0)]


def test_bars_of_zeros_have_no_width():
    (block,) = blocks({"candidate": {"loss": 0.0}, "base": {"loss": 0.0}}, metrics=[])
    assert [bar.width for bar in bars(block)] == [0.0, 0.0]
    assert bars(ScoreBlock(name="empty")) == []


@pytest.mark.parametrize(
    "losses", [[2.5, 1.0, 0.5], [1e-300, 0.0], [0.0], [1e12, 1.0], [-3.0, 4.0]]
)
def test_a_curve_lies_inside_of_its_chart(losses):
    points = [CurvePointView(step=10 * n, train_loss=one) for n, one in enumerate(losses)]
    drawn = curve(CurveView(points=points))
    for point in drawn.train.split():
        x, y = map(float, point.split(","))
        assert drawn.left <= x <= drawn.right
        assert 0 <= y <= drawn.bottom
    assert drawn.held_out == ""
    assert 2 <= len(drawn.y_ticks) <= 7


def test_a_curve_without_losses_is_not_drawn():
    assert curve(CurveView(points=[CurvePointView(step=1)])) is None
    assert curve(CurveView(points=[])) is None


def test_small_pieces():
    bins = [
        LengthBin(low=1, high=2, train=5, held_out=1),
        LengthBin(low=3, high=None, train=10, held_out=0),
    ]
    assert length_shares(bins) == [50.0, 100.0]
    assert length_shares([]) == []
    assert [shade(*pair) for pair in ((0, 9), (0, 0), (1, 100), (50, 100), (9, 9))] == [
        0,
        0,
        1,
        5,
        8,
    ]
