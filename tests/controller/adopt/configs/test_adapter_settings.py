"""Settings of adapters, as peft of several versions and other tools write them, become a spec."""

import pytest

from controller.adopt.configs import adapter
from controller.adopt.configs.translation import Fate
from controller.adopt.spec_text import spec_text

BASE = {"base_model_name_or_path": "acme/base", "peft_type": "LORA", "task_type": "CAUSAL_LM"}
ALL = {
    "finetuning_type": "lora",
    "r": 8,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "use_rslora": False,
}
"""What an adapter is where its settings say nothing else."""


def translate(settings, state=None):
    return adapter.translate({**BASE, **settings}, state, "adapter_config.json", lambda _: None)


def fates(found):
    return {line.key: line.fate for line in found.lines}


@pytest.mark.parametrize(
    ("settings", "hyperparameters"),
    [
        ({}, ALL),
        (
            {"r": 64, "lora_alpha": 16, "lora_dropout": 0.05, "use_rslora": True},
            {**ALL, "r": 64, "lora_alpha": 16, "lora_dropout": 0.05, "use_rslora": True},
        ),
        # peft saves a set of names, in another order with every run.
        ({"target_modules": ["v_proj", "k_proj"]}, {**ALL, "target_modules": ["k_proj", "v_proj"]}),
        ({"target_modules": "all-linear"}, {**ALL, "target_modules": "all-linear"}),
        ({"target_modules": r".*\.q_proj"}, {**ALL, "target_modules": r".*\.q_proj"}),
        ({"modules_to_save": ["embed_tokens"]}, {**ALL, "modules_to_save": ["embed_tokens"]}),
        ({"exclude_modules": r"vision.*"}, {**ALL, "exclude_modules": r"vision.*"}),
        ({"exclude_modules": ["lm_head"]}, {**ALL, "exclude_modules": ["lm_head"]}),
        ({"layers_to_transform": 3}, {**ALL, "layers_to_transform": [3]}),
        ({"layers_to_transform": [1, 2]}, {**ALL, "layers_to_transform": [1, 2]}),
        ({"target_parameters": ["experts.w1"]}, {**ALL, "target_parameters": ["experts.w1"]}),
    ],
)
def test_settings_become_hyperparameters(settings, hyperparameters):
    found = translate(settings)
    assert found.hyperparameters == hyperparameters
    assert found.problems == ()
    assert {fates(found)[key] for key in settings} <= {Fate.TRANSLATED}
    assert (found.base_model, found.revision) == ("acme/base", None)


@pytest.mark.parametrize(
    ("settings", "fate"),
    [
        ({"rank_pattern": {"q_proj": 32}}, Fate.LOST),
        ({"rank_pattern": {}}, None),
        ({"alpha_pattern": {"q_proj": 64}}, Fate.LOST),
        ({"init_lora_weights": "pissa"}, Fate.LOST),
        ({"init_lora_weights": True}, Fate.IDLE),
        ({"loftq_config": {"loftq_bits": 4}}, Fate.LOST),
        ({"loftq_config": {}}, None),
        ({"layers_pattern": "layers"}, Fate.LOST),
        ({"fan_in_fan_out": True}, Fate.IDLE),
        ({"bias": "none"}, None),
        ({"bias": "all"}, Fate.UNKNOWN),
        ({"use_bdlora": {"target": 4}}, Fate.UNKNOWN),  # of a later peft
        ({"use_bdlora": None}, None),
        ({"corda_config": None}, None),
    ],
)
def test_every_setting_that_says_something_is_named(settings, fate):
    assert fates(translate(settings)).get(next(iter(settings))) is fate


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": "many"}, "must be a number, not 'many'"),
        ({"r": 8.5}, "must be a whole number, not 8.5"),
        ({"lora_alpha": [16]}, "must be a number, not [16]"),
        ({"use_rslora": 2}, "must be true or false, not 2"),
        ({"base_model_name_or_path": ["acme/base"]}, "must be a text, not [acme/base]"),
        ({"modules_to_save": [1]}, "must be a list of names, not [1]"),
    ],
)
def test_a_setting_of_another_type_is_a_problem_of_its_key(settings, said):
    (problem,) = set(translate(settings).problems)
    assert (problem.file, problem.field) == ("adapter_config.json", next(iter(settings)))
    assert problem.message == said


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (None, []),
        ({}, []),
        ({"global_step": None, "epoch": "2", "log_history": "none"}, []),
        ({"log_history": [{"eval_loss": 1.0}, "x", {"loss": "low"}]}, []),
        ({"global_step": 300}, ["Its trainer's state tells: steps 300."]),
        (
            {
                "global_step": 300,
                "epoch": 2.96,
                "log_history": [{"loss": 2.5}, {"loss": 0.75, "step": 290}, {"eval_loss": 1.1}],
            },
            ["Its trainer's state tells: steps 300, epochs 2.96, last loss 0.75."],
        ),
    ],
)
def test_what_a_trainer_left_is_told(state, told):
    assert list(translate({}, state).told) == told


