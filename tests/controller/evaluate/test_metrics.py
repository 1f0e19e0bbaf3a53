"""Metrics: the table, and what holds for each of them."""

import inspect
import math
import pkgutil
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import controller.evaluate.metrics as table
from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import RIGHT, WRONG, AnsweredExample, Metric, MetricSettings
from controller.evaluate.metrics import (
    BUILT_IN_METRICS,
    MODULES,
    TEXT_METRICS,
    accuracy,
    all_metrics,
    exact_match,
    held_out_loss,
    metric_called,
    regex_match,
)
from controller.evaluate.metrics.accuracy import Accuracy

METRICS = all_metrics()
ALL = (*BUILT_IN_METRICS, *METRICS)
SETTINGS = {
    "regex_match": {"pattern": "네"},
    "precision": {"label": "환불"},
    "recall": {"label": "환불"},
    "f1": {"label": "refund"},
    "json_schema": {"inline": {"type": "object"}},
    "json_field": {"field": "a"},
    "judge": {"model": "m", "rubric": "Is it polite?"},
    "human": {"sheet": "scores.csv"},
    "promptfoo": {
        "inline": {
            "defaultTest": {
                "assert": [{"type": "contains", "value": "네"}, {"type": "equals", "value": [1]}]
            }
        }
    },
    "cost_per_1000": {"input_per_million": 0.5, "output_per_million": 2.0},
}
"""Settings of the metrics that need some."""


def names(metrics) -> list[str]:
    return [metric.name for metric in metrics]


def settings_of(metric: Metric) -> MetricSettings:
    return metric.settings(**SETTINGS.get(metric.name, {}))


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
        import_module(one.name)
        for one in pkgutil.walk_packages(table.__path__, f"{table.__name__}.")
    ]
    settings = {
        model
        for module in modules
        for model in vars(module).values()
        if inspect.isclass(model)
        and issubclass(model, MetricSettings)
        and model.__module__ == module.__name__
    }
    shared = {parent for model in settings for parent in model.__mro__[1:]}
    used = {metric.settings for metric in ALL}
    unused = [model.__name__ for model in settings - used - shared]
    assert unused == [], "Add the metric to MODULES in controller/evaluate/metrics."
    assert names(METRICS) == list(MODULES)
    assert all(metric_called(name) is metric_called(name) for name in MODULES)


def test_the_table_keeps_what_is_always_measured_apart():
    assert names(BUILT_IN_METRICS) == [
        "held_out_loss",
        "stop_rate",
        "preference_accuracy",
        "preference_margin",
    ]
    assert names(TEXT_METRICS) == ["held_out_loss"]
    assert not set(names(BUILT_IN_METRICS)) & set(MODULES)


@pytest.mark.parametrize("metric", ALL, ids=names(ALL))
def test_a_metric_describes_itself(metric: Metric):
    assert metric.description.endswith(".")
    assert metric.description == (metric.words or inspect.getdoc(metric.settings))


@pytest.mark.parametrize("metric", BUILT_IN_METRICS, ids=names(BUILT_IN_METRICS))
def test_a_metric_that_is_always_measured_has_no_settings_of_its_own(metric: Metric):
    assert metric.settings() == metric.settings()
    assert set(metric.settings.model_fields) == {"name"}


TEXTS = st.sampled_from(
    [
        *("네", " 네\n", "아니요", "환불", "REFUND", "refund ", "", "straße", "STRASSE", "12"),
        *(
            "3만 원",
            '{"a": 1}',
            '{"a": 2, "b": []}',
            "환불 안내를 드릴게요.",
            "Any refund?",
            "반품",
        ),
    ]
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
    latency_s=st.none() | st.floats(0, 60),
    prompt_tokens=st.integers(0, 500),
    completion_tokens=st.integers(0, 500),
)
EXAMPLES = st.lists(
    st.builds(AnsweredExample, expected=ANSWERS, given=ANSWERS, completion=COMPLETIONS), max_size=8
)
MEASURED = st.sampled_from([one for one in ALL if one is not regex_match.METRIC])
"""`regex_match` starts a process for each list of answers: it has cases of its own."""


def tallies_of(metric: Metric, examples):
    prepared = metric.prepare(settings_of(metric), [one.expected for one in examples])
    return metric.tally(prepared, examples)


def near(one: float | None, other: float | None) -> bool:
    return one is other is None or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


@settings(deadline=None)
@given(MEASURED, EXAMPLES)
def test_a_metric_gives_each_example_a_tally(metric: Metric, examples):
    found = tallies_of(metric, examples)
    assert len(found) == len(examples)
    counted = [one for one in found if one is not None]
    assert len({len(one) for one in counted}) <= 1
    assert all(math.isfinite(number) for one in counted for number in one)


@settings(deadline=None)
@given(MEASURED, EXAMPLES, st.data())
def test_any_examples_score_as_their_tallies_do(metric: Metric, examples, data):
    """Examples may be left out, repeated and shuffled: what slices and the bootstrap do."""
    prepared = metric.prepare(settings_of(metric), [one.expected for one in examples])
    places = data.draw(st.lists(st.integers(0, len(examples) - 1))) if examples else []
    of_all = metric.tally(prepared, examples)
    chosen = [of_all[place] for place in places]
    again = metric.tally(prepared, [examples[place] for place in places])
    assert chosen == again
    assert near(metric.score(chosen), metric.score(again))
    if metric.percentile is None and any(chosen):
        sums = defaultdict(float)
        for one in chosen:
            for number, value in enumerate(one or ()):
                sums[number] += value
        assert near(metric.combine([sums[number] for number in sorted(sums)]), metric.score(chosen))


