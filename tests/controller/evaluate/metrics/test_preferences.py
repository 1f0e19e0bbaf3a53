"""Preference metrics: from losses of good and bad answers to scores, rules and gates."""

import math

import pytest

from backends.contract.completions import Completion, Prompt
from controller.evaluate.answer_file import prompt_digest
from controller.evaluate.gate import PREFERENCE_RULE, RULE
from controller.evaluate.judgement import Evidence, judge, rule_of
from controller.evaluate.metric import RIGHT, WRONG
from controller.evaluate.metrics import BUILT_IN_METRICS, metric_called
from controller.evaluate.metrics.preferences import ACCURACY, MARGIN
from controller.evaluate.scoring import answered, chosen_metrics, scores_of, tally
from controller.spec.metrics import ChosenMetric

SETTINGS = ACCURACY.settings(), MARGIN.settings()


def measured(good=None, bad=None, tokens=(4, 2)):
    """Return a completion with the log-probabilities of a good and of a bad answer."""
    losses = {}
    if good is not None:
        losses |= {"reference_loss": -good / tokens[0], "reference_tokens": tokens[0]}
    if bad is not None:
        losses |= {"rejected_loss": -bad / tokens[1], "rejected_tokens": tokens[1]}
    return Completion(text="", finish_reason="stop", **losses)


def tallies(pairs):
    examples = [answered(None, one, base=base) for one, base in pairs]
    return (
        list(ACCURACY.tally(SETTINGS[0], examples)),
        list(MARGIN.tally(SETTINGS[1], examples)),
    )


def test_a_pair_is_right_if_the_preferred_answer_gained_more_than_the_other():
    base = measured(good=-8, bad=-2)
    accuracy, margin = tallies([(measured(good=-7, bad=-3), base), (measured(-9, -2), base)])
    # The rejected answer is still the likelier one to the first model: it is the shorter one.
    assert accuracy == [RIGHT, WRONG]
    assert margin == [(1.0, 1.0, -1.0, 1.0), (-1.0, 1.0, 0.0, 1.0)]
    assert MARGIN.score(margin) == pytest.approx(0.0 + 0.5)
    assert MARGIN.value(margin[0]) == pytest.approx(2.0)


def test_the_base_model_has_no_margin_and_is_right_by_likelihood():
    likely, unlikely = measured(good=-1, bad=-2), measured(good=-3, bad=-2)
    accuracy, margin = tallies([(likely, likely), (unlikely, unlikely)])
    assert accuracy == [RIGHT, WRONG]
    assert MARGIN.score(margin) == 0.0


def test_marked_answers_are_right_by_the_direction_in_which_they_moved():
    accuracy, margin = tallies(
        [
            (measured(good=-1), measured(good=-3)),
            (measured(good=-4), measured(good=-3)),
            (measured(bad=-6), measured(bad=-2)),
            (measured(bad=-2), measured(bad=-2)),
        ]
    )
    assert accuracy == [RIGHT, WRONG, RIGHT, WRONG]
    assert MARGIN.score(margin) == pytest.approx((2 - 1) / 2 - (-4 + 0) / 2)
    assert MARGIN.value(margin[0]) is None  # one answer has nothing to be compared with
    same = measured(good=-1)
    assert tallies([(same, same)]) == ([None], [(0.0, 1.0, 0.0, 0.0)])


def test_nothing_is_known_without_losses_or_base():
    unmeasured = Completion(text="", finish_reason="stop")
    # A loss of no tokens is a loss of nothing.
    empty = Completion(
        text="", finish_reason="stop", reference_loss=1.0, rejected_loss=2.0, rejected_tokens=0
    )
    nobody = Completion(text="", finish_reason="stop", reference_tokens=4, rejected_tokens=2)
    pairs = [
        (measured(-1, -2), None),
        (unmeasured, measured(-1, -2)),
        (unmeasured, unmeasured),
        (empty, measured(-1, -2)),
        (measured(-1, -2), nobody),
    ]
    assert tallies(pairs) == ([None] * 5, [None] * 5)
    assert MARGIN.score([None]) is None


def test_preferences_are_measured_only_where_the_data_has_some():
    names = [one.name for one in chosen_metrics([], (), of_preferences=True)]
    assert names == [metric.name for metric in BUILT_IN_METRICS]
    assert [one.name for one in chosen_metrics([], ())] == ["held_out_loss", "stop_rate"]


def test_an_answer_marked_as_bad_counts_in_no_comparison_with_expected_answers():
    metric = metric_called("exact_match")
    chosen = [
        *chosen_metrics([], (), of_preferences=True),
        ChosenMetric(metric, metric.settings()),
    ]
    good = {"role": "assistant", "content": "네"}
    yes = Completion(text="네", finish_reason="stop", reference_loss=1.0, reference_tokens=2)
    empty = Completion(text="", finish_reason="stop", rejected_loss=1.0, rejected_tokens=2)
    examples = [answered(good, yes), answered(None, empty, is_unwanted=True)]
    found = tally(chosen, examples)
    assert found["exact_match"] == [RIGHT, None]
    assert found["held_out_loss"] == [(2.0, 2), None]
    assert found["stop_rate"] == [RIGHT, RIGHT]
    assert scores_of(chosen, found)["exact_match"] == 1.0


@pytest.mark.parametrize(
    ("margin", "rule", "passes"),
    [
        # The preferred answers became less likely, and the others more so.
        ({"candidate": 1.0, "base": 0.0}, PREFERENCE_RULE, True),
        ({"candidate": -0.1, "base": 0.0}, PREFERENCE_RULE, False),
        ({"candidate": 1.0}, RULE, False),
        ({}, RULE, False),
    ],
)
def test_a_model_of_preferences_is_guarded_by_its_margin(margin, rule, passes):
    scores = {"candidate": {"held_out_loss": 3.0}, "base": {"held_out_loss": 2.0}}
    for role, number in margin.items():
        scores[role]["preference_margin"] = number
    assert rule_of(scores) == rule
    judgement = judge([], Evidence(scores=scores))
    assert judgement.passed is passes
    assert all(failure.startswith(f"{rule}:") for failure in judgement.failures)
    assert judge([], Evidence(scores=scores), allows_worse=True).passed
    assert rule_of({"candidate": scores["candidate"]}) is None


def test_a_diverged_model_has_no_finite_margin():
    _, margin = tallies([(measured(good=-math.inf, bad=-1), measured(-1, -1))])
    assert not math.isfinite(MARGIN.score(margin))


def test_kept_answers_to_prompts_without_another_answer_keep_their_name():
    """An upgrade asks nobody again."""
    prompt = Prompt(messages=[{"role": "user", "content": "몇 시?"}])
    assert prompt_digest(prompt).hex().startswith("6c24520ee55946d4")
    rejected = {"role": "assistant", "content": "몰라요."}
    assert prompt_digest(Prompt(messages=prompt.messages, rejected=rejected)) != prompt_digest(
        prompt
    )
