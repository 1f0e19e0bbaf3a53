"""Trainings in little memory: checkpointing, halved batches, 16 bits."""

import json
from importlib import import_module

import pytest

from backends.contract.errors import BackendError

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.usefixtures("one_thread"),
]
QUICK = {"num_train_epochs": 1}


@pytest.fixture
def trained(train_here):
    """Return a function that trains, and returns facts, messages and the digest of the weights."""

    def train(letter, **settings):
        run = train_here(recipe=2, fingerprint=letter * 64, **QUICK | settings)
        facts = json.loads(run.result.read_text())["facts"]
        lines = [json.loads(line) for line in run.progress.read_text().splitlines()]
        return facts, [line["message"] for line in lines if "message" in line]

    return train


@pytest.mark.parametrize("tuning", [{"lora_dropout": 0.2}, {"finetuning_type": "full"}])
def test_checkpointing_changes_no_bit(trained, tuning, monkeypatch):
    fitting = import_module("backends.local_gpu.training.start.fitting")
    switched, checkpoint_layers = [], fitting.checkpoint_layers

    def noted(model):
        checkpoint_layers(model)
        switched.append(model.is_activation_checkpointing)

    monkeypatch.setattr(fitting, "checkpoint_layers", noted)
    off, _ = trained("a", gradient_checkpointing="off", **tuning)
    assert switched == []
    on, said = trained("b", gradient_checkpointing="on", **tuning)
    assert switched == [True]
    assert on["weights_digest"] == off["weights_digest"]
    assert on["train_loss"] == off["train_loss"]
    assert not any("checkpointing" in message for message in said)


def test_checkpointing_is_switched_on_where_the_memory_asks_for_it(trained, monkeypatch):
    fitting = import_module("backends.local_gpu.training.start.fitting")
    monkeypatch.setattr(fitting, "_usable", lambda _: 1)
    facts, said = trained("a")
    assert "gradient checkpointing is on: without it, the memory would not do" in said
    assert "batches are computed in 8 parts, to fit the memory" in said
    assert facts["batch_parts"] == 8


@pytest.fixture
def little_memory(monkeypatch):
    """Return a function: from then on, more rows than that ask for more memory than there is."""
    torch, transformers = import_module("torch"), import_module("transformers")
    forward, refused = transformers.Qwen3Model.forward, []

    def limit(rows, after=0):
        steps = iter(range(10**6))

        def hungry(self, input_ids=None, **given):
            if self.training and len(input_ids) > rows and next(steps) >= after:
                refused.append(len(input_ids))
                torch.empty(2**60, dtype=torch.uint8)
            return forward(self, input_ids=input_ids, **given)

        monkeypatch.setattr(transformers.Qwen3Model, "forward", hungry)
        return refused

    return limit


@pytest.mark.parametrize("after", [0, 1])
def test_out_of_memory_halves_the_batches_and_trains_the_same(trained, little_memory, after):
    settings = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    small = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8}
    expected, _ = trained("a", **small)
    refused = little_memory(rows=2, after=after)
    facts, said = trained("b", **settings)
    # The first or the second batch of the first step, then the whole step in batches of four.
    assert refused == [8, 4]
    halved = "out of memory at step 1: from now on, batches are computed in {} parts"
    told = [message.partition(";")[0] for message in said if "out of memory" in message]
    assert told == [halved.format(2), halved.format(4)]
    assert facts["batch_parts"] == 4
    assert "batch_parts" not in expected
    assert facts["steps"] == expected["steps"]
    assert facts["weights_digest"] == expected["weights_digest"]


def test_pairs_are_halved_together_and_marked_answers_never(train_here, little_memory):
    rows = import_module("tests.backends.local_gpu.training.preferences")
    pairs = dict(method="dpo", rows=rows.pairs(), held_out=[], learning_rate=1e-3, **QUICK)
    whole = train_here(recipe=2, fingerprint="a" * 64, **pairs)
    refused = little_memory(rows=4)
    halved = train_here(recipe=2, fingerprint="b" * 64, **pairs)
    assert refused == [8]
    losses = [json.loads(run.result.read_text())["facts"]["train_loss"] for run in (whole, halved)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    marked = dict(method="kto", rows=rows.marked_answers(), held_out=[], **QUICK)
    little_memory(rows=2)
    with pytest.raises(BackendError, match="out of memory at step 1, in the smallest batches"):
        train_here(recipe=2, fingerprint="c" * 64, **marked)


def test_one_example_that_does_not_fit_ends_the_run_with_a_remedy(train_here, little_memory):
    little_memory(rows=0)
    with pytest.raises(BackendError, match="in the smallest batches") as caught:
        train_here(recipe=2, **QUICK)
    assert "Set `gradient_checkpointing: on`" in caught.value.remedy


def test_float16_scales_its_losses(trained):
    exact, _ = trained("a", num_train_epochs=3)
    facts, _ = trained("b", dtype="float16", num_train_epochs=3)
    assert facts["dtype"] == "float16"
    assert facts["held_out_loss"] < facts["held_out_loss_before"]
    assert facts["held_out_loss"] == pytest.approx(exact["held_out_loss"], rel=0.01)
    full, _ = trained("c", dtype="float16", finetuning_type="full", max_grad_norm=0.0)
    assert full["held_out_loss"] < full["held_out_loss_before"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_inputs_that_adapters_share_change_no_bit(trained, dtype, monkeypatch):
    shared, _ = trained("a", dtype=dtype)
    monkeypatch.setattr(import_module("backends.local_gpu.training.train"), "share_inputs", id)
    alone, _ = trained("b", dtype=dtype)
    assert shared["weights_digest"] == alone["weights_digest"]


def test_packed_examples_are_halved_between_documents(trained, little_tokens):
    settings = {"packing": True, "per_device_train_batch_size": 8}
    whole, _ = trained("a", **settings)
    refused = little_tokens(most=250)
    halved, said = trained("b", **settings)
    assert refused
    assert any("out of memory at step 1" in message for message in said)
    assert halved["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-5)
    assert halved["held_out_loss"] == pytest.approx(whole["held_out_loss"], rel=1e-4)


@pytest.fixture
def little_tokens(monkeypatch):
    """Return a function: from then on, more tokens ask for more memory than there is."""
    torch, transformers = import_module("torch"), import_module("transformers")
    forward, refused = transformers.Qwen3Model.forward, []

    def limit(most):
        def hungry(self, input_ids=None, **given):
            # The untrained model is measured before; packing is checked with gradients off.
            if self.training and torch.is_grad_enabled() and input_ids.numel() > most:
                refused.append(input_ids.numel())
                torch.empty(2**60, dtype=torch.uint8)
            return forward(self, input_ids=input_ids, **given)

        monkeypatch.setattr(transformers.Qwen3Model, "forward", hungry)
        return refused

    return limit
