"""The section `evaluation`: which models and columns it names, and what is refused."""

import unicodedata

import pytest
from pydantic import ValidationError

from backends.pydantic_errors import in_our_words
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.spec.evaluation import RESERVED, SHOTS, Evaluation, evaluation_columns

JUDGE = {"model": "m", "rubric": "r"}


def section(**written) -> Evaluation:
    return Evaluation.model_validate(written)


def problems_of(**written) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        section(**written)
    return [str(one.problem()) for one in in_our_words(caught.value, written, [Evaluation])]


def test_a_build_is_compared_with_its_base_unless_a_spec_says_otherwise():
    found = section()
    assert (found.roles, found.asks_base, found.rivals) == (("base",), True, {})
    assert (found.max_tokens, found.temperature, found.metrics) == (256, 0.0, [])
    assert (found.judges, found.beside_production) == ({}, ())
    assert not section(compare_to=["production"]).asks_base
    assert section(compare_to=["production"], retain=["json"]).asks_base
    assert section(compare_to=[]).roles == ()


def test_rivals_are_models_with_something_of_their_own():
    found = section(
        compare_to=[
            "base",
            {"name": "terse", "prompt": "짧게"},
            "base_few_shot",
            {"name": "luna", "model": "luna-2", "endpoint": "eu", "few_shot": 64},
            "production",
            "base",
        ]
    )
    assert found.roles == ("base", "terse", "base_few_shot", "luna", "production")
    assert list(found.rivals) == ["terse", "base_few_shot", "luna"]
    assert found.rivals["base_few_shot"].few_shot == SHOTS == 4
    assert found.rivals["base_few_shot"].model is None
    places = {name: one.place("local-gpu") for name, one in found.rivals.items()}
    assert places == {"terse": "local-gpu", "base_few_shot": "local-gpu", "luna": "openai@eu"}


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ({}, "local-gpu@x"),
        ({"endpoint": "default"}, "openai"),
        ({"endpoint": "eu"}, "openai@eu"),
        ({"backend": "local-gpu"}, "local-gpu"),
        ({"backend": "mine", "endpoint": "eu"}, "mine@eu"),
    ],
)
def test_a_model_is_asked_where_it_is(written, place):
    judged = section(metrics=[{"judge": JUDGE | written}])
    assert judged.judges["judge"].place("local-gpu@x") == place


def test_judges_are_found_by_the_names_of_their_scores():
    found = section(
        metrics=[
            "exact_match",
            {"judge": JUDGE},
            {"judge": {**JUDGE, "name": "nicer", "against": "production"}},
            {"judge": {**JUDGE, "name": "better", "against": "base"}},
            {"human": {"sheet": "s.csv"}},
        ]
    )
    assert list(found.judges) == ["judge", "nicer", "better"]
    assert found.judges["nicer"].max_tokens == 1024
    assert found.beside_production == ("nicer",)


@pytest.mark.parametrize("metric", BUILT_IN_METRICS, ids=[one.name for one in BUILT_IN_METRICS])
def test_no_metric_takes_the_name_of_one_that_is_always_measured(metric):
    """A gate's own rule compares the losses under this name."""
    (said,) = problems_of(metrics=["chrf", {"exact_match": {"name": metric.name}}])
    assert said == (
        f"metrics[1]: {metric.name} is the name of a metric that is always measured\n"
        "    Choose another name."
    )
    assert section(metrics=[{"exact_match": {"name": f"{metric.name}_2"}}]).metrics


TWICE = "is listed twice"
AS_BASE = (
    "compare_to[0]: a is the base model, asked as `base` is\n"
    "    Add `model`, `prompt` or `few_shot`, or write `- base`."
)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"metrics": ["chrf", "bleu", "chrf"]}, f"metrics: chrf {TWICE}\n    Add `name: …` to one of them."),
        ({"metrics": ["chrf", {"bleu": {"name": "chrf"}}]}, f"metrics: chrf {TWICE}\n    Add `name: …` to one of them."),
        ({"compare_to": [{"name": "a", "model": "x"}, {"name": "a", "model": "y"}]}, f"compare_to: a {TWICE}\n    Rename one of them."),
        ({"compare_to": [{"name": "a"}]}, AS_BASE),
        ({"compare_to": [{"name": "a", "model": "x", "few_shot": 65}]}, "compare_to[0].few_shot: must be at most 64, not 65"),
        ({"retain": ["json", "all"]}, f"retain: json {TWICE}\n    Remove one; `all` lists every suite."),
        ({"retain": ["json", "json"]}, f"retain: json {TWICE}\n    Remove one; `all` lists every suite."),
        ({"max_tokens": 0}, "max_tokens: must be at least 1, not 0"),
        ({"temperature": 2.1}, "temperature: must be at most 2, not 2.1"),
        ({"temperature": -0.1}, "temperature: must be at least 0, not -0.1"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_with_a_remedy(written, said):
    assert problems_of(**written) == [said]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_a_rival_has_no_name_that_gates_read_otherwise(name):
    (said,) = problems_of(compare_to=[{"name": name, "model": "x"}])
    assert said == (
        f"compare_to[0].name: {name} has a meaning of its own\n    Choose another name."
    )


def test_columns_are_named_once_however_they_are_spelt():
    decomposed = unicodedata.normalize("NFD", "언어")
    assert decomposed != "언어"
    found = section(slices=["lang", decomposed, "label"], group_by="customer")
    assert evaluation_columns(found, {"언어", "product"}) == {
        "product": "gate",
        "언어": "evaluation.slices[1]",
        "lang": "evaluation.slices[0]",
        "customer": "evaluation.group_by",
    }
    assert list(evaluation_columns(found)) == ["lang", "언어", "customer"]
    assert evaluation_columns(section(group_by="label"), {"label"}) == {}
    assert evaluation_columns(section()) == {}
