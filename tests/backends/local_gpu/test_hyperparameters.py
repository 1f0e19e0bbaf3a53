import pytest

from backends.contract.errors import HyperparametersInvalid
from backends.local_gpu.hyperparameters import RECIPE, parse

LORA = {
    "finetuning_type": "lora",
    "num_train_epochs": 3,
    "learning_rate": 2e-4,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "chat_template": None,
    "dtype": "auto",
    "r": 16,
    "lora_alpha": 32,
    "lora_dropout": 0.0,
    "use_rslora": True,
    "target_modules": "all-linear",
    "recipe": 1,
}
ADAPTER = ("r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules")


def test_defaults_are_part_of_every_identity_and_change_only_with_the_recipe():
    assert RECIPE == 1
    assert parse("supervised", {}) == LORA
    full = {key: value for key, value in LORA.items() if key not in ADAPTER}
    assert parse("supervised", {"finetuning_type": "full"}) == full | {
        "finetuning_type": "full",
        "learning_rate": 2e-5,
    }


def test_plain_texts_are_read_in_blocks_and_without_template():
    shared = {key: value for key, value in LORA.items() if key != "chat_template"}
    assert parse("continued-pretraining", {}) == shared | {"max_length": 1024}
    for method, key, remedy in (
        ("continued-pretraining", "chat_template", "Remove it"),
        ("continued-pretraining", "thinking", "Remove it"),
        ("supervised", "max_length", "max_tokens"),
    ):
        with pytest.raises(HyperparametersInvalid) as caught:
            parse(method, {key: "chatml"})
        (problem,) = caught.value.problems
        assert (problem.field, "belongs to" in problem.message) == (key, True)
        assert remedy in problem.remedy


def test_thinking_is_part_of_the_identity_only_when_it_is_on():
    assert parse("supervised", {"thinking": "off"}) == LORA
    assert parse("supervised", {"thinking": "on"}) == LORA | {"thinking": "on"}


def test_packing_and_filled_batches_are_part_of_the_identity_only_when_they_are_used():
    assert parse("supervised", {"packing": False, "max_tokens_per_batch": None}) == LORA
    assert parse("supervised", {"packing": True}) == LORA | {"packing": True}
    filled = {key: value for key, value in LORA.items() if key != "per_device_train_batch_size"}
    assert parse("supervised", {"max_tokens_per_batch": 4096}) == filled | {
        "max_tokens_per_batch": 4096
    }


@pytest.mark.parametrize(
    ("method", "raw", "field", "says"),
    [
        (
            "supervised",
            {"max_tokens_per_batch": 4096, "per_device_train_batch_size": 8},
            "per_device_train_batch_size",
            "already decides how many examples",
        ),
        (
            "continued-pretraining",
            {"max_tokens_per_batch": 512},
            "max_tokens_per_batch",
            "no room for a text of max_length 1024",
        ),
        ("dpo", {"packing": True}, "packing", "belongs to `method: supervised` and `continued"),
        ("kto", {"max_tokens_per_batch": 99}, "max_tokens_per_batch", "belongs to `method: superv"),
    ],
)
def test_filled_batches_leave_nothing_unsaid(method, raw, field, says):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse(method, raw)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert says in problem.message


def test_limits_are_part_of_the_identity_only_where_they_are_set():
    later = {"max_steps": None, "eval_steps": None, "early_stopping": None}
    assert parse("supervised", later) == LORA
    complete = {"early_stopping": {"patience": 3, "min_delta": 0.0}}
    for given in ({}, {"patience": 3}, {"min_delta": 0}, {"patience": 3, "min_delta": 0.0}):
        assert parse("supervised", {"early_stopping": given}) == LORA | complete


@pytest.mark.parametrize("key", [key for key in LORA if key not in {"recipe", "chat_template"}])
def test_writing_out_a_default_changes_nothing(key):
    assert parse("supervised", {key: LORA[key]}) == LORA


