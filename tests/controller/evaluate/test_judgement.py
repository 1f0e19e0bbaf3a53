"""Gates that ask how sure it is: better, not worse by the margin, worse, cannot tell."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.evaluate.judgement import Evidence, Holds, evidence_of, judge
from controller.evaluate.statistics.samples import Sample
from controller.lockfile.model import Evaluation, RecordedSample

N = 200


def evidence(both=0, candidate=0, rival=0, neither=0) -> Evidence:
    """Return what is recorded of two models by the four counts of right answers."""
    n = both + candidate + rival + neither
    right = {"candidate": both + candidate, "production": both + rival}
    return Evidence(
        scores={role: {"accuracy": count / n} for role, count in right.items()},
        samples={role: {"accuracy": Sample(n=n, right=count)} for role, count in right.items()},
        differences={
            "production": {"accuracy": Sample(n=n, pairs=(both, candidate, rival, neither))}
        },
    )


LUCK = evidence(both=40, candidate=6, rival=3, neither=1)
BETTER = evidence(both=140, candidate=40, rival=10, neither=10)
SAME = evidence(both=1500, candidate=10, rival=10, neither=100)
WORSE = evidence(both=140, candidate=10, rival=40, neither=10)


@pytest.mark.parametrize(
    ("condition", "found", "holds", "said"),
    [
        ("accuracy > production.accuracy", LUCK, Holds.YES, ""),
        ("accuracy > production.accuracy @ 95%", LUCK, Holds.CANNOT_TELL, "cannot tell: accuracy is 0.92 (production.accuracy is 0.86); the difference is between -0.06"),
        ("accuracy > production.accuracy @ 95%", BETTER, Holds.YES, "better: accuracy is 0.9 (production.accuracy is 0.75)"),
        ("accuracy > production.accuracy @ 95%", WORSE, Holds.NO, "worse: accuracy is 0.75 (production.accuracy is 0.9)"),
        ("accuracy > production.accuracy @ 95%", SAME, Holds.CANNOT_TELL, "cannot tell"),
        ("accuracy >= production.accuracy - 0.02 @ 95%", SAME, Holds.YES, "not worse by the margin"),
        ("accuracy >= production.accuracy - 0.02 @ 95%", LUCK, Holds.CANNOT_TELL, "examples would do"),
        ("accuracy >= 0.8 @ 95%", BETTER, Holds.YES, "the score is between 0.8"),
        ("accuracy >= 0.9 @ 95%", LUCK, Holds.CANNOT_TELL, "cannot tell"),
        ("accuracy >= 0.99 @ 95%", BETTER, Holds.NO, "worse"),
        ("accuracy <= 0.99 @ 95%", BETTER, Holds.YES, "better"),
        ("accuracy > luna.accuracy @ 95%", BETTER, Holds.NO, "luna.accuracy was not measured"),
        ("f1 > 0 @ 95%", BETTER, Holds.NO, "f1 was not measured"),
    ],
)  # fmt: skip
def test_a_level_decides_by_the_interval(condition, found, holds, said):
    (judged,) = judge([condition], found).conditions
    assert judged.holds is holds
    assert judged.sentence.startswith(f"{condition}: ")
    assert said in judged.sentence


def test_a_level_without_samples_cannot_tell():
    found = Evidence(scores=BETTER.scores)
    judgement = judge(["accuracy > production.accuracy @ 95%"], found)
    assert not judgement.passed
    assert judgement.failures == ()
    assert judgement.undecided[0].endswith("; how sure it is was not recorded")


def test_production_that_is_absent_is_no_obstacle():
    found = Evidence(scores={"candidate": {"accuracy": 0.5}})
    assert judge(["accuracy > production.accuracy @ 95%"], found).passed


def test_several_conditions_are_corrected_for_their_number():
    found = evidence(both=60, candidate=14, rival=4, neither=2)
    alone = "accuracy > production.accuracy @ 95%"
    assert judge([alone], found).passed
    others = [f"accuracy >= 0.{digits} @ 95%" for digits in (85, 86, 87, 88)]
    assert alone in " ".join(judge([alone, *others], found).undecided)


def test_what_is_recorded_is_judged_alike():
    evaluation = Evaluation(
        fingerprint="ev1:x",
        inputs={},
        evaluated="",
        scores=BETTER.scores,
        samples={r: {n: RecordedSample.of(s) for n, s in one.items()} for r, one in BETTER.samples.items()},
        differences={r: {n: RecordedSample.of(s) for n, s in one.items()} for r, one in BETTER.differences.items()},
    )  # fmt: skip
    text = evaluation.model_dump_json(exclude_defaults=True)
    assert '"pairs":[140,40,10,10]' in text
    assert "quantiles" not in text
    assert evidence_of(Evaluation.model_validate_json(text)) == BETTER


def test_a_damaged_sample_is_refused():
    with pytest.raises(ValueError, match=r"pairs: .*sum 200"):
        RecordedSample(n=200, pairs=(1, 2, 3, 4))


THOUSANDTHS = st.integers(0, 1000)
SIDES = [(">=", True), ("<=", True), ("==", True), (">", False), ("<", False)]


@pytest.mark.parametrize(("operator", "holds"), SIDES)
@settings(deadline=None)
@given(score=THOUSANDTHS, other=THOUSANDTHS)
@example(score=300, other=100)
@example(score=650, other=700)
def test_a_difference_of_just_the_offset_is_equal_whatever_binary_fractions_make_of_it(
    operator, holds, score, other
):
    """0.1 + 0.2 is more than 0.3 to a computer, and not to a person who writes a gate."""
    found = Evidence(scores={"candidate": {"f1": score / 1000}, "base": {"f1": other / 1000}})
    sign = "-" if score < other else "+"
    condition = f"f1 {operator} base.f1 {sign} {abs(score - other) / 1000}"
    assert judge([condition], found).passed is holds


@pytest.mark.parametrize(("operator", "holds"), SIDES)
@settings(deadline=None)
@given(THOUSANDTHS)
@example(9)
def test_milliseconds_and_seconds_are_the_same_limit(operator, holds, ms):
    found = Evidence(scores={"candidate": {"latency_p95": ms / 1000}})
    for limit in (f"{ms}ms", f"{ms / 1000}s"):
        assert judge([f"latency_p95 {operator} {limit}"], found).passed is holds
