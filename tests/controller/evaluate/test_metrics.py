"""Metrics: the table, what holds for each of them, and hand-counted cases."""

import inspect
import math
import pkgutil
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import controller.evaluate.metrics as table
from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import (
    RIGHT,
    WRONG,
    AnsweredExample,
    Metric,
    MetricSettings,
    percentile,
)
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
    stop_rate,
)
from controller.evaluate.metrics.accuracy import Accuracy
from controller.evaluate.metrics.exact_match import ExactMatch
from controller.evaluate.metrics.regex_match import RegexMatch
from controller.evaluate.scoring import (
    answered,
    chosen_metrics,
    measured_metrics,
    scores_of,
    tally,
)
from controller.spec.evaluation import Evaluation
from controller.spec.metrics import ChosenMetric

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
    "promptfoo": {"inline": {"defaultTest": {"assert": [{"type": "contains", "value": "네"}]}}},
    "cost_per_1000": {"input_per_million": 0.5, "output_per_million": 2.0},
}
"""Settings of the metrics that need some."""


def names(metrics) -> list[str]:
    return [metric.name for metric in metrics]


def settings_of(metric: Metric) -> MetricSettings:
    return metric.settings(**SETTINGS.get(metric.name, {}))


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


def score(metrics, references, completions) -> dict[str, float]:
    """Return the scores of one model's answers, as an evaluation measures them."""
    chosen = chosen_metrics(metrics, references)
    pairs = zip(references, completions, strict=True)
    return scores_of(chosen, tally(chosen, [answered(*pair) for pair in pairs]))


def values(metric: Metric, settings, examples) -> list[float | None]:
    return [metric.value(one) for one in metric.tally(settings, examples)]


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
    (chosen,) = metrics_of({"accuracy": {"labels": labels}} if labels else "accuracy")
    prepared = chosen.prepared([Answer(text=expected)])
    assert values(accuracy.METRIC, prepared.settings, [example(expected, given_text)]) == [is_right]


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
    assert values(stop_rate.METRIC, stop_rate.StopRate(), [one]) == [has_ended]


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
    found = values(regex_match.METRIC, RegexMatch(pattern=pattern), [example("", text)])
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
    assert values(regex_match.METRIC, RegexMatch(pattern="b"), [one]) == [is_right]


def test_a_share_without_values_is_unknown():
    assert exact_match.METRIC.score([]) is None
    assert exact_match.METRIC.score([None, None]) is None
    assert exact_match.METRIC.score([RIGHT, WRONG, None, WRONG, WRONG]) == 0.25


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


@pytest.mark.parametrize(
    ("ignored", "expected", "given_text", "is_right"),
    [
        ([], "예약 취소", "예약취소", False),
        (["blanks"], "예약 취소", "예약취소", True),
        (["blanks"], "예약 취소", "예약\n 취소", True),
        ([], "Refund", "refund", False),
        (["case"], "Straße", "STRASSE", True),
        (["case"], "환불", "환불.", False),
        (["punctuation"], "환불", "「환불」.", True),
        (["punctuation"], "1,000", "1000", True),
        (["punctuation"], "환불", "환불!", True),
        ([], "ABC 12", "\uff21\uff22\uff23　\uff11\uff12", False),
        (["width"], "ABC 12", "\uff21\uff22\uff23　\uff11\uff12", True),
        (["width"], "각", "\u1100\u1161\u11a8", True),
        (["width", "case", "punctuation", "blanks"], "A. 네", "\uff41네", True),
        (["width", "case", "punctuation", "blanks"], "네", "아니요", False),
    ],
)
def test_differences_are_ignored_that_a_spec_names(ignored, expected, given_text, is_right):
    found = values(
        exact_match.METRIC, ExactMatch(normalise=ignored), [example(expected, given_text)]
    )
    assert found == [is_right]


@pytest.mark.parametrize(
    ("written", "expected", "given_text", "is_right"),
    [
        ("contains", "환불", "네, 환불해 드릴게요.", True),
        ("contains", " 환불\n", "네, 환불해 드릴게요.", True),
        ("contains", "환불", "네.", False),
        ("contains", "Refund", "a refund", False),
        ({"contains": {"normalise": ["case"]}}, "Refund", "a refund", True),
        ({"contains": {"texts": ["감사", "환불"]}}, "", "감사합니다. 환불했어요.", True),
        ({"contains": {"texts": ["감사", "환불"]}}, "", "감사합니다.", False),
        ({"contains": {"texts": ["감사", "환불"], "match": "any"}}, "", "감사합니다.", True),
        ({"contains": {"texts": ["감사", "환불"], "match": "any"}}, "감사", "네", False),
    ],
)
def test_an_answer_contains_a_text(written, expected, given_text, is_right):
    (one,) = metrics_of(written)
    assert values(one.metric, one.settings, [example(expected, given_text)]) == [is_right]


@pytest.mark.parametrize(
    ("texts", "expected", "given_calls", "is_right"),
    [
        ([], CALL, CALL, True),
        ([], CALL, (*CALL, Call(name="more", arguments="{}")), True),
        ([], CALL, (Call(name="more", arguments="{}"),), False),
        ([], (*CALL, *CALL), CALL, False),
        ([], (), CALL, True),
        (["b"], CALL, (), False),
        (["b"], CALL, CALL, True),
    ],
)
def test_an_answer_contains_the_expected_calls(texts, expected, given_calls, is_right):
    one = replace(
        example(),
        expected=Answer(text="", calls=expected),
        given=Answer(text="b", calls=given_calls),
    )
    metric = metric_called("contains")
    assert values(metric, metric.settings(texts=texts), [one]) == [is_right]