@pytest.mark.parametrize(
    ("raw", "field", "message", "remedy"),
    [
        ({"n_epochs": 3}, "n_epochs", "is not a hyperparameter", "num_train_epochs"),
        ({"lora_rank": 8}, "lora_rank", "is not a hyperparameter", "Did you mean `r`?"),
        ({"zzz": 8}, "zzz", "is not a hyperparameter", "Use one of: "),
        ({"recipe": 1}, "recipe", "is not a hyperparameter", ""),
        ({"num_train_epochs": 0}, "num_train_epochs", "must be at least 1, not 0", ""),
        ({"num_train_epochs": 1.5}, "num_train_epochs", "must be a whole number, not 1.5", ""),
        (
            {"num_train_epochs": "3"},
            "num_train_epochs",
            "must be a whole number, not the text '3'",
            "quotes",
        ),
        ({"num_train_epochs": True}, "num_train_epochs", "must be a whole number, not true", ""),
        ({"learning_rate": 0}, "learning_rate", "must be more than 0, not 0", ""),
        ({"learning_rate": 2}, "learning_rate", "must be at most 1, not 2", ""),
        ({"learning_rate": float("nan")}, "learning_rate", "must be", ""),
        ({"r": 0}, "r", "must be at least 1, not 0", ""),
        ({"lora_dropout": 1}, "lora_dropout", "must be less than 1, not 1", ""),
        ({"use_rslora": 1}, "use_rslora", "must be true or false, not 1", ""),
        (
            {"dtype": "int8"},
            "dtype",
            "must be one of auto, bfloat16, float16, float32, not the text 'int8'",
            "",
        ),
        ({"thinking": "maybe"}, "thinking", "must be one of off, on, not the text 'maybe'", ""),
        ({"thinking": True}, "thinking", "must be one of off, on, not true", ""),
        ({"target_modules": []}, "target_modules", "must not be empty", ""),
        (
            {"target_modules": "q_proj"},
            "target_modules",
            "'q_proj' is neither a list of names nor a pattern",
            "Write a list: `[q_proj]`.",
        ),
        ({"exclude_modules": "(q"}, "exclude_modules", "is not a pattern of names", ""),
        ({"layers_to_transform": [-1]}, "layers_to_transform[0]", "must be at least 0", ""),
        ({"warmup_steps": 1.5}, "warmup_steps", "whole number of steps, or a fraction", ""),
        ({"max_steps": 0}, "max_steps", "must be at least 1, not 0", ""),
        ({"eval_steps": 0.5}, "eval_steps", "must be a whole number, not 0.5", ""),
        ({"early_stopping": 3}, "early_stopping", "must be", ""),
        ({"early_stopping": True}, "early_stopping", "must be", ""),
        (
            {"early_stopping": {"patience": 0}},
            "early_stopping.patience",
            "must be at least 1, not 0",
            "",
        ),
        (
            {"early_stopping": {"patiense": 3}},
            "early_stopping.patiense",
            "is not",
            "Did you mean `patience`?",
        ),
        ({"early_stopping_patience": 3}, "early_stopping_patience", "is not", "early_stopping"),
        ({"warmup_steps": -1}, "warmup_steps", "must be at least 0, not -1", ""),
        ({"finetuning_type": "qlora"}, "finetuning_type", "must be one of lora, full", ""),
        ({"finetuning_type": "full", "r": 4}, "r", "belongs to an adapter", "lora"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(raw, field, message, remedy):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse("supervised", raw)
    (problem,) = caught.value.problems
    assert problem.field == field
    assert message in problem.message
    assert remedy in problem.remedy


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules"])
@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("q_(proj", "missing ), unterminated subpattern"),
        ("[q", "unterminated character set"),
        ("*_proj", "nothing to repeat"),
        ("q_proj\\", "bad escape"),
        ("q{99999999999999}", "the repetition number is too large"),
        ("(" * 5000 + "q" + ")" * 5000, "recursion"),
    ],
)
def test_a_pattern_that_is_none_is_refused_with_its_reason(field, pattern, says):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse("supervised", {field: pattern})
    problem = caught.value.problems[-1]
    assert problem.field == field
    assert problem.message.startswith("is not a pattern of names: ")
    assert says in problem.message
    assert len(problem.message) < 200
    assert problem.remedy == "Correct it, or write a list of names."


@pytest.mark.parametrize(
    ("method", "kind", "rate"),
    [
        ("supervised", "lora", 2e-4),
        ("supervised", "full", 2e-5),
        ("continued-pretraining", "lora", 2e-4),
        ("continued-pretraining", "full", 2e-5),
        ("dpo", "lora", 1e-5),
        ("dpo", "full", 1e-6),
        ("kto", "lora", 1e-5),
        ("kto", "full", 1e-6),
    ],
)
def test_the_rate_follows_from_method_and_kind_where_it_is_not_written(method, kind, rate):
    assert parse(method, {"finetuning_type": kind})["learning_rate"] == rate
    assert parse(method, {"finetuning_type": kind, "learning_rate": None})["learning_rate"] == rate
    written = {"finetuning_type": kind, "learning_rate": 3e-4}
    assert parse(method, written)["learning_rate"] == 3e-4


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("dpo", {"beta": 0.1, "loss_type": "sigmoid"}),
        ("kto", {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}),
        ("continued-pretraining", {"max_length": 1024}),
        ("supervised", {}),
    ],
)
def test_each_method_has_settings_of_its_own(method, settings):
    found = parse(method, {})
    assert {key: found[key] for key in settings} == settings
    shared = LORA.keys() - {"chat_template", "learning_rate"}
    assert found.keys() - shared - settings.keys() <= {"chat_template", "learning_rate"}
    assert ("chat_template" in found) == (method != "continued-pretraining")