@settings(deadline=None)
@given(MEASURED, EXAMPLES, st.randoms(use_true_random=False))
def test_the_order_of_examples_does_not_matter(metric: Metric, examples, random):
    tallies = tallies_of(metric, examples)
    shuffled = random.sample(tallies, len(tallies))
    assert near(metric.score(tallies), metric.score(shuffled))


@settings(deadline=None)
@given(MEASURED, EXAMPLES)
def test_a_proportion_counts_what_is_right(metric: Metric, examples):
    counted = [one for one in tallies_of(metric, examples) if one is not None]
    if not metric.is_proportion:
        return
    assert set(counted) <= {RIGHT, WRONG}
    if counted:
        expected = Fraction(counted.count(RIGHT), len(counted))
        assert metric.score(counted) == pytest.approx(float(expected))
    else:
        assert metric.score(counted) is None


ODD = [
    *("", " ", "네", "\x00", "\ud800", "\u202e", "1e999", "[1e999]", '{"a": -1e999}', "NaN", "-0"),
    *("1" * 4000, "1" * 5000, "9" * 400, "1" + ",000" * 200, "½", "Ⅷ", "\u0661\u0662", "1/0", "∞"),
    *("[" * 800 + "]" * 800, "[" * 3000, '{"a": ' * 400 + "1" + "}" * 400, '{"a": "\\ud800"}'),
    *("<think>", "</think>네", "e\u0301" * 50, "\u1112\u1161\u11ab", "가" * 3000, "\n" * 3000),
]
"""Answers that models have given, and worse."""


@pytest.mark.parametrize("metric", ALL, ids=names(ALL))
def test_no_answer_however_odd_ends_an_evaluation(metric: Metric):
    right = [example(one, one) for one in ODD]
    examples = right + [example(one, other) for one, other in pairwise(ODD * 2)]
    found = tallies_of(metric, examples)
    assert len(found) == len(examples)
    assert all(math.isfinite(number) for one in found if one is not None for number in one)
    assert metric.score(found) is None or math.isfinite(metric.score(found))
    misfit = metric.misfit(settings_of(metric), [one.expected for one in examples])
    assert misfit is None or misfit.remedy.endswith(".")


PERFECT = [
    *("exact_match", "contains", "accuracy", "balanced_accuracy", "precision_macro"),
    *("precision_micro", "recall_macro", "recall_micro", "f1_macro", "f1_micro", "tool_calls"),
    *("tool_names", "tool_arguments", "numeric", "json_field"),
]


@settings(deadline=None)
@given(st.sampled_from(PERFECT).map(metric_called), EXAMPLES)
def test_the_expected_answers_are_all_right(metric: Metric, examples):
    right = [replace(one, given=one.expected) for one in examples]
    assert metric.higher_is_better
    assert metric.score(tallies_of(metric, right)) in {1.0, None}


@settings(deadline=None)
@given(st.sampled_from([exact_match.METRIC, accuracy.METRIC]), EXAMPLES.filter(bool), st.data())
def test_a_right_answer_is_better_than_any_other(metric: Metric, examples, data):
    place = data.draw(st.integers(0, len(examples) - 1))
    better = list(examples)
    better[place] = replace(better[place], given=better[place].expected)
    before, after = (metric.score(tallies_of(metric, one)) for one in (examples, better))
    assert after >= before
    assert tallies_of(metric, better)[place] == RIGHT


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 20), st.integers(1, 500)), min_size=1, max_size=8))
def test_a_likelier_answer_has_a_lower_loss(pairs):
    one = held_out_loss.METRIC
    measured = one.score(tallies_of(one, [lost(*pair) for pair in pairs]))
    first, *others = pairs
    likelier = [lost(first[0] / 2, first[1]), *(lost(*pair) for pair in others)]
    assert not one.higher_is_better
    assert one.score(tallies_of(one, likelier)) < measured
    assert min(loss for loss, _ in pairs) <= measured * (1 + 1e-9)
    assert measured <= max(loss for loss, _ in pairs) * (1 + 1e-9)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 50)), max_size=6), st.integers(0, 5))
def test_a_loss_is_the_mean_of_all_tokens(pairs, unmeasured):
    examples = [lost(*pair) for pair in pairs]
    examples += [lost(None, 7), lost(3.0, 0)] * unmeasured
    tokens = [Fraction(loss) for loss, count in pairs for _ in range(count)]
    found = held_out_loss.METRIC.score(tallies_of(held_out_loss.METRIC, examples))
    assert found == (pytest.approx(float(sum(tokens) / len(tokens))) if tokens else None)


@settings(deadline=None)
@given(EXAMPLES)
def test_an_exact_match_is_accurate_too(examples):
    exact = tallies_of(exact_match.METRIC, examples)
    accurate = tallies_of(accuracy.METRIC, examples)
    assert all(label == RIGHT for same, label in zip(exact, accurate, strict=True) if same == RIGHT)


@settings(deadline=None)
@given(EXAMPLES, st.lists(TEXTS.filter(bool), min_size=1, max_size=4))
def test_labels_of_a_spec_only_make_answers_wrong(examples, labels):
    free = tallies_of(accuracy.METRIC, examples)
    bound = accuracy.METRIC.tally(Accuracy(labels=labels), examples)
    known = {label.strip().casefold() for label in labels}
    for found, was, one in zip(bound, free, examples, strict=True):
        if one.expected.calls or one.given.calls:
            assert found == was
        else:
            is_known = one.given.text.strip().casefold() in known
            assert found == (RIGHT if was == RIGHT and is_known else WRONG)
