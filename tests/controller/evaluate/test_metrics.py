"""Answers → scores, by hand-counted cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer
from controller.evaluate.metrics import (
    correct,
    loss_alone,
    metric_inputs,
    metric_name,
    score,
)
from controller.spec.model import Evaluation


def metrics(*written):
    return Evaluation.model_validate({"metrics": list(written)}).metrics


def expected(*texts: str):
    return [{"role": "assistant", "content": text} for text in texts]


def answers(*texts: str, reason: str = "stop") -> list[Completion]:
    return [Completion(text=text, finish_reason=reason) for text in texts]


@pytest.mark.parametrize(
    ("metric", "references", "given_answers", "share"),
    [
        ("exact_match", ["네", "아니요"], [" 네\n", "아니오"], 0.5),
        ("exact_match", ["A"], ["a"], 0.0),
        ("accuracy", ["Refund", "price"], ["refund ", "PRICE"], 1.0),
        ("accuracy", ["refund", "price"], ["refund", "shipping"], 0.5),
        ("accuracy", ["refund", "price"], ["refund please", "price"], 0.5),
        ({"accuracy": {"labels": ["a"]}}, ["a", "b"], ["a", "b"], 0.5),
        ({"regex_match": {"pattern": "^네.*요[.]$"}}, ["", ""], ["네, 있어요.", "없어요."], 0.5),
        ({"regex_match": {"pattern": "b"}}, ["x"], ["abc"], 1.0),
        ("exact_match", [], [], 0.0),
    ],
)
def test_shares_are_counted(metric, references, given_answers, share: float):
    (one,) = metrics(metric)
    found = score([one], expected(*references), answers(*given_answers))
    assert found[metric_name(one)] == share


def test_of_plain_texts_only_the_loss_is_scored():
    given_answers = [
        Completion(text="", finish_reason="stop", reference_loss=1.0, reference_tokens=1),
        Completion(text="", finish_reason="stop", reference_loss=2.0, reference_tokens=3),
    ]
    assert loss_alone(given_answers) == {"held_out_loss": 1.75}
    assert loss_alone([]) == {}


def test_losses_are_weighted_by_tokens():
    given_answers = [
        Completion(text="", finish_reason="stop", reference_loss=1.0, reference_tokens=30),
        Completion(text="", finish_reason="length", reference_loss=3.0, reference_tokens=10),
        Completion(text="", finish_reason="stop"),
    ]
    found = score([], expected("", "", ""), given_answers)
    assert found == {"held_out_loss": 1.5, "stop_rate": pytest.approx(2 / 3)}


def test_what_was_not_measured_is_absent():
    assert score([], expected(""), answers("x")) == {"stop_rate": 1.0}
    assert score([], [], []) == {}


def test_settings_left_at_their_default_are_no_identity():
    assert [metric_inputs(m) for m in metrics("accuracy", {"accuracy": {}})] == [
        {"accuracy": {}},
        {"accuracy": {}},
    ]
    (regex,) = metrics({"regex_match": {"pattern": "x"}})
    assert metric_inputs(regex) == {"regex_match": {"pattern": "x"}}


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=8))
def test_an_exact_match_is_accurate_too(pairs: list[tuple[str, str]]):
    references, texts = ([Answer(text=pair[side]) for pair in pairs] for side in (0, 1))
    exact, accurate = metrics("exact_match", "accuracy")
    for same, label in zip(
        correct(exact, references, texts), correct(accurate, references, texts), strict=True
    ):
        assert label or not same
