"""The models that an evaluation asks: a candidate, and what it is compared with."""

import json
import re
from dataclasses import replace

import pytest

from backends.contract.completions import Prompt
from backends.contract.errors import BackendError
from backends.testing import ScriptedBackend
from controller.evaluate.compare import (
    EvaluationContext,
    answer_identities,
    compare_with,
    needs_answers,
    production_model,
    recorded_production,
    recorded_scores,
)
from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint
from controller.plan.versions import newest_inputs
from controller.prompted.examples import shot_finder


@pytest.fixture
def context(tmp_path) -> EvaluationContext:
    backend = ScriptedBackend(tmp_path / "service")
    return EvaluationContext(
        root=tmp_path,
        open_backend=lambda _place: backend,
        train=tmp_path / "train.jsonl",
        has_answers=lambda _: False,
        find_shots=shot_finder(tmp_path / ".ftctl"),
    )


def rivals(make, entry, build, context, compare_to, desired=None, **keys):
    desired = desired or make.desired(evaluation={"compare_to": compare_to})
    found = compare_with(desired, build, entry, context, **keys)
    return {model.role: model.model_id for model in found.models}, found


@pytest.mark.parametrize(
    ("compare_to", "without_base", "expected"),
    [
        ([], False, {"candidate": "ft:faq:1"}),
        (["base"], False, {"candidate": "ft:faq:1", "base": None}),
        (["base"], True, {"candidate": "ft:faq:1"}),
        (["base", "production"], False, {"candidate": "ft:faq:1", "base": None}),
        (["production"], True, {"candidate": "ft:faq:1"}),
    ],
)
def test_before_production_a_build_is_compared_with_its_base(
    make, context, compare_to, without_base, expected
):
    build = make.build(make.desired(), evaluated=False)
    entry = make.entry(build)
    roles, found = rivals(make, entry, build, context, compare_to, without_base=without_base)
    assert roles == expected
    assert (found.recorded, found.production_build) == ({}, None)
    for production in (build, None):
        entry = make.entry(build, production=production)
        assert rivals(make, entry, build, context, compare_to)[1].production_build is None


def of_production(make, **changes):
    """Return a spec's inputs, a candidate, and an entry with an older production build."""
    keys = {"evaluation": {"compare_to": ["production"], "metrics": ["exact_match"]}}
    desired = make.desired(**keys)
    before = make.desired(seed=1, **(keys | changes))
    build = make.build(desired, evaluated=False)
    production = make.build(before, model_id="ft:faq:0")
    return desired, build, production, make.entry(build, production, production=production)


def test_recorded_scores_of_production_need_no_answers(make, context):
    desired, build, production, entry = of_production(make)
    roles, found = rivals(make, entry, build, context, None, desired)
    assert roles == {"candidate": "ft:faq:1"}
    assert found.recorded == {"production": production.evaluation.scores["candidate"]}
    assert found.production_build == production.fingerprint


@pytest.mark.parametrize(
    "evaluation",
    [
        {"metrics": []},
        {"metrics": ["accuracy"]},
        {"metrics": ["exact_match", "accuracy"]},
        {"metrics": ["exact_match"], "max_tokens": 8},
        {"metrics": ["exact_match"], "temperature": 0.5},
        {"metrics": ["exact_match"], "group_by": "customer"},
    ],
)
def test_production_measured_otherwise_is_asked_again(make, context, evaluation):
    desired, build, _, entry = of_production(make, evaluation=evaluation)
    for asks in (True, False):
        roles, found = rivals(make, entry, build, context, None, desired, asks_production=asks)
        assert roles == {"candidate": "ft:faq:1", "production": "ft:faq:0"}
        assert found.recorded == {}


@pytest.mark.parametrize("key", ["columns", "gate_slices", "held_out", "sheets"])
def test_production_measured_on_other_rows_or_scores_is_asked_again(make, context, key):
    desired, build, _, entry = of_production(make)
    inputs = {**desired.evaluation_inputs, key: {"customer": "sha256:0"}}
    desired = replace(desired, evaluation_inputs=inputs)
    roles, found = rivals(make, entry, build, context, None, desired)
    assert (list(roles), found.recorded) == (["candidate", "production"], {})


@pytest.mark.parametrize("key", ["compare_to", "few_shot", "retain", "slices"])
def test_what_decides_nothing_about_a_models_own_scores_asks_nobody(make, context, key):
    desired, build, production, entry = of_production(make)
    desired = replace(desired, evaluation_inputs={**desired.evaluation_inputs, key: ["other"]})
    roles, found = rivals(make, entry, build, context, None, desired)
    assert roles == {"candidate": "ft:faq:1"}
    assert found.recorded == {"production": production.evaluation.scores["candidate"]}


