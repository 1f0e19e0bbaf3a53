"""The gate of a move whose spec writes none: which condition, and when."""

import pytest

from controller.evaluate.gate import parse_condition
from controller.evaluate.statistics.decide import fewest_examples
from controller.lockfile.model import Verdict
from controller.plan.moving.default_gate import (
    default_gate,
    implied_gate,
    is_default_gate,
    left_build,
    with_gate,
)

SURE = "accuracy >= production.accuracy - 0.02 @ 95%"
PLAIN = SURE.removesuffix(" @ 95%")
ENOUGH = 189
JUDGE = {"judge": {"model": "m", "rubric": "good"}}


@pytest.mark.parametrize(
    ("metrics", "examples", "condition"),
    [
        (["accuracy"], ENOUGH, SURE),
        (["accuracy"], ENOUGH - 1, PLAIN),
        # The first that can judge: the order is the spec's.
        (["latency_p95", "exact_match", "accuracy"], 500, SURE.replace("accuracy", "exact_match")),
        ([{"f1": {"label": "a", "name": "f1_a"}}], 12, SURE.replace("accuracy", "f1_a")),
        # From 0 to 100.
        (["chrf"], 12, "chrf >= production.chrf - 2 @ 95%"),
    ],
)
def test_the_condition(make, metrics, examples, condition):
    spec = make.spec(evaluation={"metrics": metrics})
    found = default_gate(spec, examples)
    assert found.condition == condition
    parse_condition(found.condition)
    assert bool(found.note) == (condition == PLAIN)


def test_so_few_examples_are_told_with_what_they_could_show(make):
    assert fewest_examples(-0.02, 0.95, is_difference=True) == ENOUGH
    found = default_gate(make.spec(evaluation={"metrics": ["accuracy"]}), 72)
    assert found.note == (
        "72 held-out examples cannot show a margin of 0.02 at 95%, whatever the models answer "
        "(189 could), so scores are compared as they are, and luck may decide; what so few could "
        "show is a margin of 0.06"
    )
    assert (fewest_examples(-0.06, 0.95, is_difference=True) or 0) <= 72


@pytest.mark.parametrize(
    "metrics", [[], ["latency_p95"], ["answer_tokens"], [JUDGE], [{"human": {"sheet": "a.csv"}}]]
)
def test_what_has_no_margin_judges_no_move(make, metrics):
    assert default_gate(make.spec(evaluation={"metrics": metrics}), 500) is None


@pytest.fixture
def moved(make):
    """A spec of another base model, and the entry with the old model in production."""
    old = make.build(make.desired(base="scripted:acme/old@1", base_model="acme/old"))
    new = make.desired(base_model="acme/new", evaluation={"metrics": ["accuracy"]})

    def with_candidate(*, gate=None, production=False):
        verdict = None if gate is None else Verdict(passed=False, gate=gate)
        candidate = make.build(new, verdict=verdict)
        builds = {one.fingerprint: one for one in (old, candidate)}
        key = (candidate if production else old).fingerprint
        return make.entry(old, production=old).model_copy(
            update={"builds": builds, "production": key}
        )

    return new, old, with_candidate


def test_a_new_base_model_moves(make, moved):
    new, old, _ = moved
    entry = make.entry(old, production=old)
    assert left_build(new.spec, new.fingerprint, entry) == old
    assert implied_gate(new.spec, new.fingerprint, entry, 500) == [SURE]
    assert implied_gate(new.spec, new.fingerprint, make.entry(old), 500) is None


def test_a_hosted_model_without_its_data_does_not_move_where_it_is(make, moved):
    new, old, _ = moved
    hosted = old.model_copy(update={"base_model": old.model_id})
    entry = make.entry(hosted, production=hosted)
    assert left_build(new.spec, new.fingerprint, entry) is None
    elsewhere = hosted.model_copy(update={"backend": "openai"})
    entry = make.entry(elsewhere, production=elsewhere)
    assert left_build(new.spec, new.fingerprint, entry) == elsewhere


@pytest.mark.parametrize(
    "written",
    [
        {"gate": ["accuracy >= 0.5"]},
        {"gate": []},
        {"lifecycle": {"pin": "0123"}},
        {"base_model": "acme/old", "seed": 9},
        {"evaluation": {}},
    ],
)
def test_no_gate_is_implied(make, moved, written):
    _, old, _ = moved
    given = {"base_model": "acme/new", "evaluation": {"metrics": ["accuracy"]}, **written}
    new = make.desired(base="scripted:acme/new@1", **given)
    entry = make.entry(old, production=old)
    assert implied_gate(new.spec, new.fingerprint, entry, 500) is None


@pytest.mark.parametrize(
    ("gate", "production", "wanted"),
    [
        (None, False, [SURE]),
        # Judged before there was such a gate: an upgrade changes nothing.
        ([], False, None),
        ([], True, None),
        (None, True, None),
        # Promotion, after which nothing moves any more, changes nothing either.
        ([SURE], True, [SURE]),
        ([PLAIN], True, [PLAIN]),
        (["accuracy >= 0.5"], True, None),
        # A candidate that failed stays judged, whatever gate it failed.
        ([PLAIN], False, [SURE]),
        (["accuracy >= 0.5"], False, [SURE]),
    ],
)
def test_a_recorded_build_keeps_its_gate(moved, gate, production, wanted):
    new, _, with_candidate = moved
    entry = with_candidate(gate=gate, production=production)
    assert implied_gate(new.spec, new.fingerprint, entry, 500) == wanted


def test_a_default_gate_is_recognised(make):
    spec = make.spec(evaluation={"metrics": ["latency_p95", "accuracy"]})
    assert is_default_gate([SURE], spec)
    assert is_default_gate([PLAIN], spec)
    assert not is_default_gate([SURE, PLAIN], spec)
    assert not is_default_gate([], spec)


@pytest.mark.parametrize("compared", [None, ["base"], ["production", "base"]])
def test_the_spec_compares_with_production(make, compared):
    asked = {} if compared is None else {"compare_to": compared}
    spec = with_gate(make.spec(evaluation={"metrics": ["accuracy"], **asked}), [SURE])
    assert spec.gate == [SURE]
    assert spec.evaluation.compare_to == (
        compared if compared and len(compared) == 2 else ["base", "production"]
    )
    assert not spec.allows_worse
