"""Metrics: the table, what holds for each of them, and hand-counted cases."""

import math
import pkgutil
from dataclasses import replace
from fractions import Fraction
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import controller.evaluate.metrics as table
from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import AnsweredExample, Metric
from controller.evaluate.metrics import (
    BUILT_IN_METRICS,
    METRICS,
    PROPORTION_METRICS,
    TEXT_METRICS,
    accuracy,
    exact_match,
    held_out_loss,
    regex_match,
    stop_rate,
)
from controller.evaluate.metrics.accuracy import Accuracy
from controller.evaluate.metrics.regex_match import RegexMatch
from controller.evaluate.scoring import loss_only, score
from controller.spec.evaluation import Evaluation
from controller.spec.metrics import ChosenMetric

ALL = (*BUILT_IN_METRICS, *METRICS)
DEFAULTS = [
    metric
    for metric in ALL
    if not any(field.is_required() for field in metric.settings.model_fields.values())
]
"""Metrics that can be measured without settings. A metric that needs settings has tests of its own."""


def names(metrics) -> list[str]:
    return [metric.name for metric in metrics]


def metrics_of(*written) -> list[ChosenMetric]:
    return Evaluation.model_validate({"metrics": list(written)}).metrics


def messages(*texts: str):
    return [{"role": "assistant", "content": text} for text in texts]


def completions(*texts: str, reason: str = "stop") -> list[Completion]:
    return [Completion(text=text, finish_reason=reason) for text in texts]


def example(expected: str = "", given: str = "", **changes) -> AnsweredExample:
    completion = Completion(text=given, finish_reason="stop")
    made = AnsweredExample(
        expected=Answer(text=expected), given=Answer(text=given), completion=completion
    )
    return replace(made, **changes)


def lost(loss: float | None, tokens: int) -> AnsweredExample:
    return example(
        completion=Completion(
            text="", finish_reason="stop", reference_loss=loss, reference_tokens=tokens
        )
    )


def test_every_module_of_a_metric_is_in_the_table():
    modules = [
        import_module(f"{table.__name__}.{one.name}")
        for one in pkgutil.iter_modules(table.__path__)
    ]
    missing = [one.__name__ for one in modules if not any(one.METRIC is metric for metric in ALL)]
    assert missing == [], "Add METRIC of these modules to METRICS in controller/evaluate/metrics."
    assert len(modules) == len(ALL)
    assert {one.__name__.rpartition(".")[2] for one in modules} == set(names(ALL))


def test_the_table_keeps_its_order_and_decides_what_metrics_are_for():
    assert names(BUILT_IN_METRICS) == ["held_out_loss", "stop_rate"]
    assert names(METRICS)[:3] == ["exact_match", "accuracy", "regex_match"]
    assert names(TEXT_METRICS) == ["held_out_loss"]
    assert {"stop_rate", "exact_match", "accuracy", "regex_match"} <= PROPORTION_METRICS
    assert "held_out_loss" not in PROPORTION_METRICS


@pytest.mark.parametrize("metric", ALL, ids=names(ALL))
def test_a_metric_describes_itself(metric: Metric):
    assert metric.words.endswith(".")
    assert metric.words == metric.settings.__doc__.replace("\n    ", "\n").strip()


@pytest.mark.parametrize("metric", BUILT_IN_METRICS, ids=names(BUILT_IN_METRICS))
def test_a_metric_that_is_always_measured_has_no_settings(metric: Metric):
    assert metric.settings() == metric.settings()
    assert not metric.settings.model_fields


TEXTS = st.sampled_from(
    ["네", " 네\n", "아니요", "환불", "REFUND", "refund ", "", "straße", "STRASSE"]
)
CALLS = st.lists(
    st.builds(
        Call, name=st.sampled_from(["book", "예약"]), arguments=st.sampled_from(["{}", '{"a":1}'])
    ),
    max_size=2,
).map(tuple)
ANSWERS = st.builds(Answer, text=TEXTS, calls=CALLS)
COMPLETIONS = st.builds(
    Completion,
    text=TEXTS,
    finish_reason=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
    reference_loss=st.none() | st.floats(0, 20),
    reference_tokens=st.integers(0, 500),
)
EXAMPLES = st.lists(
    st.builds(AnsweredExample, expected=ANSWERS, given=ANSWERS, completion=COMPLETIONS), max_size=8
)
MEASURED = st.sampled_from(DEFAULTS)