@pytest.mark.parametrize("asks", [True, False])
def test_production_of_an_older_scoring_is_asked_only_where_that_is_wanted(make, context, asks):
    desired, build, _, entry = of_production(make)
    desired = replace(desired, rescore_reason="calls of tools are compared as calls")
    roles, found = rivals(make, entry, build, context, None, desired, asks_production=asks)
    assert ("production" in roles) is asks
    assert found.recorded == ({} if asks else {"production": {}})


def test_scores_of_the_newest_version_are_comparable_whatever_has_changed(make, context):
    desired, build, production, _ = of_production(make)
    inputs = newest_inputs(production.evaluation.inputs)
    key = fingerprint(EVALUATION_SCHEME, inputs)
    evaluation = production.evaluation.model_copy(update={"inputs": inputs, "fingerprint": key})
    production = production.model_copy(update={"evaluation": evaluation})
    desired = replace(desired, rescore_reason="calls of tools are compared as calls")
    entry = make.entry(build, production, production=production)
    _, found = rivals(make, entry, build, context, None, desired)
    assert found.recorded["production"] == production.evaluation.scores["candidate"]


def test_a_build_is_asked_on_the_base_that_it_was_trained_from(make, context):
    desired = make.desired(evaluation={"compare_to": ["production"], "max_tokens": 8})
    build = make.build(desired, evaluated=False)
    older = make.desired(seed=1, base=f"scripted:acme/older@{'0' * 40}")
    production = make.build(older, model_id="ft:faq:0", base_model="acme/older", revision=None)
    entry = make.entry(build, production, production=production)
    found = compare_with(desired, build, entry, context)
    assert [one.base_model.reference for one in found.models] == ["acme/base", "acme/older"]
    lost = make.build(
        make.desired(seed=1, base="scripted:acme/older@1"), base_model="acme/older", revision=None
    ).model_copy(update={"model_id": "ft:faq:0"})
    with pytest.raises(BackendError, match="was trained from another acme/older") as caught:
        compare_with(desired, build, make.entry(build, lost, production=lost), context)
    assert "remove `production` from evaluation.compare_to" in caught.value.remedy


class Service(ScriptedBackend):
    """A backend with endpoints, as a service has them: it knows nothing of how prompts are written."""

    def capabilities(self):
        return replace(super().capabilities(), endpoints=True)


def at_a_service(tmp_path, context):
    service = Service(tmp_path / "other")
    return replace(context, open_backend=lambda _place: service)


def compared(make, context, build=None, *, entry=None, **evaluation):
    """Return the models of an evaluation by their roles, and the whole comparison."""
    desired = make.desired(evaluation={"metrics": ["exact_match"]} | evaluation)
    build = build or make.build(desired, evaluated=False)
    found = compare_with(desired, build, entry or make.entry(build), context)
    return {model.role: model for model in found.models}, found


def test_a_trained_model_is_its_build_and_attempt(make, context):
    build = make.build(make.desired())
    models, _ = compared(make, context, build)
    own = f"scripted ft:faq:1 {build.fingerprint} attempt 1"
    assert models["candidate"].identity == own
    assert answer_identities(build) == ("scripted model:ft:faq:1", own)
    others = [
        build.model_copy(update=changes)
        for changes in (
            {"attempt": 2},
            {"model_id": "ft:faq:2"},
            {"backend": "other"},
            {"fingerprint": "ft1:x"},
        )
    ]
    assert len({answer_identities(one) for one in [build, *others]}) == 5
    same = build.model_copy(update={"spec_commit": "f" * 12, "facts": {"seconds": 1}})
    assert answer_identities(same) == answer_identities(build)


def test_an_adopted_model_of_a_service_is_known_by_its_id_alone(make, tmp_path, context):
    build = make.build(make.desired(), facts={"adopted": True})
    here, _ = compared(make, context, build)
    there, _ = compared(make, at_a_service(tmp_path, context), build)
    assert there["candidate"].identity == "scripted model:ft:faq:1"
    assert here["candidate"].identity == answer_identities(build)[1]


