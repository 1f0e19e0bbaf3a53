"""Which name is suggested for a misspelled one, over every list of names that people write."""

import pytest

from backends.did_you_mean import did_you_mean, is_misspelled, nearest
from backends.local_gpu import hyperparameters as local
from backends.openai import hyperparameters as openai
from controller.cli import COMMANDS
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.spec.data import Data, Source
from controller.spec.model import Spec

SPEC = tuple(Spec.model_fields)
DATA = tuple(Data.model_fields)
SOURCE = tuple(Source.model_fields)
LOCAL = tuple(key for key in local.parse("supervised", {}) if key != "recipe")
TEXTS = tuple(key for key in local.parse("continued-pretraining", {}) if key != "recipe")
OPENAI = tuple(openai.parse("supervised", {}))
METRICS = (*(one.name for one in BUILT_IN_METRICS), "exact_match", "accuracy", "regex_match")
COLUMNS = ("질문", "답변", "분류", "Question", "created_at", "고객 문의 내용")
ROLES = ("system", "user", "assistant")

MEANT = [
    (SPEC, "sed", "seed"),
    (SPEC, "hyperparameter", "hyperparameters"),
    (SPEC, "hyper_parameters", "hyperparameters"),
    (SPEC, "hparams", "hyperparameters"),
    (SPEC, "baseModel", "base_model"),
    (SPEC, "base-model", "base_model"),
    (SPEC, "model", "base_model"),
    (SPEC, "model_name", "base_model"),
    (SPEC, "model_name_or_path", "base_model"),
    (SPEC, "eval", "evaluation"),
    (SPEC, "evalution", "evaluation"),
    (SPEC, "gates", "gate"),
    (SPEC, "backends", "backend"),
    (SPEC, "descripton", "description"),
    (SPEC, "desc", "description"),
    (DATA, "validation", "held_out"),
    (DATA, "test", "held_out"),
    (DATA, "heldout", "held_out"),
    (DATA, "training", "train"),
    (SOURCE, "pth", "path"),
    (SOURCE, "colums", "columns"),
    (SOURCE, "lincense", "license"),
    (LOCAL, "lr", "learning_rate"),
    (LOCAL, "learningrate", "learning_rate"),
    (LOCAL, "learning_rte", "learning_rate"),
    (LOCAL, "bs", "per_device_train_batch_size"),
    (LOCAL, "batch", "per_device_train_batch_size"),
    (LOCAL, "batch_size", "per_device_train_batch_size"),
    (LOCAL, "train_batch_size", "per_device_train_batch_size"),
    (LOCAL, "gas", "gradient_accumulation_steps"),
    (LOCAL, "grad_accum", "gradient_accumulation_steps"),
    (LOCAL, "epochs", "num_train_epochs"),
    (LOCAL, "n_epochs", "num_train_epochs"),
    (LOCAL, "num_epochs", "num_train_epochs"),
    (LOCAL, "num_train_epoch", "num_train_epochs"),
    (LOCAL, "rank", "r"),
    (LOCAL, "lora_rank", "r"),
    (LOCAL, "lora_r", "r"),
    (LOCAL, "R", "r"),
    (LOCAL, "alpha", "lora_alpha"),
    (LOCAL, "dropout", "lora_dropout"),
    (LOCAL, "rslora", "use_rslora"),
    (LOCAL, "modules", "target_modules"),
    (LOCAL, "scheduler", "lr_scheduler_type"),
    (LOCAL, "lr_scheduler", "lr_scheduler_type"),
    (LOCAL, "warmup", "warmup_steps"),
    (LOCAL, "warmup_ratio", "warmup_steps"),
    (LOCAL, "wd", "weight_decay"),
    (LOCAL, "max_grad", "max_grad_norm"),
    (LOCAL, "grad_clip", "max_grad_norm"),
    (LOCAL, "template", "chat_template"),
    (TEXTS, "max_seq_length", "max_length"),
    (TEXTS, "seq_len", "max_length"),
    (OPENAI, "lr", "learning_rate_multiplier"),
    (OPENAI, "learning_rate", "learning_rate_multiplier"),
    (OPENAI, "bs", "batch_size"),
    (OPENAI, "batch", "batch_size"),
    (OPENAI, "per_device_train_batch_size", "batch_size"),
    (OPENAI, "epochs", "n_epochs"),
    (OPENAI, "num_train_epochs", "n_epochs"),
    (OPENAI, "nEpochs", "n_epochs"),
    (METRICS, "acc", "accuracy"),
    (METRICS, "acuracy", "accuracy"),
    (METRICS, "exact", "exact_match"),
    (METRICS, "exactMatch", "exact_match"),
    (METRICS, "loss", "held_out_loss"),
    (METRICS, "regex", "regex_match"),
    (COLUMNS, "질믄", "질문"),
    (COLUMNS, "질문내용", "질문"),
    (COLUMNS, "답벼", "답변"),
    (COLUMNS, "답", "답변"),
    (COLUMNS, "question", "Question"),
    (COLUMNS, "문의 내용", "고객 문의 내용"),
    (COLUMNS, "createdAt", "created_at"),
    (ROLES, "asistant", "assistant"),
    (ROLES, "users", "user"),
    (COMMANDS, "plna", "plan"),
    (COMMANDS, "aply", "apply"),
    (COMMANDS, "valdiate", "validate"),
    (COMMANDS, "stauts", "status"),
    (COMMANDS, "log", "logs"),
    (COMMANDS, "recon", "reconcile"),
    (COMMANDS, "eval", "evaluate"),
    (("local-gpu", "openai"), "local_gpu", "local-gpu"),
    (("local-gpu", "openai"), "opnai", "openai"),
    (("local-gpu", "openai"), "gpu", "local-gpu"),
    (("tools", "tool_choice"), "tool_choise", "tool_choice"),
    (("faq", "other"), "fqa", "faq"),
    (("csv", "tsv"), "cvs", "csv"),
]
NOBODY_KNOWS = [
    (("r",), "lr"),
    (LOCAL, "x"),
    (LOCAL, "train"),  # of two names
    (LOCAL, "lora"),  # of two names
    (LOCAL, "max_steps"),
    (LOCAL, "beta"),
    (OPENAI, "r"),
    (SPEC, "colour"),
    (SPEC, "<x>"),
    (METRICS, "chrf"),
    (METRICS, "정확도"),
    (COLUMNS, "가격"),
    (COMMANDS, "destroy"),
    (("cat", "dog"), "cow"),
    (("abc", "acb"), "bca"),
    (("!!", "??"), "##"),
    ((), "seed"),
    (SPEC, ""),
]


