"""Small models, and the loss of each method over a few examples, for tests of tiles."""

import numpy as np
import torch
import transformers
from peft import LoraConfig, get_peft_model

from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.batching import collate
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.objectives.marked import Marked, MarkedLoss
from backends.local_gpu.training.objectives.pairs import PairLoss, Pairs
from backends.local_gpu.training.tokenized_dataset import flatten

SIZES = {
    "vocab_size": 70,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
MODELS = {
    "Qwen3": {"head_dim": 8},
    "Llama": {"tie_word_embeddings": True},
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 1.0},
    "Cohere": {"logit_scale": 0.5},
    "Granite": {"logits_scaling": 4.0},
}


def made(name, training):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | MODELS[name])
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)  # logits as large as a trained model's
    loss = labelled_loss(model)
    if training == "full":
        return loss, model
    targets = ["q_proj", "v_proj", *(["lm_head"] if training == "lora and output" else [])]
    model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    return loss, model.eval()


def rows():
    random = torch.Generator().manual_seed(1)
    found = []
    for length in (9, 6, 11, 5):
        ids = torch.randint(3, 70, (length,), generator=random).tolist()
        found.append(Encoded(ids=ids, learned=[False] * 2 + [True] * (length - 2)))
    return flatten(found)


def objectives(loss):
    tokens, known = rows(), np.array([-20.0, -11.0, -30.0, -9.0])
    pairs = Pairs(rows=tokens, reference=known)
    marked = Marked(
        rows=tokens,
        good=np.array([True, False, True, False]),
        reference=known,
        others=tokens,
        other_reference=known - 1,
    )
    weights = {"desirable_weight": 1.0, "undesirable_weight": 0.5}
    return {
        "supervised": lambda: loss.total(collate(tokens, [0, 1, 2, 3])),
        "dpo": lambda: (
            PairLoss(loss=loss, train=pairs, held_out=pairs, loss_type="sigmoid", beta=0.1)
            .outcome(pairs.collate([0, 1]))
            .total
        ),
        "kto": lambda: (
            MarkedLoss(loss=loss, train=marked, held_out=marked, beta=0.1, **weights)
            .outcome(marked.collate([0, 1, 2, 3]))
            .total
        ),
    }


def measured(model, total):
    model.zero_grad()
    found = total()
    found.backward()
    learning = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return found.detach(), learning