@given(MEASURED, EXAMPLES)
def test_a_metric_gives_each_example_a_value(metric: Metric, examples):
    values = metric.score(metric.settings(), examples)
    assert len(values) == len(examples)
    assert metric.combine(values) == metric.measure(metric.settings(), examples)


@given(MEASURED, EXAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_examples_does_not_matter(metric: Metric, examples, random):
    shuffled = random.sample(examples, len(examples))
    before, after = (metric.measure(metric.settings(), one) for one in (examples, shuffled))
    assert before is after is None or math.isclose(before, after)


@given(MEASURED, EXAMPLES)
def test_a_proportion_counts_the_values_that_are_true(metric: Metric, examples):
    values = metric.score(metric.settings(), examples)
    if not metric.is_proportion:
        assert metric is held_out_loss.METRIC
    elif examples:
        assert set(values) <= {True, False}
        expected = Fraction(sum(values), len(values))
        assert metric.combine(values) == pytest.approx(float(expected))
    else:
        assert metric.combine(values) is None


@given(MEASURED, EXAMPLES.filter(bool), st.data())
def test_an_example_repeated_counts_twice(metric: Metric, examples, data):
    repeated = data.draw(st.sampled_from(examples))
    twice = metric.score(metric.settings(), [*examples, repeated, repeated])
    values = metric.score(metric.settings(), examples)
    assert twice[: len(values)] == values
    assert twice[-1] == twice[-2] == values[examples.index(repeated)]


@given(st.sampled_from([exact_match.METRIC, accuracy.METRIC]), EXAMPLES.filter(bool), st.data())
def test_a_right_answer_is_better_than_any_other(metric: Metric, examples, data):
    place = data.draw(st.integers(0, len(examples) - 1))
    better = list(examples)
    better[place] = replace(better[place], given=better[place].expected)
    before, after = (metric.measure(metric.settings(), one) for one in (examples, better))
    assert metric.higher_is_better
    assert after >= before
    assert metric.score(metric.settings(), better)[place] is True


@given(st.lists(st.tuples(st.floats(0.1, 20), st.integers(1, 500)), min_size=1, max_size=8))
def test_a_likelier_answer_has_a_lower_loss(pairs):
    one = held_out_loss.METRIC
    measured = one.measure(one.settings(), [lost(*pair) for pair in pairs])
    first, *others = pairs
    likelier = [lost(first[0] / 2, first[1]), *(lost(*pair) for pair in others)]
    assert not one.higher_is_better
    assert one.measure(one.settings(), likelier) < measured
    assert min(loss for loss, _ in pairs) <= measured * (1 + 1e-9)
    assert measured <= max(loss for loss, _ in pairs) * (1 + 1e-9)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50)), max_size=6), st.integers(0, 5))
def test_a_loss_is_the_mean_of_all_tokens(pairs, unmeasured):
    examples = [lost(*pair) for pair in pairs]
    examples += [lost(None, 7), lost(3.0, 0)] * unmeasured
    tokens = [Fraction(loss) for loss, count in pairs for _ in range(count)]
    found = held_out_loss.METRIC.measure(held_out_loss.HeldOutLoss(), examples)
    assert found == (pytest.approx(float(sum(tokens) / len(tokens))) if tokens else None)


@given(EXAMPLES)
def test_an_exact_match_is_accurate_too(examples):
    exact = exact_match.METRIC.score(exact_match.ExactMatch(), examples)
    accurate = accuracy.METRIC.score(Accuracy(), examples)
    assert all(label or not same for same, label in zip(exact, accurate, strict=True))


