"""Whole trainings with packed and filled batches."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from backends.contract.errors import BackendError, HyperparametersInvalid
from backends.local_gpu.jobs.run_dir import create
from backends.local_gpu.training import train as training
from backends.local_gpu.training.packing.self_check import start_packing
from backends.local_gpu.training.start import examples as start_examples
from backends.local_gpu.training.start import objective as start_objective

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

SETTINGS = {"num_train_epochs": 2, "learning_rate": 1e-3, "max_grad_norm": 0.0}


def weights(run):
    return load_file(run.model / "adapter_model.safetensors")


def facts(run):
    return json.loads((run.model / "metrics.json").read_text())


def assert_alike(one, other):
    assert facts(one)["train_loss"] == pytest.approx(facts(other)["train_loss"], rel=1e-5)
    found = weights(other)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(tensor, found[name], rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("method", ["supervised", "continued-pretraining"])
def test_packing_trains_as_padding_does(train_here, method, examples, one_thread):
    del one_thread
    texts = [{"text": "카페 hours " * (1 + number % 5)} for number in range(12)]
    rows = examples(12) if method == "supervised" else texts
    more = {"max_length": 64} if method == "continued-pretraining" else {}
    made = [
        train_here(
            recipe=2, method=method, rows=rows, held_out=rows[:3], fingerprint=letter * 64,
            packing=packing, per_device_train_batch_size=4, **more, **SETTINGS,
        )
        for letter, packing in (("a", False), ("b", True))
    ]  # fmt: skip
    assert_alike(*made)
    assert facts(made[0])["held_out_loss"] == pytest.approx(
        facts(made[1])["held_out_loss"], rel=1e-4
    )
    assert facts(made[1])["padding"] == 0.0
    assert 0 < facts(made[0])["padding"] < 1


def test_accumulating_uneven_packed_batches_gives_one_large_batch(train_here, examples, one_thread):
    del one_thread
    rows = examples(11)
    settings = {"rows": rows, "packing": True, "recipe": 2} | SETTINGS
    whole = train_here(fingerprint="a" * 64, max_tokens_per_batch=4096, **settings)
    parts = train_here(
        fingerprint="b" * 64, max_tokens_per_batch=128, gradient_accumulation_steps=64, **settings
    )
    assert facts(whole)["steps"] == facts(parts)["steps"] == 2
    assert_alike(whole, parts)


@pytest.mark.parametrize("packing", [False, True])
def test_a_training_with_filled_batches_resumes_exactly(
    make_request, tmp_path, examples, packing, monkeypatch, one_thread
):
    del one_thread
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    made = []
    for letter in "ab":
        request = make_request(
            fingerprint=letter * 64, rows=examples(24), packing=packing, lora_dropout=0.1,
            max_tokens_per_batch=100, gradient_accumulation_steps=2, num_train_epochs=2,
        )  # fmt: skip
        run = create(tmp_path / "state", request)
        stop = training.Stop(cancel=run.cancel)
        if letter == "b":
            stop_after(stop, 5, monkeypatch)
            assert not training.train(run, stop)
            monkeypatch.undo()
            monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
            # Nothing is encoded again: the tokens are on the disk.
            monkeypatch.setattr(start_examples, "encode_file", pytest.fail)
            stop = training.Stop(cancel=run.cancel)
        assert training.train(run, stop)
        made.append(run)
    straight, resumed = made
    assert not resumed.tokens.exists()
    assert "resumed from checkpoint-5" in resumed.progress.read_text()
    found = weights(resumed)
    for name, tensor in weights(straight).items():
        assert torch.equal(tensor, found[name])
    for key in ("steps", "train_loss", "held_out_loss", "padding", "trained_tokens"):
        assert facts(straight)[key] == facts(resumed)[key]


def stop_after(stop, step, monkeypatch):
    """Ask the training to stop when a step ends, as a signal would."""
    ends = training.Reporter.on_step_end

    def ended(self, args, state, control, **more):
        if state.global_step == step:
            stop.receive(15, None)
        ends(self, args, state, control, **more)

    monkeypatch.setattr(training.Reporter, "on_step_end", ended)


def test_packing_needs_no_example_longer_than_a_batch(train_here, examples):
    with pytest.raises(
        BackendError, match=r"data/rows.jsonl:1: \d+ tokens, and a batch has"
    ) as caught:
        train_here(recipe=2, rows=examples(3), max_tokens_per_batch=8, packing=True)
    assert "max_tokens: 8" in caught.value.remedy


def test_the_plan_names_the_limit_of_a_batch(backend, make_request):
    request = make_request(max_tokens_per_batch=100)
    inspector = backend.inspector(request.base_model, "supervised", request.hyperparameters)
    assert inspector.limits.max_tokens == 100
    assert "max_tokens_per_batch" in inspector.limits.max_tokens_of
    plain = dataclasses.replace(inspector, max_tokens_per_batch=None)
    assert plain.limits.max_tokens == 128
    assert plain.identity != inspector.identity
    assert dataclasses.replace(inspector, max_tokens_per_batch=4096).limits.max_tokens == 128


def test_the_plan_refuses_packing_where_examples_would_see_each_other(
    backend, make_request, changed_base, base_folder
):
    config = json.loads((base_folder / "config.json").read_text())
    base = changed_base(config__json=config | {"layer_types": ["linear_attention"] * 2})
    request = make_request(base=base, packing=True)
    with pytest.raises(HyperparametersInvalid) as caught:
        backend.inspector(request.base_model, "supervised", request.hyperparameters)
    (problem,) = caught.value.problems
    assert problem.field == "packing"
    assert "layers of linear_attention" in problem.message
    grouped = make_request(base=base, max_tokens_per_batch=64).hyperparameters
    backend.inspector(request.base_model, "supervised", grouped)


def test_a_run_whose_model_does_not_keep_examples_apart_stops_with_words(
    train_here, monkeypatch, examples
):
    def leaking(model, loss, tokens, precision):
        monkeypatch.setattr(type(model), "_supports_attention_backend", False)
        start_packing(model, loss, tokens, precision)

    monkeypatch.setattr(start_objective, "start_packing", leaking)
    with pytest.raises(BackendError, match="does not keep packed examples apart"):
        train_here(recipe=2, rows=examples(4), packing=True)