def test_a_marked_answer_is_not_alone_in_its_batch():
    with pytest.raises(HyperparametersInvalid) as caught:
        parse("kto", {"per_device_train_batch_size": 1})
    (problem,) = caught.value.problems
    assert (problem.field, problem.message) == (
        "per_device_train_batch_size",
        "kto compares each answer with others of its batch, and 1 has no other",
    )
    assert problem.remedy == "Write 2 or more, and lower gradient_accumulation_steps."
    assert parse("kto", {"per_device_train_batch_size": 2})["per_device_train_batch_size"] == 2
    assert parse("dpo", {"per_device_train_batch_size": 1})["per_device_train_batch_size"] == 1


@pytest.mark.parametrize(
    ("method", "raw", "message", "remedy"),
    [
        (
            "supervised",
            {"quantization": "nf4", "finetuning_type": "full"},
            "a base model in 4 bits cannot be trained in full, only with an adapter",
            "Remove it, or write `finetuning_type: lora`.",
        ),
        (
            "supervised",
            {"use_dora": True, "finetuning_type": "full"},
            "belongs to an adapter, and finetuning_type is full",
            "Remove it, or write `finetuning_type: lora`.",
        ),
        (
            "dpo",
            {"max_length": 9},
            "belongs to plain texts, and conversations are read whole",
            "Remove it; `prepare: {max_tokens: ...}` limits an example.",
        ),
        (
            "continued-pretraining",
            {"thinking": "on"},
            "belongs to conversations, and plain texts are read as they are",
            "Remove it.",
        ),
        (
            "supervised",
            {"beta": 0.1},
            "belongs to `method: dpo` and `kto`",
            "Remove it, or change `method`.",
        ),
        (
            "kto",
            {"loss_type": "ipo"},
            "belongs to `method: dpo`",
            "Remove it, or change `method`.",
        ),
    ],
)
def test_a_setting_of_something_else_says_what_it_belongs_to(method, raw, message, remedy):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse(method, raw)
    (problem,) = caught.value.problems
    assert (problem.field, problem.message, problem.remedy) == (next(iter(raw)), message, remedy)


@pytest.mark.parametrize("key", ["layers_to_transform", "modules_to_save", "target_parameters"])
def test_order_and_repetitions_of_choices_make_no_other_identity(key):
    values = [3, 0, 3] if key == "layers_to_transform" else ["나", "a", "나"]
    once = sorted(set(values))
    assert parse("supervised", {key: values}) == parse("supervised", {key: once})
    assert parse("supervised", {key: values})[key] == once


@pytest.mark.parametrize(
    ("tokens", "length", "fits"), [(1024, 1024, True), (1023, 1024, False), (8, 8, True)]
)
def test_a_batch_has_room_for_a_whole_block(tokens, length, fits):
    raw = {"max_tokens_per_batch": tokens, "max_length": length}
    if fits:
        assert "per_device_train_batch_size" not in parse("continued-pretraining", raw)
        return
    with pytest.raises(HyperparametersInvalid) as caught:
        parse("continued-pretraining", raw)
    (problem,) = caught.value.problems
    assert problem.remedy == f"Raise it to {length} or more, or lower max_length."


def test_all_problems_are_told_at_once():
    with pytest.raises(HyperparametersInvalid) as caught:
        parse("supervised", {"r": 0, "n_epochs": 1, "learning_rate": "x", "weight_decay": -1})
    named = [problem.field for problem in caught.value.problems]
    assert sorted(named) == ["learning_rate", "n_epochs", "r", "weight_decay"]


def test_other_methods_are_refused():
    with pytest.raises(HyperparametersInvalid, match="does not train 'reinforcement'"):
        parse("reinforcement", {})


@pytest.mark.parametrize(
    "raw",
    [
        {"warmup_steps": 0.1},
        {"warmup_steps": 10},
        {"target_modules": ["q_proj", "v_proj"]},
        {"chat_template": "chatml"},
        {"learning_rate": 1},
        {"max_steps": 100},
        {"eval_steps": 10},
    ],
)
def test_what_is_allowed_is_kept(raw):
    assert parse("supervised", raw) == LORA | raw