@given(EXAMPLES, st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
def test_labels_of_a_spec_only_make_answers_wrong(examples, labels):
    free = accuracy.METRIC.score(Accuracy(), examples)
    bound = accuracy.METRIC.score(Accuracy(labels=labels), examples)
    known = {label.strip().casefold() for label in labels}
    for found, was, one in zip(bound, free, examples, strict=True):
        if one.expected.calls or one.given.calls:
            assert found == was
        else:
            assert found == (was and one.given.text.strip().casefold() in known)


@pytest.mark.parametrize(
    ("labels", "expected", "given_text", "is_right"),
    [
        (None, "환불", "환불", True),
        (None, "환불", " 환불\n", True),
        (None, "환불", "환불.", False),
        (None, "환불", "반품", False),
        (None, "Refund", "REFUND", True),
        (None, "Straße", "STRASSE", True),
        (None, "", " ", True),
        (["환불", "교환"], "환불", "환불", True),
        (["교환"], "환불", "환불", False),
        (["refund"], " Refund ", "refund", True),
    ],
)
def test_a_label_is_compared_without_case_and_blanks(labels, expected, given_text, is_right):
    found = accuracy.METRIC.score(Accuracy(labels=labels), [example(expected, given_text)])
    assert found == [is_right]


@pytest.mark.parametrize(
    ("reason", "has_ended"),
    [
        ("stop", True),
        ("tool_calls", True),
        ("length", False),
        ("content_filter", False),
        ("", False),
    ],
)
def test_an_answer_that_was_cut_off_has_not_ended(reason, has_ended):
    one = example(completion=Completion(text="네", finish_reason=reason))
    assert stop_rate.METRIC.score(stop_rate.StopRate(), [one]) == [has_ended]


@pytest.mark.parametrize(
    ("pattern", "text", "is_found"),
    [
        ("^네.*요[.]$", "네, 있어요.", True),
        ("^네.*요[.]$", "없어요.", False),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("가{2}", "가가", True),
        ("(?i)refund", "REFUND", True),
        (r"\d+원", "총 4500원입니다", True),
        ("둘째$", "첫째\n둘째", True),
        ("^둘째", "첫째\n둘째", False),
    ],
)
def test_a_pattern_is_searched_in_the_whole_answer(pattern, text, is_found):
    found = regex_match.METRIC.score(RegexMatch(pattern=pattern), [example("", text)])
    assert found == [is_found]


CALL = (Call(name="book", arguments="{}"),)


@pytest.mark.parametrize(
    ("expected", "given_calls", "is_right"), [((), (), True), ((), CALL, True), (CALL, (), False)]
)
def test_a_pattern_says_nothing_where_an_expected_call_is_missing(expected, given_calls, is_right):
    one = replace(
        example(),
        expected=Answer(text="", calls=expected),
        given=Answer(text="b", calls=given_calls),
    )
    assert regex_match.METRIC.score(RegexMatch(pattern="b"), [one]) == [is_right]


def test_a_share_without_values_is_unknown():
    assert exact_match.METRIC.combine([]) is None
    assert exact_match.METRIC.combine([True, False, False, False]) == 0.25


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
    spelled = replace(exact_match.METRIC, name="other", score=lambda _, found: [False] * len(found))
    chosen = [ChosenMetric(spelled, spelled.settings()), *metrics_of("exact_match")]
    found = score(chosen, messages("네", "네"), completions("네", "네"))
    assert found == {"stop_rate": 1.0, "other": 0.0, "exact_match": 1.0}


def test_losses_are_weighted_by_tokens():
    answers = [
        Completion(text="", finish_reason="stop", reference_loss=1.0, reference_tokens=30),
        Completion(text="", finish_reason="length", reference_loss=3.0, reference_tokens=10),
        Completion(text="", finish_reason="stop"),
    ]
    found = score([], messages("", "", ""), answers)
    assert found == {"held_out_loss": 1.5, "stop_rate": pytest.approx(2 / 3)}


def test_of_plain_texts_only_the_loss_is_scored():
    answers = [
        Completion(text="", finish_reason="stop", reference_loss=1.0, reference_tokens=1),
        Completion(text="", finish_reason="stop", reference_loss=2.0, reference_tokens=3),
    ]
    assert loss_only(answers) == {"held_out_loss": 1.75}
    assert loss_only([]) == {}


def test_what_was_not_measured_is_absent():
    assert score([], messages(""), completions("x")) == {"stop_rate": 1.0}
    assert score(metrics_of("exact_match"), [], []) == {}


def test_an_answer_without_a_reference_is_compared_with_nothing():
    found = score(metrics_of("exact_match"), [None, None], completions("", "네"))
    assert found["exact_match"] == 0.5


@settings(max_examples=25)
@given(st.integers(0, 3), st.integers(0, 3))
def test_an_answer_too_many_or_too_few_is_a_defect(references: int, answers: int):
    if references == answers:
        assert score([], messages(*"가" * references), completions(*"가" * answers)) is not None
        return
    with pytest.raises(ValueError, match="zip"):
        score([], messages(*"가" * references), completions(*"가" * answers))
