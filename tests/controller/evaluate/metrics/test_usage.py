"""Tokens, time, money and perplexity, as counted by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer
from controller.evaluate.metric import AnsweredExample
from controller.evaluate.metrics import metric_called


def score(name: str, completions, **settings) -> float | None:
    metric = metric_called(name)
    examples = [
        AnsweredExample(expected=Answer(text=""), given=Answer(text=""), completion=one)
        for one in completions
    ]
    return metric.score(metric.tally(metric.settings(**settings), examples))


def made(**facts) -> Completion:
    return Completion(text="", finish_reason="stop", **facts)


def test_tokens_are_counted_where_the_backend_counts_them():
    answers = [made(completion_tokens=3), made(completion_tokens=10), made()]
    assert score("answer_tokens", answers) == 6.5
    assert score("answer_tokens", [made()]) is None


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.sampled_from([50, 95]))
def test_times_are_percentiles_as_numpy_has_them(times_s, percent: int):
    answers = [made(latency_s=one) for one in times_s] + [made()]
    expected = float(np.percentile(times_s, percent))
    assert score(f"latency_p{percent}", answers) == pytest.approx(expected)
    assert score(f"latency_p{percent}", [made()]) is None
    assert metric_called(f"latency_p{percent}").unit == "s"


def test_cost_is_that_of_a_thousand_answers():
    answers = [
        made(prompt_tokens=1000, completion_tokens=100),
        made(prompt_tokens=3000, completion_tokens=300),
        made(prompt_tokens=500),
        made(completion_tokens=5),
    ]
    prices = {"input_per_million": 0.5, "output_per_million": 2.0}
    # (4,000 x $0.5 + 400 x $2) / 1,000,000 for two answers.
    assert score("cost_per_1000", answers, **prices) == pytest.approx(1.4)
    assert score("cost_per_1000", answers[2:], **prices) is None
    free = {"input_per_million": 0.0, "output_per_million": 0.0}
    assert score("cost_per_1000", answers, **free) == 0.0


def test_perplexity_is_e_to_the_power_of_the_loss():
    answers = [
        made(reference_loss=1.0, reference_tokens=30),
        made(reference_loss=3.0, reference_tokens=10),
        made(),
    ]
    assert score("perplexity", answers) == pytest.approx(math.exp(1.5))
    assert score("perplexity", [made()]) is None
    # A model that diverged is refused by whoever measures it.
    assert score("perplexity", [made(reference_loss=1e6, reference_tokens=1)]) == math.inf
