import pytest
from pydantic import ValidationError

from controller.evaluate.retain.suites import SUITES
from controller.plan.fingerprint import evaluation_inputs
from controller.spec.evaluation import Evaluation
from controller.spec.retain import names_of, suites_of

OLD = {"name": "faq_old", "path": "data/old.jsonl", "metric": "exact_match"}


def parsed(*retain):
    return Evaluation.model_validate({"retain": list(retain)}).retain


def test_all_is_every_suite_in_a_fixed_order():
    assert suites_of(parsed("all")) == tuple(SUITES)
    assert suites_of(parsed("language", "json")) == ("json", "language")
    assert names_of(parsed(OLD, "json")) == ("json", "faq_old")
    assert names_of(parsed()) == ()


@pytest.mark.parametrize(
    ("retain", "message"),
    [
        (["json", "json"], "json is listed twice"),
        (["json", "all"], "json is listed twice"),
        (["all", "all"], "all is listed twice"),
        ([OLD, OLD], "faq_old is listed twice"),
        (["jsn"], "'all'"),
        ([{**OLD, "name": "json"}], "json is a built-in suite"),
        ([{**OLD, "name": "all"}], "all is a built-in suite"),
        ([{**OLD, "name": "Old"}], "name"),
        ([{**OLD, "metric": {"exact_match": {"name": "other"}}}], "named by `name` of the source"),
        ([{"name": "faq_old", "metric": "exact_match"}], "path"),
        ([{"name": "faq_old", "path": "data/old.jsonl"}], "metric"),
        ([{**OLD, "metric": "no_such_metric"}], "unknown metric"),
        ([{**OLD, "url": "s3://bucket/old.jsonl"}], "url"),
    ],
)
def test_what_is_wrong_is_refused(retain, message):
    with pytest.raises(ValidationError, match=message):
        parsed(*retain)


def test_the_fingerprint_has_what_decides_the_scores(make):
    def inputs(retain, digest="sha256:1"):
        spec = make.spec(evaluation={"retain": retain})
        return evaluation_inputs(
            spec, held_out_digest="h", train_digest="t", retain_digests={"faq_old": digest}
        )

    assert "retain" not in inputs([])
    assert inputs(["json", OLD])["retain"] == {
        "json": 1,
        "faq_old": {"examples": "sha256:1", "metric": {"exact_match": {}}},
    }
    assert inputs(["json", "language"]) == inputs(["language", "json"])
    assert inputs(["all"]) == inputs([*SUITES])
    assert inputs([OLD]) != inputs([OLD], digest="sha256:2")
    assert inputs([OLD]) == inputs([{**OLD, "path": "elsewhere.jsonl"}])
