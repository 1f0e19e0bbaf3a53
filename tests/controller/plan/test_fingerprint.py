"""What forces what: the table of the design, row by row."""

import json

import pytest

from controller.plan.fingerprint import (
    TRAINING_SCHEME,
    diff_inputs,
    evaluation_inputs,
    fingerprint,
    short_id,
    training_inputs,
)
from controller.spec.model import spec_model

CHANGED = "sha256:" + "9" * 64


def prints(desired) -> tuple[str, str]:
    return desired.fingerprint, desired.evaluation_fingerprint


def test_fingerprints_are_pinned(make):
    """Upgrading trains nothing: these literals may only change together with the scheme's tag."""
    assert prints(make.desired()) == (
        "ft1:3d58f22d28cbfb00675b96044c51bbe6b7e34b492941a6a23c1cad3a8ab037d9",
        "ev1:31a4966ba2fb69d7baac46a34b315f2aae99c0348ef51230b162d35b01f24efd",
    )
    rich = make.desired(
        hyperparameters={"learning_rate": 2e-4},
        seed=7,
        evaluation={
            "metrics": ["exact_match", {"regex_match": {"pattern": "^네"}}],
            "compare_to": ["production", "base"],
        },
    )
    assert prints(rich) == (
        "ft1:b65bae0d194ea2ec48a94e96193a50720c36b76259bf50086cf357e07911a367",
        "ev1:acc94d699051f2f4196970be97dedd4c7a3c0c0fdcc204f70113a9f82870c142",
    )


def of_prompt(**changes) -> dict:
    """Return the inputs of a build for which nothing is trained."""
    value = {"backend": "openai", "base_model": "gpt-5-mini", "method": "prompt", **changes}
    return training_inputs(
        spec_model(value).model_validate(value),
        base_model="model:gpt-5-mini",
        hyperparameters={},
        train_digest=CHANGED,
    )


def test_fingerprints_of_prompts_are_pinned():
    given = [
        of_prompt(),
        of_prompt(prompt={"system": "짧게 답하세요."}),
        of_prompt(prompt={"system": "짧게 답하세요.", "few_shot": 4}),
    ]
    assert [fingerprint(TRAINING_SCHEME, one) for one in given] == [
        "ft1:c2460d9d354aca6d57359bfc357977d049fff5f5d2f58966c77f3f21cbdd7573",
        "ft1:41d21570c6510f7dbba01fafbc1c8f1f4f4f642baa242f44c8e88898bd5e1de6",
        "ft1:fcb239e8ae0c26a469f5caa7698d395e0b73d35abeb5b3b47f0c6173658ac8c3",
    ]
    assert [one.get("data") for one in given] == [None, None, CHANGED]
    # Written out or not, a default is a default.
    assert of_prompt(prompt={"few_shot": 0, "system": None}) == of_prompt()


def test_held_out_examples_that_decide_the_weights_are_an_input(make):
    """The literal may only change together with the scheme's tag."""
    given = [
        training_inputs(
            make.spec(),
            base_model="model:tiny",
            hyperparameters={"early_stopping": {"patience": 3, "min_delta": 0.0}},
            train_digest=CHANGED,
            held_out_digest=held_out,
        )
        for held_out in (None, CHANGED)
    ]
    assert given[1] == given[0] | {"held_out": CHANGED}
    assert fingerprint(TRAINING_SCHEME, given[1]) == (
        "ft1:19c3f04e94f60216ede52328dcc7ac42eee69d9ce818ce1eecb40ff62ea9f67b"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"description": "카페"},
        {"owner": "a@example.com"},
        {"labels": {"team": "growth"}},
        {"budget": {"max_usd": 5}},
        {"gate": ["accuracy >= 0.5"]},
        {"lifecycle": {"protect": True}},
        {"lifecycle": {"suspend": True}},
        # Defaults written out.
        {"seed": 42},
        {"method": "supervised"},
        {"hyperparameters": {"learning_rate": 0.0001}},
        {"hyperparameters": {"num_train_epochs": 3}},
        {"hyperparameters": {"num_train_epochs": 3.0}},
        # Computes the same bits in less memory.
        {"hyperparameters": {"gradient_checkpointing": "on"}},
        {"hyperparameters": {"gradient_checkpointing": "selective"}},
        {"evaluation": {"compare_to": ["base"], "max_tokens": 256, "metrics": []}},
        {"data": {"train": [{"path": "data/moved.csv"}], "held_out": {"fraction": 0.25}}},
        {"data": {"train": [{"path": "x.csv", "license": "MIT"}], "held_out": {"fraction": 0.5}}},
    ],
)
def test_what_decides_nothing_changes_nothing(make, changed: dict):
    assert prints(make.desired(**changed)) == prints(make.desired())


