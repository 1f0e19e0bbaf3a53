"""Metrics of labels, against scikit-learn and hand-counted cases."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from backends.contract.completions import Completion
from controller.evaluate.answers import Answer, Call
from controller.evaluate.metric import AnsweredExample
from controller.evaluate.metrics import metric_called

LABELS = ["환불", "교환", "refund"]
CALLS = (Call(name="book", arguments="{}"),)
PAIRS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, "모름"])), min_size=1, max_size=30
)
MEASURES = {
    "precision": oracle.precision_score,
    "recall": oracle.recall_score,
    "f1": oracle.f1_score,
}


def example(expected: str, given_text: str, *, asks=(), calls=()) -> AnsweredExample:
    return AnsweredExample(
        expected=Answer(text=expected, calls=asks),
        given=Answer(text=given_text, calls=calls),
        completion=Completion(text=given_text, finish_reason="stop"),
    )


def score(name: str, pairs, **settings) -> float | None:
    metric = metric_called(name)
    examples = [example(*pair) for pair in pairs]
    chosen = metric.prepare(metric.settings(**settings), [one.expected for one in examples])
    return metric.score(metric.tally(chosen, examples))


def split(pairs):
    return [list(one) for one in zip(*pairs, strict=True)]


def seen(pairs) -> list[str]:
    """Return the labels that are expected; an answer that is none of them is not a label."""
    return sorted({expected for expected, _ in pairs})


@pytest.mark.parametrize("average", ["macro", "micro"])
@pytest.mark.parametrize("measure", MEASURES)
@settings(deadline=None)
@given(pairs=PAIRS)
def test_means_over_labels_are_those_of_scikit_learn(measure: str, average: str, pairs):
    wanted, found = split(pairs)
    expected = MEASURES[measure](
        wanted, found, labels=seen(pairs), average=average, zero_division=0
    )
    assert score(f"{measure}_{average}", pairs) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@settings(deadline=None)
@given(pairs=PAIRS, label=st.sampled_from(LABELS))
def test_scores_of_one_label_are_those_of_scikit_learn(measure: str, pairs, label: str):
    wanted, found = split(pairs)
    is_seen = label in wanted or label in found
    expected = MEASURES[measure](wanted, found, labels=[label], average="macro", zero_division=0)
    measured = score(measure, pairs, label=f" {label.upper()}\n")
    assert measured == (pytest.approx(expected) if is_seen else None)


@settings(deadline=None)
@given(PAIRS)
def test_accuracy_of_every_label_counts_the_same(pairs):
    wanted, found = split(pairs)
    recalls = oracle.recall_score(
        wanted, found, labels=seen(pairs), average="macro", zero_division=0
    )
    assert score("balanced_accuracy", pairs) == pytest.approx(recalls)
    assert score("accuracy", pairs) == pytest.approx(oracle.accuracy_score(wanted, found))


@settings(deadline=None)
@given(PAIRS)
def test_answers_that_are_no_labels_are_counted_apart(pairs):
    known = {expected for expected, _ in pairs}
    unknown = [found for _, found in pairs if found not in known]
    assert score("unknown_labels", pairs) == pytest.approx(len(unknown) / len(pairs))
    if not unknown:
        assert score("f1_micro", pairs) == pytest.approx(score("accuracy", pairs))


CASES = [
    # Three of 환불, of which one is missed; a false 환불; an answer that is no label.
    ("환불", "환불"),
    ("환불", " 환불\n"),
    ("환불", "교환"),
    ("교환", "환불"),
    ("교환", "잘 모르겠어요."),
]


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("precision", {"label": "환불"}, 2 / 3),
        ("recall", {"label": "환불"}, 2 / 3),
        ("f1", {"label": "환불"}, 2 / 3),
        ("precision", {"label": "교환"}, 0.0),
        ("recall", {"label": "교환"}, 0.0),
        ("f1", {"label": "없음"}, None),
        ("precision_macro", {}, (2 / 3 + 0) / 2),
        ("recall_macro", {}, (2 / 3 + 0) / 2),
        ("f1_macro", {}, (2 / 3 + 0) / 2),
        ("precision_micro", {}, 2 / 4),
        ("recall_micro", {}, 2 / 5),
        ("f1_micro", {}, 4 / 9),
        ("balanced_accuracy", {}, (2 / 3 + 0) / 2),
        ("unknown_labels", {}, 1 / 5),
        ("unknown_labels", {"labels": ["환불"]}, 2 / 5),
        # A label that is listed, and neither expected nor given, takes no part.
        ("f1_macro", {"labels": ["환불", "교환", "기타"]}, (2 / 3 + 0) / 2),
        ("f1_macro", {"labels": ["환불"]}, 2 / 3),
        # A label that is listed twice in two spellings is one label.
        ("f1_macro", {"labels": ["환불", "환불 ", "교환"]}, (2 / 3 + 0) / 2),
    ],
)
def test_scores_are_as_counted_by_hand(name: str, settings, expected):
    assert score(name, CASES, **settings) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "name", ["precision_macro", "recall_micro", "f1_macro", "balanced_accuracy", "unknown_labels"]
)
def test_examples_that_expect_a_call_do_not_count(name: str):
    metric = metric_called(name)
    examples = [example("", "환불", asks=CALLS), example("환불", "환불", calls=CALLS)]
    chosen = metric.prepare(metric.settings(), [one.expected for one in examples])
    first, second = metric.tally(chosen, examples)
    assert chosen.labels == ["환불"]
    assert first is None
    # An answer with a call is no label.
    assert metric.score([second]) == (1.0 if name == "unknown_labels" else 0.0)


def test_an_empty_answer_with_a_call_is_not_an_empty_label():
    assert score("f1_micro", [("", "")]) == 1.0
    metric = metric_called("f1_micro")
    (tally,) = metric.tally(metric.settings(labels=[""][:0]), [example("", "", calls=CALLS)])
    assert metric.score([tally]) is None


def test_tallies_of_many_labels_are_shared():
    labels = [f"label {number}" for number in range(200)]
    metric = metric_called("f1_macro")
    chosen = metric.settings(labels=labels)
    tallies = metric.tally(chosen, [example("label 7", "label 9")] * 1000)
    assert len({id(one) for one in tallies}) == 1
    assert metric.score(tallies) == 0.0


@pytest.mark.parametrize(
    ("expected", "remedy"),
    [
        (["교환", " 교환", "배송"], "Use one of: 교환, 배송."),
        (["", "교환"], "Use one of: 교환."),
        (["a\x1b[31m"], "Use one of: a\\x1b[31m."),
        (["x" * 90], f"Use one of: {'x' * 59}…."),
        (list("abcdefghij"), "Use one of: a, b, c, d, e, f, g, h, i, j."),
        (list("abcdefghijk"), "Use one of: a, b, c, d, e, f, g, h, i, j, …."),
        ([], "Add a held-out example that expects it, or remove the metric."),
    ],
)
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_a_label_that_nobody_expects_is_named_with_those_that_are(name, expected, remedy):
    metric = metric_called(name)
    references = [Answer(text=text) for text in expected] + [Answer(text="환불", calls=CALLS)]
    misfit = metric.misfit(metric.settings(label="환불"), references)
    assert misfit.message == "has the label 환불, which no held-out example expects"
    assert (misfit.remedy, misfit.place) == (remedy, None)
    assert metric.misfit(metric.settings(label=" 환불"), [Answer(text="환불 ")]) is None
