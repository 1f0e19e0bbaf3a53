"""Every hyperparameter of local-gpu is part of a build's identity, and the trainer reads it."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from backends.local_gpu import hyperparameters as local

ROOT = Path(__file__).parents[3]
LOCAL = {
    "finetuning_type": "full",
    "num_train_epochs": 5,
    "learning_rate": 1e-5,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 2,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "dtype": "float32",
    "gradient_checkpointing": "on",
    "packing": True,
    "max_tokens_per_batch": 4096,
    "optim": "adamw_8bit",
    "quantization": "nf4",
    "use_dora": True,
    "loraplus_lr_ratio": 16.0,
    "chat_template": "chatml",
    "thinking": "on",
    "max_length": 64,
    "r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "use_rslora": False,
    "target_modules": ["q_proj"],
    "target_parameters": ["experts.down_proj"],
    "exclude_modules": ["k_proj"],
    "layers_to_transform": [1],
    "modules_to_save": ["lm_head"],
    "beta": 0.3,
    "loss_type": "ipo",
    "desirable_weight": 1.5,
    "undesirable_weight": 1.5,
    "max_steps": 7,
    "eval_steps": 7,
    "early_stopping": {"patience": 2},
    "early_stopping.patience": 2,
    "early_stopping.min_delta": 0.5,
}
METHODS_OF = {"max_length": "continued-pretraining", "beta": "dpo", "loss_type": "dpo"}
METHODS_OF |= dict.fromkeys(("desirable_weight", "undesirable_weight"), "kto")


def test_every_local_hyperparameter_has_a_case():
    models = (one for one in vars(local).values() if isinstance(one, type))
    own = [one for one in models if issubclass(one, BaseModel) and one is not BaseModel]
    known = {name.rpartition(".")[2] for name in LOCAL}
    assert {name for model in own for name in model.model_fields} == known


@pytest.mark.parametrize("name", LOCAL)
def test_a_local_hyperparameter_is_part_of_the_identity_and_read_by_the_trainer(name):
    method = METHODS_OF.get(name, "supervised")
    outer, _, name = name.rpartition(".")
    written = {name: LOCAL[f"{outer}.{name}" if outer else name]}
    before, after = ({outer: {}}, {outer: written}) if outer else ({}, written)
    assert local.parse(method, after) != local.parse(method, before)
    folder = ROOT / "backends/local_gpu"
    readers = [path for path in folder.rglob("*.py") if path.name != "hyperparameters.py"]
    assert any(f'"{name}"' in path.read_text() for path in readers), "nothing reads it"
