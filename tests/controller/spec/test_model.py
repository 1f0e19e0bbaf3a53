"""The spec's own answers, its defaults, and the schema that describes it."""

import jsonschema
import pytest

from backends.excerpt import SHOWN, clipped, excerpt
from controller.spec.model import Spec, spec_schema

GOOD = {
    "backend": "openai",
    "base_model": "gpt-4.1-mini",
    "data": {"train": [{"path": "faq.csv"}], "held_out": {"fraction": 0.1}},
}
SCHEMA = jsonschema.Draft202012Validator(spec_schema())


def spec(**keys) -> Spec:
    return Spec.model_validate({**GOOD, **keys})


@pytest.mark.parametrize(
    ("endpoint", "place"),
    [(None, "openai"), ("default", "openai"), ("eu", "openai@eu"), ("서울", "openai@서울")],
)
def test_a_place_is_the_backend_and_an_endpoint_of_its_own(endpoint, place):
    assert spec(endpoint=endpoint).place == place


@pytest.mark.parametrize(
    ("keys", "allows_worse"),
    [({}, False), ({"gate": []}, True), ({"gate": ["stop_rate >= 0"]}, False)],
)
def test_only_a_gate_written_out_as_empty_allows_a_worse_model(keys, allows_worse):
    assert spec(**keys).allows_worse is allows_worse


def test_defaults_are_those_of_the_reference():
    plain = spec()
    assert (plain.method, plain.seed) == ("supervised", 42)
    assert plain.evaluation.metrics == []
    assert plain.evaluation.compare_to == ["base"]
    assert plain.evaluation.max_tokens == 256
    assert plain.data.prepare.deduplicate == "exact"
    assert (plain.lifecycle.protect, plain.lifecycle.suspend, plain.lifecycle.pin) == (
        False,
        False,
        None,
    )


def test_a_spec_is_never_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        spec().seed = 1
    plain = spec()
    assert plain.model_copy(deep=True).data is plain.data


EVALUATION = [
    ({"metrics": ["exact_match", "accuracy"]}, True),
    ({"metrics": [{"accuracy": {}}, {"accuracy": {"labels": ["환불"], "name": "known"}}]}, True),
    ({"metrics": [{"regex_match": {"pattern": "^네"}}]}, True),
    ({"metrics": ["regex_match"]}, False),
    ({"metrics": [{"exact_match": {}}]}, True),
    ({"metrics": [{"exact_match": {"normalise": ["case"]}}, {"f1": {"label": "환불"}}]}, True),
    ({"metrics": ["f1"]}, False),
    ({"metrics": ["json_schema"]}, False),
    ({"metrics": [{"json_schema": {}}]}, False),
    ({"metrics": [{"json_schema": {"inline": {"type": "object"}}}]}, True),
    ({"metrics": [{"regex_match": {}}]}, False),
    ({"metrics": [{"accuracy": {}, "regex_match": {"pattern": "a"}}]}, False),
    ({"metrics": ["chrf"]}, True),
    ({"metrics": ["meteor"]}, False),
    ({"metrics": [{}]}, False),
    ({"metrics": "accuracy"}, False),
    ({"compare_to": []}, True),
    ({"compare_to": ["production", "base"]}, True),
    ({"compare_to": ["candidate"]}, False),
    ({"max_tokens": 0}, False),
    ({"max_tokens": 1}, True),
    ({"max_tokens": 2**53 + 1}, False),
    ({"max_tokns": 1}, False),
]


@pytest.mark.parametrize(("evaluation", "is_right"), EVALUATION)
def test_the_schema_and_the_model_agree(evaluation, is_right):
    """An editor that follows the schema marks what ftctl refuses, and nothing else."""
    written = {**GOOD, "evaluation": evaluation}
    assert SCHEMA.is_valid(written) is is_right
    if is_right:
        assert Spec.model_validate(written).evaluation
    else:
        with pytest.raises(ValueError, match="evaluation"):
            Spec.model_validate(written)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "''"),
        ("네", "'네'"),
        ("it's", '"it\'s"'),
        ("a\nb\x1b[2J", "'a\\nb\\x1b[2J'"),
        ("a" * SHOWN, f"'{'a' * SHOWN}'"),
        ("가" * (SHOWN + 1), f"'{'가' * (SHOWN - 2)}…'"),
        ("\n" * SHOWN, "'" + "\\n" * (SHOWN // 2 - 1) + "…'"),
    ],
)
def test_foreign_text_is_shown_on_one_short_line(text, shown):
    assert excerpt(text) == shown
    assert len(shown) <= SHOWN + 2
    assert shown.isprintable()


def test_the_end_of_a_long_text_is_cut():
    assert clipped("카페", 2) == "카페"
    assert clipped("카페 본점", 3) == "카페…"
    assert excerpt("카페 본점", 3) == "'카…'"