@pytest.mark.parametrize(
    "changed",
    [
        {"hyperparameters": {"learning_rate": 0.0002}},
        {"hyperparameters": {"r": 8}},
        {"hyperparameters": {"learning_rate": "auto"}},
        {"seed": 43},
        {"base": "scripted:acme/base@2"},
        {"backend": "local-gpu"},
        {"method": "dpo"},
    ],
)
def test_what_decides_the_weights_trains(make, changed: dict):
    trained, measured = prints(make.desired())
    again, measured_again = prints(make.desired(**changed))
    assert again != trained
    assert measured_again == measured


def test_other_training_examples_train(make):
    trained, measured = prints(make.desired(facts=make.data(train=CHANGED)))
    assert trained != make.desired().fingerprint
    assert measured == make.desired().evaluation_fingerprint


@pytest.mark.parametrize(
    "changed",
    [
        {"evaluation": {"metrics": ["exact_match"]}},
        {"evaluation": {"metrics": ["accuracy"]}},
        {"evaluation": {"compare_to": []}},
        {"evaluation": {"compare_to": ["base", "production"]}},
        {"evaluation": {"max_tokens": 64}},
        {"evaluation": {"group_by": "customer"}},
        {"evaluation": {"slices": ["lang"]}},
    ],
)
def test_what_decides_the_scores_evaluates_and_trains_nothing(make, changed: dict):
    trained, measured = prints(make.desired(**changed))
    assert trained == make.desired().fingerprint
    assert measured != make.desired().evaluation_fingerprint


def test_other_held_out_examples_evaluate(make):
    trained, measured = prints(make.desired(facts=make.data(held_out=CHANGED)))
    assert trained == make.desired().fingerprint
    assert measured != make.desired().evaluation_fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"metrics": ["accuracy"]}, {"metrics": [{"accuracy": {}}]}),
        ({"compare_to": ["base", "production"]}, {"compare_to": ["production", "base", "base"]}),
        ({"slices": ["a", "b"]}, {"slices": ["b", "a", "b"]}),
        ({}, {"group_by": None, "slices": []}),
    ],
)
def test_the_same_evaluation_written_otherwise_is_the_same(make, one: dict, other: dict):
    assert prints(make.desired(evaluation=one)) == prints(make.desired(evaluation=other))


def test_columns_enter_only_where_a_spec_names_them(make):
    """Other values in a column are other groups and slices; a spec without any stays as recorded."""
    held_out = make.data().held_out.digest
    plain = evaluation_inputs(make.spec(), held_out_digest=held_out, train_digest="")
    assert plain.keys() == {"compare_to", "held_out", "max_tokens", "metrics"}
    assert plain == evaluation_inputs(
        make.spec(), held_out_digest=held_out, train_digest="", column_digests={}
    )
    spec = make.spec(evaluation={"group_by": "customer", "slices": ["lang"]})
    one, other = (
        evaluation_inputs(
            spec,
            held_out_digest=held_out,
            train_digest="",
            column_digests={"customer": f"sha256:{digit * 64}", "lang": "sha256:" + "3" * 64},
        )
        for digit in "12"
    )
    assert fingerprint("ev1", one) == (
        "ev1:74c1a76cdd438a836f70a244e95d7cb7ab28757285298c345338ec2ffc369a11"
    )
    assert [change.field for change in diff_inputs(one, other)] == ["columns.customer"]
    assert fingerprint("ev1", one) != fingerprint("ev1", other)


def test_the_name_is_no_part_of_it(make):
    assert prints(make.desired("a")) == prints(make.desired("b"))


def test_inputs_that_were_stored_give_the_fingerprint_again(make):
    desired = make.desired(hyperparameters={"learning_rate": 2e-4})
    stored = json.loads(json.dumps(desired.inputs))
    assert fingerprint("ft1", stored) == desired.fingerprint
    assert fingerprint("ft2", stored) != desired.fingerprint


def test_people_see_twelve_digits():
    assert short_id("ft1:" + "0123456789abcdef" * 4) == "0123456789ab"


def test_changes_are_named_by_dotted_field():
    old = {"seed": 1, "hyperparameters": {"r": 8, "gone": True}, "data": "x"}
    new = {"seed": 1, "hyperparameters": {"r": 16, "came": None, "dtype": "auto"}, "data": "y"}
    assert [(c.field, c.old, c.new) for c in diff_inputs(old, new)] == [
        ("data", "x", "y"),
        ("hyperparameters.dtype", None, "auto"),
        ("hyperparameters.gone", True, None),
        ("hyperparameters.r", 8, 16),
    ]
    assert diff_inputs(old, old) == ()