def test_a_base_model_on_this_machine_is_asked_as_the_trained_model_is(make, tmp_path, context):
    plain, _ = compared(make, context)
    assert re.fullmatch(
        r"scripted scripted:acme/base@1 asked in the form [0-9a-f]{16}", plain["base"].identity
    )
    assert (plain["base"].read_by, plain["base"].model_id) == ("ft:faq:1", None)
    forms = [plain["base"].identity]
    for spec in ({"hyperparameters": {"num_train_epochs": 9}}, {"method": "dpo"}):
        other, _ = compared(make, context, make.build(make.desired(**spec)))
        forms.append(other["base"].identity)
    assert len(set(forms)) == 3
    terse, _ = compared(make, context, compare_to=[{"name": "terse", "prompt": "짧게"}])
    assert (terse["terse"].identity, terse["terse"].read_by) == (forms[0], "ft:faq:1")
    seeded, _ = compared(make, context, make.build(make.desired(seed=9)))
    assert seeded["base"].identity == plain["base"].identity
    served, _ = compared(make, at_a_service(tmp_path, context))
    assert served["base"].identity == "scripted scripted:acme/base@1"
    assert served["base"].read_by is None


@pytest.mark.parametrize(
    ("evaluation", "models", "retaining"),
    [
        ({}, {"candidate": 0, "base": 0}, []),
        ({"temperature": 0.5}, {"candidate": 0, "base": 0, "base_again": 1}, []),
        ({"temperature": 0.5, "compare_to": []}, {"candidate": 0}, []),
        ({"retain": ["json"]}, {"candidate": 0, "base": 0}, ["candidate", "base"]),
        ({"retain": ["json"], "compare_to": []}, {"candidate": 0}, ["candidate", "base"]),
        (
            {"retain": ["json"], "temperature": 1.0},
            {"candidate": 0, "base": 0, "base_again": 1},
            ["candidate", "base"],
        ),
    ],
)
def test_drawn_answers_are_drawn_twice_from_the_base(make, context, evaluation, models, retaining):
    found, comparison = compared(make, context, **evaluation, max_tokens=99)
    assert {role: one.sampling.seed for role, one in found.items()} == models
    assert [one.role for one in comparison.retaining] == retaining
    samplings = [one.sampling for one in (*found.values(), *comparison.retaining)]
    expected = (99, evaluation.get("temperature", 0.0))
    assert {(one.max_tokens, one.temperature) for one in samplings} == {expected}


def test_a_server_that_cannot_answer_for_the_base_leaves_the_candidate(make, context):
    desired = make.desired(evaluation={"retain": ["json"]})
    build = make.build(desired, evaluated=False)
    found = compare_with(desired, build, make.entry(build), context, without_base=True)
    assert [one.role for one in found.models] == ["candidate"]
    assert [one.role for one in found.retaining] == ["candidate"]


def pair(number: int) -> dict:
    asked = {"role": "user", "content": f"질문 {number}"}
    return {"messages": [asked, {"role": "assistant", "content": f"답 {number}"}]}


def test_rivals_have_models_prompts_and_examples_of_their_own(make, tmp_path, context):
    lines = [json.dumps(pair(number)) + "\n" for number in range(9)]
    context.train.write_text("".join(lines))
    models, _ = compared(
        make,
        at_a_service(tmp_path, context),
        compare_to=[
            "base_few_shot",
            {"name": "terse", "prompt": "짧게"},
            {"name": "luna", "model": "luna-2", "endpoint": "eu", "few_shot": 2},
            {"name": "nova", "model": "nova", "backend": "scripted"},
        ],
    )
    assert list(models) == ["candidate", "base_few_shot", "terse", "luna", "nova"]
    few, terse, luna, nova = (models[role] for role in list(models)[1:])
    assert (len(few.shots), few.prompt, few.place) == (4, None, "scripted")
    assert (terse.shots, terse.prompt) == ((), "짧게")
    assert few.identity == terse.identity == "scripted scripted:acme/base@1"
    assert (luna.place, len(luna.shots)) == ("openai@eu", 2)
    assert luna.identity == f"openai@eu scripted:luna-2@{'0' * 40}"
    assert nova.identity == f"scripted scripted:nova@{'0' * 40}"
    assert luna.shots == few.shots[:2]  # one choice, however many are shown
    assert [one.has_own_prompts for one in (few, terse, luna, nova)] == [True, True, True, False]
    asked = terse.asked(Prompt(messages=[{"role": "user", "content": "?"}]))
    assert [one["content"] for one in asked.messages] == ["짧게", "?"]
    asked = luna.asked(Prompt(messages=[{"role": "user", "content": "?"}]))
    assert len(asked.messages) == 2 * 2 + 1


def prompted(make, few_shot: int, **changes):
    """Return a build for which nothing was trained."""
    build = make.build(make.desired(seed=3), model_id="prompt:1", **changes)
    prompt = {"system": "친절하게", "few_shot": few_shot}
    inputs = {**build.inputs, "method": "prompt", "prompt": prompt}
    return build.model_copy(update={"inputs": inputs})


