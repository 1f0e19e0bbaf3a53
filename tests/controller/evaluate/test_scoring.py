"""Answers → tallies → scores by their names."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.evaluate.metric import WRONG, percentile
from controller.evaluate.metrics import exact_match
from controller.evaluate.scoring import answered, chosen_metrics, measured_metrics, scores_of, tally
from controller.spec.evaluation import Evaluation
from controller.spec.metrics import ChosenMetric


def metrics_of(*written) -> list[ChosenMetric]:
    return Evaluation.model_validate({"metrics": list(written)}).metrics


def messages(*texts: str):
    return [{"role": "assistant", "content": text} for text in texts]


def completions(*texts: str, reason: str = "stop") -> list[Completion]:
    return [Completion(text=text, finish_reason=reason) for text in texts]


def score(metrics, references, completions) -> dict[str, float]:
    """Return the scores of one model's answers, as an evaluation measures them."""
    chosen = chosen_metrics(metrics, references)
    pairs = zip(references, completions, strict=True)
    return scores_of(chosen, tally(chosen, [answered(*pair) for pair in pairs]))


@pytest.mark.parametrize(
    ("metric", "references", "answers", "expected"),
    [
        ("exact_match", ["네", "아니요"], [" 네\n", "아니오"], 0.5),
        ("exact_match", ["A"], ["a"], 0.0),
        ("accuracy", ["Refund", "price"], ["refund ", "PRICE"], 1.0),
        ("accuracy", ["refund", "price"], ["refund", "shipping"], 0.5),
        ("accuracy", ["refund", "price"], ["refund please", "price"], 0.5),
        ({"accuracy": {"labels": ["a"]}}, ["a", "b"], ["a", "b"], 0.5),
        ({"accuracy": {}}, ["a", "b", "c"], ["a", "b", "d"], 2 / 3),
        ({"regex_match": {"pattern": "^네.*요[.]$"}}, ["", ""], ["네, 있어요.", "없어요."], 0.5),
        ({"regex_match": {"pattern": "b"}}, ["x"], ["abc"], 1.0),
    ],
)
def test_shares_are_counted(metric, references, answers, expected: float):
    (one,) = metrics_of(metric)
    found = score([one], messages(*references), completions(*answers))
    assert found == {"stop_rate": 1.0, one.name: expected}


def test_scores_are_in_the_order_of_the_spec():
    chosen = metrics_of({"regex_match": {"pattern": "네"}}, "accuracy", "exact_match")
    answer = Completion(text="네", finish_reason="stop", reference_loss=1.0, reference_tokens=1)
    found = score(chosen, messages("네"), [answer])
    assert list(found) == ["held_out_loss", "stop_rate", "regex_match", "accuracy", "exact_match"]
    assert set(found.values()) == {1.0}


def test_a_metric_scores_by_its_own_function():
    """A record decides alone: no name is compared anywhere."""
    spelled = replace(exact_match.METRIC, name="other", tally=lambda _, found: [WRONG] * len(found))
    chosen = [ChosenMetric(spelled, spelled.settings()), *metrics_of("exact_match")]
    found = score(chosen, messages("네", "네"), completions("네", "네"))
    assert found == {"stop_rate": 1.0, "other": 0.0, "exact_match": 1.0}


def test_a_metric_measured_twice_has_two_names():
    chosen = metrics_of("exact_match", {"exact_match": {"name": "loose", "normalise": ["blanks"]}})
    found = score(chosen, messages("예약 취소"), completions("예약취소"))
    assert found == {"stop_rate": 1.0, "exact_match": 0.0, "loose": 1.0}
    assert set(measured_metrics(chosen)) == {"held_out_loss", *found}


def test_losses_are_weighted_by_tokens():
    answers = [
        Completion(text="", finish_reason="stop", reference_loss=1.0, reference_tokens=30),
        Completion(text="", finish_reason="length", reference_loss=3.0, reference_tokens=10),
        Completion(text="", finish_reason="stop"),
    ]
    found = score([], messages("", "", ""), answers)
    assert found == {"held_out_loss": 1.5, "stop_rate": pytest.approx(2 / 3)}


def of_texts(metrics, answers) -> dict[str, float]:
    chosen = chosen_metrics(metrics, [], of_texts=True)
    return scores_of(chosen, tally(chosen, [answered({"text": "가"}, one) for one in answers]))


def test_of_plain_texts_only_the_loss_is_scored():
    answers = [
        Completion(text="", finish_reason="stop", reference_loss=1.0, reference_tokens=1),
        Completion(text="", finish_reason="stop", reference_loss=2.0, reference_tokens=3),
    ]
    assert of_texts([], answers) == {"held_out_loss": 1.75}
    assert of_texts([], []) == {}


def test_plain_texts_have_a_perplexity_and_no_answers():
    answers = [Completion(text="", finish_reason="", reference_loss=1.5, reference_tokens=4)]
    found = of_texts(metrics_of("perplexity", "exact_match"), answers)
    assert found == {"held_out_loss": 1.5, "perplexity": pytest.approx(math.exp(1.5))}
    assert list(measured_metrics(metrics_of("perplexity", "chrf"), of_texts=True)) == [
        "held_out_loss",
        "perplexity",
    ]


def test_what_was_not_measured_is_absent():
    assert score([], messages(""), completions("x")) == {"stop_rate": 1.0}
    assert score(metrics_of("exact_match"), [], []) == {}


def test_an_answer_without_a_reference_is_compared_with_nothing():
    found = score(metrics_of("exact_match"), [None, None], completions("", "네"))
    assert found["exact_match"] == 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3))
def test_an_answer_too_many_or_too_few_is_a_defect(references: int, answers: int):
    if references == answers:
        assert score([], messages(*"가" * references), completions(*"가" * answers)) is not None
        return
    with pytest.raises(ValueError, match="zip"):
        score([], messages(*"가" * references), completions(*"가" * answers))


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (50, 2.5), (95, 3.85), (100, 4.0), (25, 1.75)]
)
def test_a_percentile_is_interpolated(percent: float, expected: float):
    """As numpy and spreadsheets do by default."""
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)
    assert percentile([7.0], percent) == 7.0