STATE = {"global_step": 300}
RICH = {"r": 16, "target_modules": ["v_proj"], "revision": "abc", "rank_pattern": {"v_proj": 4}}


def test_an_adapter_with_data_is_a_spec_of_its_training(golden):
    found = translate(RICH, STATE)
    spec = adapter.supervised_spec(
        found, name="cafe", folder="카페-lora", base_model="acme/base", has_held_out=False
    )
    golden("adopt/adapter-with-data.yaml", spec_text(spec))
    spec = adapter.supervised_spec(
        found, name="cafe", folder="카페-lora", base_model="acme/base", has_held_out=True
    )
    assert spec.values["data"]["held_out"] == [{"path": "data/cafe.held-out.jsonl"}]
    assert "flatter" not in spec_text(spec)
    plain = adapter.supervised_spec(
        translate({}), name="cafe", folder="x", base_model="acme/base", has_held_out=True
    )
    assert list(plain.values) == ["backend", "base_model", "data", "hyperparameters"]


@pytest.mark.parametrize(
    ("base", "shown"),
    [
        ("acme/base", "An adapter of acme/base:"),
        ("/srv/alice/base-8b", "An adapter of base-8b:"),
        ("../secret/base", "An adapter of base:"),
        ("~/models/base", "An adapter of base:"),
    ],
)
def test_an_adapter_without_data_is_asked_and_its_settings_are_a_comment(base, shown):
    found = translate({**RICH, "base_model_name_or_path": base}, STATE)
    spec = adapter.prompt_spec(
        found, name="cafe", folder="카페-lora", model_id="ft:base:cafe:1", has_held_out=False
    )
    text = spec_text(spec)
    assert spec.values == {
        "backend": "local-gpu",
        "base_model": "ft:base:cafe:1",
        "method": "prompt",
    }
    assert text.startswith("# Adopted from the adapter in 카페-lora.\n")
    assert (
        f"# {shown} r 16, lora_alpha 8, lora_dropout 0.0, use_rslora false, target_modules" in text
    )
    assert "alice" not in text
    assert "secret" not in text
    measured = adapter.prompt_spec(
        found, name="cafe", folder="x", model_id="ft:base:cafe:1", has_held_out=True
    )
    assert measured.values["data"] == {"held_out": [{"path": "data/cafe.held-out.jsonl"}]}


def test_of_an_adapter_that_is_only_asked_nothing_is_lost():
    lines = {line.key: line for line in adapter.as_it_is(translate(RICH).lines)}
    assert Fate.LOST not in {line.fate for line in lines.values()}
    assert lines["rank_pattern"].text == "is in the weights"
    assert lines["r"].text == "is in the adapter; a comment of the spec says it"
    assert lines["revision"].text == "revision: 'abc'"


def test_files_that_nothing_reads_are_named():
    names = ["README.md", "adapter_config.json", "adapter_model.safetensors", "trainer_state.json"]
    assert [one.key for one in adapter.left_out([*names, "optimizer.pt"])] == ["optimizer.pt"]