def test_a_build_without_training_is_its_base_model_with_its_prompt(make, context):
    shots = [tuple(pair(number)["messages"]) for number in range(2)]
    known = replace(context, find_shots=lambda _: shots)
    models, _ = compared(make, known, prompted(make, 2))
    found = models["candidate"]
    assert (found.model_id, found.prompt, found.shots) == (None, "친절하게", shots)
    # As a rival with the same model and prompt, whose answers it shares.
    assert found.identity == "scripted scripted:acme/base@1"
    assert models["base"].read_by is None
    assert models["base"].identity == found.identity


def test_production_whose_answers_are_kept_is_scored_again_and_never_asked(make, context):
    desired, build, production, entry = of_production(make)
    asked = []

    def has_answers(model):
        asked.append(model)
        return True

    found = compare_with(desired, build, entry, replace(context, has_answers=has_answers))
    assert [one.role for one in found.models] == ["candidate", "production"]
    assert found.models[1] is asked[0]
    assert found.models[1].identity == answer_identities(production)[1]
    assert found.recorded == {}
    assert found.production_build == production.fingerprint


def test_retained_ability_of_production_is_not_compared(make, context):
    desired, build, production, entry = of_production(make)
    scores = {"candidate": {"exact_match": 0.5, "retain.json": 0.9, "retained": 1.0}, "base": {}}
    evaluation = production.evaluation.model_copy(update={"scores": scores})
    production = production.model_copy(update={"evaluation": evaluation})
    entry = make.entry(build, production, production=production)
    found = compare_with(desired, build, entry, context)
    assert found.recorded == {"production": {"exact_match": 0.5, "retained": 1.0}}
    assert recorded_scores(production, desired) == found.recorded
    unmeasured = production.model_copy(update={"evaluation": None})
    assert recorded_scores(unmeasured, desired) == {}


@pytest.mark.parametrize(
    ("gate", "metrics", "expected"),
    [
        (["exact_match >= production.exact_match"], ["exact_match"], set()),
        (["exact_match >= production.exact_match @ 95%"], ["exact_match"], {"production"}),
        (["exact_match >= base.exact_match @ 95%"], ["exact_match"], {"base"}),
        (["exact_match >= 0.5 @ 95%"], ["exact_match"], set()),
        ([], [{"judge": {"model": "m", "rubric": "r", "against": "production"}}], {"production"}),
        ([], [{"judge": {"model": "m", "rubric": "r", "against": "base"}}], set()),
        ([], [{"judge": {"model": "m", "rubric": "r"}}], set()),
    ],
)
def test_scores_alone_do_not_tell_how_sure_a_difference_is(make, gate, metrics, expected):
    compare_to = ["base", "production"]
    desired = make.desired(gate=gate, evaluation={"metrics": metrics, "compare_to": compare_to})
    assert {
        one for one in ("base", "production", "luna") if needs_answers(desired, one)
    } == expected


def test_production_is_asked_where_a_condition_wants_to_be_sure(make, context):
    keys = {"evaluation": {"compare_to": ["production"], "metrics": ["exact_match"]}}
    desired = make.desired(**keys, gate=["exact_match >= production.exact_match @ 95%"])
    _, build, production, entry = of_production(make)
    roles, found = rivals(make, entry, build, context, None, desired)
    assert roles == {"candidate": "ft:faq:1", "production": "ft:faq:0"}
    assert found.recorded == {}
    roles, found = rivals(make, entry, build, context, None, desired, asks_production=False)
    assert roles == {"candidate": "ft:faq:1"}
    assert found.recorded["production"] == production.evaluation.scores["candidate"]


def test_production_can_be_read_where_its_base_model_or_examples_are_gone(make, context):
    desired, _, production, _ = of_production(make)
    elsewhere = make.build(
        make.desired(seed=1, base="scripted:acme/older@1"), base_model="acme/older", model_id="old"
    )
    context.open_backend("scripted").missing = ("acme/older",)
    found = production_model(elsewhere, desired, context)
    assert (found.role, found.model_id) == ("production", "old")
    assert found.base_model.reference == "acme/older"
    assert found.identity == answer_identities(elsewhere)[1]
    assert production_model(production, desired, context).base_model == desired.base_model
    # Without its examples, nobody knows what it was asked.
    assert recorded_production(prompted(make, 4), desired, context) is None
    with pytest.raises(BackendError, match="shows 4 training examples before each question"):
        production_model(prompted(make, 4), desired, context)
    assert recorded_production(prompted(make, 0), desired, context).prompt == "친절하게"
