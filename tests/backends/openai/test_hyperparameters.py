"""Hyperparameters and graders: ranges, `auto`, spelling, methods."""

import pytest

from backends.contract.errors import HyperparametersInvalid
from backends.openai.hyperparameters import parse

AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}
GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}


def problems(method, raw, kind="openai"):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse(method, raw, kind)
    return [(one.field, one.message, one.remedy) for one in caught.value.problems]


def test_defaults_are_written_out_and_auto_stays_auto():
    assert parse("supervised", {}) == AUTO
    assert parse("supervised", {"n_epochs": "auto"}) == AUTO
    assert parse("dpo", {}) == AUTO | {"beta": "auto"}
    assert parse("reinforcement", {"grader": GRADER}) == AUTO | {
        "compute_multiplier": "auto",
        "eval_interval": "auto",
        "eval_samples": "auto",
        "reasoning_effort": "default",
        "grader": GRADER,
    }


def test_a_whole_number_and_its_float_are_the_same_multiplier():
    settings = [parse("supervised", {"learning_rate_multiplier": one}) for one in (2, 2.0)]

    assert repr(settings[0]) == repr(settings[1])


@pytest.mark.parametrize(
    ("method", "raw", "message"),
    [
        ("supervised", {"n_epochs": 0}, "must be auto or at least 1, not 0"),
        ("supervised", {"n_epochs": 51}, "must be auto or at most 50, not 51"),
        ("supervised", {"n_epochs": 1.5}, "must be auto or a whole number, not 1.5"),
        ("supervised", {"n_epochs": True}, "must be auto or a whole number, not true"),
        ("supervised", {"n_epochs": "many"}, "must be auto or a whole number, not the text 'many'"),
        ("supervised", {"batch_size": 257}, "must be auto or at most 256, not 257"),
        ("supervised", {"learning_rate_multiplier": 0}, "must be auto or more than 0, not 0"),
        (
            "supervised",
            {"learning_rate_multiplier": "x"},
            "must be auto or a number, not the text 'x'",
        ),
        ("dpo", {"beta": 2.5}, "must be auto or at most 2, not 2.5"),
        (
            "reinforcement",
            {"grader": GRADER, "compute_multiplier": 11},
            "must be auto or at most 10, not 11",
        ),
        (
            "reinforcement",
            {"grader": GRADER, "eval_samples": 0},
            "must be auto or at least 1, not 0",
        ),
        (
            "reinforcement",
            {"grader": GRADER, "reasoning_effort": "auto"},
            "must be one of default, low, medium, high, not the text 'auto'",
        ),
    ],
)
def test_ranges(method, raw, message):
    assert [one[1] for one in problems(method, raw)] == [message]


@pytest.mark.parametrize(
    ("raw", "remedy"),
    [
        ({"n_epoch": 3}, "Did you mean `n_epochs`?"),
        ({"suffix": "x"}, "Remove it: the fine-tune's name is used."),
        ({"beta": 1}, "Remove it: only `method: dpo` has it."),
        ({"trainingType": "Standard"}, "Remove it: only endpoints of `kind: azure` have it."),
        ({"zzz": 1}, "Use one of: batch_size, learning_rate_multiplier, n_epochs."),
    ],
)
def test_unknown_keys_are_answered_with_what_was_meant(raw, remedy):
    assert [one[2] for one in problems("supervised", raw)] == [remedy]


def test_every_problem_is_found_at_once():
    assert len(problems("dpo", {"n_epochs": 0, "beta": 9, "x": 1})) == 3


def test_azure_has_a_training_type():
    assert parse("supervised", {}, "azure") == AUTO
    given = {"trainingType": "Developer"}
    assert parse("supervised", given, "azure") == AUTO | given
    assert problems("supervised", {"trainingType": "Fast"}, "azure")[0][1] == (
        "must be one of Standard, GlobalStandard, Developer, developerTier, not the text 'Fast'"
    )


def test_other_methods_are_named():
    assert problems("continued-pretraining", {})[0][0] == "method"


@pytest.mark.parametrize(
    "grader",
    [
        GRADER,
        {
            "type": "text_similarity",
            "input": "a",
            "reference": "b",
            "evaluation_metric": "rouge_l",
        },
        {"type": "python", "source": "def grade(sample, item): return 1.0"},
        {"type": "score_model", "model": "gpt-4o", "input": [], "range": [0, 1]},
        {"type": "multi", "graders": {"a": GRADER}, "calculate_output": "a"},
    ],
)
def test_graders_pass_through_unchanged(grader):
    assert parse("reinforcement", {"grader": grader})["grader"] == grader


@pytest.mark.parametrize(
    ("grader", "field", "message"),
    [
        (None, "grader", "is missing"),
        ("string_check", "grader", "must be a mapping, not the text 'string_check'"),
        ({}, "grader.type", "is missing"),
        ({"type": "x"}, "grader.type", "must be one of string_check"),
        ({"type": "python"}, "grader.source", "is missing"),
        ({**GRADER, "operation": "is"}, "grader.operation", "must be one of eq, ne, like, ilike"),
        ({**GRADER, "inputs": 1}, "grader.inputs", "is not a known key"),
        (
            {"type": "multi", "graders": {"a": {"type": "python"}}, "calculate_output": "a"},
            "grader.graders.a.source",
            "is missing",
        ),
    ],
)
def test_wrong_graders(grader, field, message):
    raw = {} if grader is None else {"grader": grader}

    found = problems("reinforcement", raw)

    assert [one[0] for one in found] == [field]
    assert found[0][1].startswith(message)


def test_long_values_are_not_shown_whole():
    for raw in ({"n_epochs": "x" * 100_000}, {"batch_size": [1] * 100_000}, {"y" * 100_000: 1}):
        (problem,) = problems("supervised", raw)
        assert len(problem[1] + problem[2]) < 500


def test_a_response_format_is_a_mapping_with_a_type():
    found = problems("reinforcement", {"grader": GRADER, "response_format": "json"})
    assert [one[0] for one in found] == ["response_format"]


def test_a_server_without_published_limits_has_none():
    given = {"n_epochs": 300, "batch_size": 4096}
    assert parse("supervised", given, "compatible") == AUTO | given
    assert parse("dpo", {"beta": 5.0}, "compatible")["beta"] == 5.0
    assert len(problems("supervised", given)) == len(problems("supervised", given, "azure")) == 2
    assert (
        problems("supervised", {"n_epochs": 0}, "compatible")[0][1]
        == "must be auto or at least 1, not 0"
    )
    other = {"type": "endpoint", "url": "https://grader.example", "input": "{{ item.x }}"}
    assert parse("reinforcement", {"grader": other}, "compatible")["grader"] == other
    assert problems("reinforcement", {"grader": other})


def test_a_compatible_server_may_know_more_but_no_misspelling():
    given = {"r": 16, "lora_alpha": 32, "lr": 1e-4}

    assert parse("supervised", given, "compatible") == AUTO | given
    assert problems("supervised", {"n_epoch": 1}, "compatible")[0][2] == "Did you mean `n_epochs`?"
    assert problems("supervised", {"suffix": "x"}, "compatible")[0][0] == "suffix"
