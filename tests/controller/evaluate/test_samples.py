"""Samples of everything that an evaluation measured: of scores, slices, groups and differences."""

import unicodedata

import pytest

from controller.evaluate.measure import Measured
from controller.evaluate.metric import RIGHT, WRONG
from controller.evaluate.samples import pair_samples, samples_of
from controller.spec.evaluation import Evaluation

METRICS = Evaluation.model_validate({"metrics": ["exact_match", "perplexity"]}).metrics
LANGUAGES = ["ko"] * 12 + ["en"] * 8


def shares(right: int, of: int = 20) -> list:
    return [RIGHT] * right + [WRONG] * (of - right)


def losses(first: float) -> list:
    return [(first + number % 7, 1.0) for number in range(20)]


def measured(tallies, *, columns=None, scores=None) -> Measured:
    names = {role: dict.fromkeys(by_metric, 0.5) for role, by_metric in tallies.items()}
    return Measured(
        metrics=METRICS,
        tallies=tallies,
        scores=names if scores is None else scores,
        columns=columns or [{"lang": one, "label": "x"} for one in LANGUAGES],
    )


BOTH = {
    "candidate": {"exact_match": shares(15), "perplexity": losses(1.0)},
    "base": {"exact_match": shares(10), "perplexity": losses(3.0)},
    "luna": {"exact_match": [*shares(5, 19), None], "perplexity": losses(2.0)},
}
NAMES = ["exact_match", "perplexity"]


def test_each_model_has_a_sample_and_each_other_one_a_difference():
    samples, differences = samples_of(measured(BOTH), NAMES, "seed", None)
    assert {role: list(one) for role, one in samples.items()} == dict.fromkeys(BOTH, NAMES)
    assert {role: list(one) for role, one in differences.items()} == dict.fromkeys(
        ("base", "luna"), NAMES
    )
    assert [samples[role]["exact_match"].right for role in BOTH] == [15, 10, 5]
    # Both, only the candidate, only the other, neither: the candidate's minus the other's.
    assert differences["base"]["exact_match"].pairs == (10, 5, 0, 5)
    assert differences["luna"]["exact_match"].n == 19
    assert differences["luna"]["exact_match"].pairs == (5, 10, 0, 4)


def test_losses_of_a_better_candidate_are_less_than_those_of_its_base():
    samples, differences = samples_of(measured(BOTH), NAMES, "seed", None)
    assert (
        samples["candidate"]["perplexity"].quantiles[8] < samples["base"]["perplexity"].quantiles[8]
    )
    assert differences["base"]["perplexity"].interval(0.95)[1] < 0
    again, _ = samples_of(measured(BOTH), NAMES, "seed", None)
    other, _ = samples_of(measured(BOTH), NAMES, "another", None)
    assert again == samples
    assert other["base"]["perplexity"] != samples["base"]["perplexity"]
    assert other["base"]["exact_match"] == samples["base"]["exact_match"]


def test_a_slice_has_a_sample_of_its_own_examples():
    names = ["exact_match[lang=ko]", "exact_match[lang=en]", "exact_match[lang=ja]"]
    found = measured(BOTH, scores={role: dict.fromkeys(names[:2], 0.5) for role in BOTH})
    samples, differences = samples_of(found, names, "seed", None)
    assert list(samples["candidate"]) == names[:2]  # of no example there is no score
    assert [(one.right, one.n) for one in samples["candidate"].values()] == [(12, 12), (3, 8)]
    assert differences["base"]["exact_match[lang=ko]"].pairs == (10, 2, 0, 0)
    assert differences["base"]["exact_match[lang=en]"].pairs == (0, 3, 0, 5)


def test_what_was_not_measured_has_no_sample():
    scores = {"candidate": {"exact_match": 0.5}, "base": {"perplexity": 9.0}, "luna": {}}
    samples, differences = samples_of(measured(BOTH, scores=scores), [*NAMES, "bleu"], "s", None)
    assert {role: list(one) for role, one in samples.items()} == {
        "candidate": ["exact_match"],
        "base": ["perplexity"],
        "luna": [],
    }
    # A difference follows from the tallies, and is shown where the candidate has a score.
    assert {role: list(one) for role, one in differences.items()} == {
        "base": ["exact_match"],
        "luna": ["exact_match"],
    }


@pytest.mark.parametrize(
    ("column", "group_by", "groups"),
    [
        ("customer", "customer", 5),
        ("고객", unicodedata.normalize("NFD", "고객"), 5),
        ("customer", "product", None),
        ("customer", None, None),
    ],
)
def test_examples_of_one_customer_are_one_group(column, group_by, groups):
    columns = [{column: f"{number % 5}"} for number in range(20)]
    found = measured(BOTH, columns=columns)
    samples, differences = samples_of(found, ["perplexity"], "seed", group_by)
    for one in (samples["candidate"], samples["base"], differences["base"]):
        assert one["perplexity"].groups == groups
    pairs = pair_samples(found, [("base", "luna", "perplexity")], "seed", group_by)
    assert pairs["base"]["luna"]["perplexity"].groups == groups


def test_an_example_without_a_value_is_a_group_of_its_own():
    """Place 3 and the value `3` are two groups."""
    columns = [{} if number < 10 else {"customer": f"{number % 5}"} for number in range(20)]
    samples, _ = samples_of(measured(BOTH, columns=columns), ["perplexity"], "seed", "customer")
    assert samples["candidate"]["perplexity"].groups == 10 + 5


def test_two_other_models_are_compared_in_the_order_that_is_asked_for():
    wanted = [
        ("base", "luna", "exact_match"),
        ("luna", "base", "exact_match"),
        ("luna", "base", "exact_match[lang=ko]"),
        ("base", "luna", "bleu"),
        ("base", "nobody", "exact_match"),
        ("nobody", "base", "exact_match"),
    ]
    scores = {role: dict.fromkeys(["exact_match", "exact_match[lang=ko]"], 0.5) for role in BOTH}
    found = pair_samples(measured(BOTH, scores=scores), wanted, "seed", None)
    assert {
        one: {other: list(names) for other, names in by.items()} for one, by in found.items()
    } == {
        "base": {"luna": ["exact_match"]},
        "luna": {"base": ["exact_match", "exact_match[lang=ko]"]},
    }
    assert found["base"]["luna"]["exact_match"].pairs == (5, 5, 0, 9)
    assert found["luna"]["base"]["exact_match"].pairs == (5, 0, 5, 9)
    assert found["luna"]["base"]["exact_match[lang=ko]"].pairs == (5, 0, 5, 2)


def test_a_pair_needs_the_score_of_both():
    scores = {"base": {"exact_match": 0.5}, "luna": {"perplexity": 2.0}, "candidate": {}}
    pairs = [("base", "luna", name) for name in NAMES]
    assert pair_samples(measured(BOTH, scores=scores), pairs, "seed", None) == {}
