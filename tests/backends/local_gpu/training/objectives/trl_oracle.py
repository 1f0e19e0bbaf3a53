"""Write `trl_losses.json`: what TRL's trainers make of the batches in `preferences`.

Needs TRL, which no test installs:

    python -m venv /tmp/trl && /tmp/trl/bin/pip install trl torch transformers
    PYTHONPATH=. /tmp/trl/bin/python tests/backends/local_gpu/training/objectives/trl_oracle.py

TRL tokenises, pairs and pads by itself, so the numbers stand for all of that too.
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.backends.local_gpu.training.objectives.preferences import (
    become_policy,
    formula_base,
    marked_answers,
    pairs,
)

OUT = Path(__file__).with_name("trl_losses.json")
COMMON = {
    "per_device_train_batch_size": 4,
    "max_length": None,
    "gradient_checkpointing": False,
    "bf16": False,
    "use_cpu": True,
    "report_to": "none",
}
DPO = [("sigmoid", 0.1), ("sigmoid", 0.5), ("sigmoid_norm", 2.0), ("ipo", 0.1)]
KTO = [(0.1, 1.0, 1.0), (0.5, 1.33, 0.75)]


def models(base):
    policy = AutoModelForCausalLM.from_pretrained(base)
    become_policy(policy)
    return policy, AutoModelForCausalLM.from_pretrained(base)


def tokenizer_of(base):
    return PreTrainedTokenizerFast(
        tokenizer_file=str(base / "tokenizer.json"),
        chat_template=(base / "chat_template.jinja").read_text(),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )


def measured(trainer):
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = [one.grad.norm() for one in trainer.model.parameters() if one.grad is not None]
    # TRL tells them only in averages of its log.
    shown = vars(trainer)["_metrics"]["train"]
    logged = {key: values[-1] for key, values in shown.items()}
    return {"loss": float(loss), "gradient": float(torch.stack(gradients).norm())}, logged


def main():
    with tempfile.TemporaryDirectory() as folder:
        base = formula_base(Path(folder) / "base")
        found = {"trl": trl.__version__, "dpo": [], "kto": []}
        rows = Dataset.from_list(
            [
                {
                    "prompt": one["input"]["messages"],
                    "chosen": one["preferred_output"],
                    "rejected": one["non_preferred_output"],
                }
                for one in pairs()
            ]
        )
        for loss_type, beta in DPO:
            policy, reference = models(base)
            trainer = trl.DPOTrainer(
                model=policy,
                ref_model=reference,
                args=trl.DPOConfig(
                    output_dir=f"{folder}/out", loss_type=[loss_type], beta=beta, **COMMON
                ),
                train_dataset=rows,
                processing_class=tokenizer_of(base),
            )
            numbers, logged = measured(trainer)
            found["dpo"].append(
                {
                    "loss_type": loss_type,
                    "beta": beta,
                    **numbers,
                    "accuracy": logged["rewards/accuracies"],
                    "margin": logged["rewards/margins"],
                }
            )
        rows = Dataset.from_list(
            [
                {
                    "prompt": one["input"]["messages"],
                    "completion": one["output"],
                    "label": one["label"],
                }
                for one in marked_answers()
            ]
        )
        for beta, desirable, undesirable in KTO:
            policy, reference = models(base)
            weights = {"desirable_weight": desirable, "undesirable_weight": undesirable}
            trainer = trl.KTOTrainer(
                model=policy,
                ref_model=reference,
                args=trl.KTOConfig(output_dir=f"{folder}/out", beta=beta, **weights, **COMMON),
                train_dataset=rows,
                processing_class=tokenizer_of(base),
            )
            numbers, logged = measured(trainer)
            found["kto"].append({"beta": beta, **weights, **numbers, "kl": logged["kl"]})
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(OUT.read_text())


if __name__ == "__main__":
    main()