@pytest.mark.parametrize(("names", "name", "meant"), MEANT, ids=lambda one: str(one)[:20])
def test_what_is_meant_is_suggested(names, name, meant):
    assert meant in names
    assert nearest(name, names) == meant
    assert did_you_mean(name, names) == f"Did you mean `{meant}`?"
    # However the names are ordered.
    assert nearest(name, reversed(tuple(names))) == meant


@pytest.mark.parametrize(("names", "name"), NOBODY_KNOWS, ids=lambda one: str(one)[:20])
def test_nothing_is_suggested_where_nobody_knows_what_is_meant(names, name):
    assert nearest(name, names) is None
    assert did_you_mean(name, names) == ""


@pytest.mark.parametrize("names", [SPEC, LOCAL, OPENAI, METRICS, COLUMNS, tuple(COMMANDS)])
def test_one_letter_lost_is_found_again(names):
    for meant in names:
        for at in range(1, len(meant)):
            name = meant[:at] + meant[at + 1 :]
            if len(meant) > 5 and name not in names:
                assert nearest(name, names) == meant, name


def test_only_a_misspelling_is_taken_for_one():
    assert is_misspelled("n_epoch", OPENAI)
    assert not is_misspelled("lr", OPENAI)
    assert not is_misspelled("r", OPENAI)


def test_long_names_cost_nothing():
    assert nearest("x" * 100_000, ["x" * 100_000 + "y"]) is None
    assert nearest("seed", ["x" * 100_000, "seeds"]) == "seeds"


def test_what_no_terminal_may_obey_is_escaped():
    assert did_you_mean("a\x1b[2Jbcd", ["a\x1b[2Jbcde"]) == "Did you mean 'a\\x1b[2Jbcde'?"
