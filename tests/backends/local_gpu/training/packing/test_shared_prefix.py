"""A beginning that all rows share, computed once: losses and gradients of the padded batch."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from backends.contract.errors import BackendError
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.batching import collate
from backends.local_gpu.training.loss import labelled_loss
from backends.local_gpu.training.packing import attention, shared_prefix
from backends.local_gpu.training.packing.self_check import start_packing, start_sharing
from backends.local_gpu.training.start import objective
from backends.local_gpu.training.tokenized_dataset import flatten
from tests.backends.local_gpu.training.packing.test_packed_rows import (
    PACKABLE,
    UNPACKABLE,
    make,
)

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
CHOSEN = "_attn_implementation"
SETTINGS = {"per_device_train_batch_size": 4}


def rows(*lengths, shared=12, answers=3):
    """Return examples that begin alike and end in an answer."""
    random = np.random.default_rng(1)
    beginning = random.integers(3, 96, shared).tolist()
    return flatten(
        Encoded(
            ids=[*beginning, *random.integers(3, 96, length).tolist()],
            learned=[False] * (shared + length - answers) + [True] * answers,
        )
        for length in lengths
    )


def trained_loss(model, loss, batch):
    """Return the losses of a batch, and the gradients that they give."""
    model.zero_grad()
    each = loss.per_token(batch)
    each.sum().backward()
    return each.detach(), {
        name: one.grad.clone() for name, one in model.named_parameters() if one.requires_grad
    }


@pytest.mark.parametrize(("name", "settings"), PACKABLE.items(), ids=PACKABLE)
def test_losses_and_gradients_are_those_of_the_padded_batch(name, settings):
    model = make(name, settings)
    loss = labelled_loss(model)
    tokens = rows(9, 4, 14, 5)
    layers = ["c_attn"] if name == "GPT2" else ["q_proj", "k_proj", "v_proj", "o_proj"]
    layers = ["qkv_proj", "o_proj"] if name == "Phi3" else layers
    start_packing(model, loss, tokens, torch.no_grad)
    config = LoraConfig(
        r=4, target_modules=layers, init_lora_weights=False, fan_in_fan_out=name == "GPT2"
    )
    adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    batch = collate(tokens, range(4))
    apart, gradients = trained_loss(adapted, loss, batch)
    loss.sharing.on = True
    assert shared_prefix.shared_row(batch, tuple(batch["labelled"])) is not None
    together, others = trained_loss(adapted, loss, batch)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    for key, gradient in gradients.items():
        torch.testing.assert_close(others[key], gradient, rtol=5e-3, atol=2e-4)


def test_every_token_is_computed_once():
    tokens = rows(9, 4, 14, 5)
    batch = collate(tokens, range(4))
    row = shared_prefix.shared_row(batch, tuple(batch["labelled"]))
    assert row.inputs["input_ids"].shape == (1, 12 + 9 + 4 + 14 + 5)
    flat, positions = row.inputs["input_ids"][0], row.inputs["position_ids"][0]
    for number in range(4):
        ids = tokens[number][0]
        places = row.place[number, : len(ids)]
        assert flat[places].tolist() == ids.tolist()
        assert positions[places].tolist() == list(range(len(ids)))


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (rows(9, 4, 14, 5, shared=2), "little is saved"),
        (rows(9), "one row"),
        (rows(3, 3, shared=1), "nothing before the answer"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_other_batches_stay_padded(tokens, why):
    del why
    batch = collate(tokens, range(len(tokens)))
    assert shared_prefix.shared_row(batch, tuple(batch["labelled"])) is None
    assert not shared_prefix.may_share(make("Llama", PACKABLE["Llama"]), tokens, SETTINGS)


def test_a_beginning_that_is_learned_is_not_shared():
    tokens = rows(9, 9, 9, 9, answers=9 + 11)
    batch = collate(tokens, range(4))
    assert shared_prefix.shared_row(batch, tuple(batch["labelled"])) is None
    assert not shared_prefix.may_share(make("Llama", PACKABLE["Llama"]), tokens, SETTINGS)


def test_a_training_that_drops_values_shares_nothing():
    tokens = rows(9, 4, 14, 5)
    llama = make("Llama", PACKABLE["Llama"])
    assert shared_prefix.may_share(llama, tokens, SETTINGS)
    assert shared_prefix.may_share(llama, tokens, {"max_tokens_per_batch": 100})
    assert not shared_prefix.may_share(llama, tokens, {"max_tokens_per_batch": 21})
    assert not shared_prefix.may_share(llama, tokens, SETTINGS | {"lora_dropout": 0.1})
    gpt2 = make("GPT2", PACKABLE["GPT2"] | {"resid_pdrop": 0.1})
    assert not shared_prefix.may_share(gpt2, tokens, SETTINGS)


def test_a_model_that_mixes_examples_keeps_its_padded_batches():
    model = make("Gemma2", UNPACKABLE["Gemma2"][0])
    loss = labelled_loss(model)
    with pytest.raises(BackendError, match="does not keep packed examples apart"):
        start_sharing(model, loss, rows(9, 4, 14, 5), torch.no_grad)
    assert not loss.sharing.on
    assert getattr(model.config, CHOSEN) != attention.NAME


def test_wrong_losses_switch_sharing_off(monkeypatch):
    model = make("Llama", PACKABLE["Llama"])
    loss = labelled_loss(model)
    right = shared_prefix.shared_row

    def wrong(batch, chosen):
        row = right(batch, chosen)
        inputs = {**row.inputs, "position_ids": row.inputs["position_ids"] * 0}
        return dataclasses.replace(row, inputs=inputs)

    monkeypatch.setattr("backends.local_gpu.training.loss.shared_row", wrong)
    with pytest.raises(BackendError, match="tokens differ by"):
        start_sharing(model, loss, rows(9, 4, 14, 5), torch.no_grad)
    assert not loss.sharing.on


def test_an_error_of_the_comparison_leaves_sharing_off_and_the_model_in_training(monkeypatch):
    model = make("Llama", PACKABLE["Llama"]).train()
    loss = labelled_loss(model)

    def fails(_batch, _chosen):
        raise RuntimeError("too little memory")

    monkeypatch.setattr("backends.local_gpu.training.loss.shared_row", fails)
    with pytest.raises(RuntimeError, match="too little memory"):
        start_sharing(model, loss, rows(9, 4, 14, 5), torch.no_grad)
    assert not loss.sharing.on
    assert model.training


def conversations(examples, count):
    system = {"role": "system", "content": "How long are you open? " * 3}
    return [{"messages": [system, *one["messages"]]} for one in examples(count)]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_with_one_system_prompt_shares_it(method, train_here, examples, monkeypatch):
    widths = []
    right = shared_prefix.shared_row

    def seen(batch, chosen):
        row = right(batch, chosen)
        if row is not None:
            widths.append((row.inputs["input_ids"].numel(), batch["input_ids"].numel()))
        return row

    monkeypatch.setattr("backends.local_gpu.training.loss.shared_row", seen)
    data = conversations(examples, 12)
    settings = {
        "rows": data,
        "held_out": data[:4],
        "num_train_epochs": 2,
        "finetuning_type": method,
    }
    settings |= {"per_device_train_batch_size": 4, "recipe": 2}
    shared = train_here(fingerprint="a" * 64, **settings)
    assert len(widths) >= 6
    assert all(one < 0.75 * padded for one, padded in widths)
    checkpointed = train_here(fingerprint="b" * 64, gradient_checkpointing="on", **settings)
    monkeypatch.setattr(objective, "may_share", lambda *_: False)
    padded = train_here(fingerprint="c" * 64, **settings)
    (name,) = (path.name for path in shared.model.glob("*.safetensors"))
    weights = [load_file(run.model / name) for run in (shared, checkpointed, padded)]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key
        torch.testing.assert_close(value, weights[2][key], rtol=5e-3, atol=5e-5)
    losses = [
        json.loads((run.model / "metrics.json").read_text())["held_out_loss"]
        for run in (shared, padded)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
