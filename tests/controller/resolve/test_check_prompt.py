"""`method: prompt`: everything that has no meaning without training is refused by name."""

import json

import pytest

EMPTY: dict = {}
TRAIN = [{"path": "data/faq.csv", "columns": {"user": "question", "assistant": "answer"}}]


def problems(repo, **changes) -> dict[str, str]:
    value = {"backend": "scripted", "base_model": "acme/base", "method": "prompt", **changes}
    repo.write("finetunes/faq.yaml", json.dumps(value))
    found = repo.planned().resolved.problems
    assert all(one.line for one in found)
    return {one.field: one.message for one in found}


@pytest.mark.parametrize(
    "spec",
    [
        EMPTY,
        {"prompt": {"system": "Be brief."}},
        {"prompt": {"few_shot": 2}, "data": {"train": TRAIN}},
        {"data": {"train": TRAIN, "held_out": {"fraction": 0.25}}, "gate": ["stop_rate >= 0.5"]},
        {
            "data": {"held_out": TRAIN},
            "evaluation": {"metrics": ["exact_match"], "retain": ["json"]},
        },
        # Defaults that are written out change nothing.
        {"seed": 42, "hyperparameters": {}, "tracking": {}, "budget": {}, "gate": []},
        {"evaluation": {"max_tokens": 256, "compare_to": ["base"]}},
        {"evaluation": {"compare_to": []}},
    ],
)
def test_what_it_may_have(repo, spec):
    assert problems(repo, **spec) == {}


UNTRAINED = "`method: prompt` trains nothing, so"
UNMEASURED = "nothing is measured: there are no held-out examples"
NO_TRAIN = "shows training examples, and data.train names none"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (
            {"hyperparameters": {"num_train_epochs": 3, "r": 16}},
            {
                "hyperparameters.num_train_epochs": f"{UNTRAINED} no hyperparameter has an effect",
                "hyperparameters.r": f"{UNTRAINED} no hyperparameter has an effect",
            },
        ),
        ({"seed": 7}, {"seed": f"{UNTRAINED} no seed has an effect"}),
        (
            {"tracking": {"wandb": {"project": "cafe"}}},
            {"tracking.wandb": f"{UNTRAINED} no losses are reported"},
        ),
        (
            {"budget": {"max_usd": 5, "max_gpu_hours": 1}},
            {
                "budget.max_usd": f"{UNTRAINED} there is no job to limit",
                "budget.max_gpu_hours": f"{UNTRAINED} there is no job to limit",
            },
        ),
        (
            {"hardware": {"gpus": 2}},
            {"hardware.gpus": f"{UNTRAINED} there is no job for hardware"},
        ),
        ({"prompt": {"few_shot": 2}}, {"prompt.few_shot": NO_TRAIN}),
        (
            {"data": {"held_out": {"fraction": 0.25}}},
            {"data.held_out": "is a fraction of the training sources, and data.train names none"},
        ),
        (
            {
                "data": {"held_out": TRAIN},
                "evaluation": {"compare_to": ["base_few_shot", {"name": "luna", "few_shot": 1}]},
            },
            {"evaluation.compare_to[0]": NO_TRAIN, "evaluation.compare_to[1]": NO_TRAIN},
        ),
        (
            {
                "evaluation": {"metrics": ["exact_match"], "max_tokens": 8},
                "gate": ["stop_rate > 0"],
            },
            {
                "evaluation.metrics": UNMEASURED,
                "evaluation.max_tokens": UNMEASURED,
                "gate[0]": "cannot be judged: there are no held-out examples",
            },
        ),
        (
            {"data": {"train": TRAIN}, "evaluation": {"retain": ["json"]}},
            {"evaluation.retain": UNMEASURED},
        ),
        (
            {"data": {"train": TRAIN, "held_out": []}, "prompt": {"few_shot": 99}},
            {"prompt.few_shot": "must be at most 64, not 99"},
        ),
        ({"prompt": {"sytem": "x"}}, {"prompt.sytem": "is not a known key"}),
        ({"prompt": "Be brief."}, {"prompt": "must be a mapping of keys to values, not the text"}),
    ],
)
def test_what_is_refused_by_name(repo, spec, found):
    given = problems(repo, **spec)
    assert given.keys() == found.keys()
    assert all(given[field].startswith(message) for field, message in found.items())


def test_the_section_is_refused_where_a_model_is_trained(repo):
    repo.declare(prompt={"system": "Be brief."})
    (problem,) = repo.planned().resolved.problems
    assert str(problem).endswith(
        "prompt: is only for `method: prompt`, and supervised trains a model\n"
        "    Write `method: prompt`, or remove the section."
    )
    repo.declare(prompt={})
    assert repo.planned().resolved.problems == ()


def test_data_is_optional_for_this_method_alone(repo):
    assert problems(repo) == {}
    assert problems(repo, method="supervised") == {"data": "is missing"}
    missing = problems(repo, method="supervised", data={})
    assert missing == {"data.train": "is missing", "data.held_out": "is missing"}


def test_a_fraction_that_holds_out_nothing_is_reported(repo):
    found = problems(repo, data={"train": TRAIN, "held_out": {"fraction": 0.0001}})
    assert found["data.held_out"].startswith("has no example")
