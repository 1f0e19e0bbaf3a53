"""Trainings in little memory: checkpointing, halved batches, 16 bits."""

import json
import signal
from importlib import import_module

import pytest

from backends.contract.errors import BackendError
from backends.local_gpu.jobs.run_dir import create

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


@pytest.fixture
def switched(monkeypatch):
    """Return a list that receives what the layers of each model keep."""
    fitting = import_module("backends.local_gpu.training.start.fitting")
    noted, checkpoint_layers = [], fitting.checkpoint_layers

    def note(model, way):
        checkpoint_layers(model, way)
        assert model.is_activation_checkpointing is (way != "off")
        noted.append(way)

    monkeypatch.setattr(fitting, "checkpoint_layers", note)
    return noted


@pytest.mark.parametrize(
    "tuning",
    [
        {"lora_dropout": 0.2},
        {"finetuning_type": "full"},
        {"packing": True},
        {"quantization": "nf4", "dtype": "bfloat16"},
    ],
)
def test_checkpointing_changes_no_bit(trained, tuning, switched):
    off, _ = trained("a", gradient_checkpointing="off", **tuning)
    for letter, way in (("b", "selective"), ("c", "on")):
        facts, said = trained(letter, gradient_checkpointing=way, **tuning)
        assert facts["weights_digest"] == off["weights_digest"]
        assert facts["train_loss"] == off["train_loss"]
        assert not any("checkpointing" in message for message in said)
    assert switched == ["off", "selective", "on"]


def test_selective_checkpointing_changes_no_bit_of_marked_answers(trained):
    """A step computes two batches, in 16 bits with the same casts of the weights."""
    rows = import_module("tests.backends.local_gpu.training.objectives.preferences")
    marked = {"method": "kto", "rows": rows.marked_answers(), "held_out": []}
    marked |= {"dtype": "bfloat16", "finetuning_type": "full"}
    off, _ = trained("a", gradient_checkpointing="off", **marked)
    facts, _ = trained("b", gradient_checkpointing="selective", **marked)
    assert facts["weights_digest"] == off["weights_digest"]


def stop_at(step, stop, monkeypatch):
    """Ask a training to stop when a step ends, as a signal would."""
    training = import_module("backends.local_gpu.training.train")
    ends = training.Reporter.on_step_end

    def ended(self, args, state, control, **more):
        if state.global_step == step:
            stop.receive(signal.SIGTERM, None)
        ends(self, args, state, control, **more)

    monkeypatch.setattr(training.Reporter, "on_step_end", ended)


def test_a_training_continues_with_another_checkpointing(make_request, tmp_path, monkeypatch):
    training = import_module("backends.local_gpu.training.train")
    monkeypatch.setenv("FTCTL_CHECKPOINT_SECONDS", "0")
    settings = {"per_device_train_batch_size": 8, "lora_dropout": 0.1, "num_train_epochs": 2}
    ended = []
    for letter, *choices in (("a", "off"), ("b", "selective", "on", "selective")):
        for place, choice in enumerate(choices, start=1):
            request = make_request(letter * 64, gradient_checkpointing=choice, **settings)
            run = create(tmp_path / "state", request)
            stop = training.Stop(cancel=run.cancel)
            last = place == len(choices)
            with monkeypatch.context() as patch:
                if not last:
                    stop_at(2 * place, stop, patch)
                assert training.train(run, stop) is last
        ended.append(run)
    straight, continued = (json.loads(run.result.read_text())["facts"] for run in ended)
    assert "resumed from checkpoint-4" in ended[1].progress.read_text()
    for key in ("weights_digest", "train_loss", "held_out_loss", "steps"):
        assert continued[key] == straight[key], key


def test_checkpointing_is_switched_on_where_the_memory_asks_for_it(trained, monkeypatch, switched):
    fitting = import_module("backends.local_gpu.training.start.fitting")
    monkeypatch.setattr(fitting, "_usable", lambda _: 1)
    facts, said = trained("a")
    assert "gradient checkpointing is on: without it, the memory would not do" in said
    assert "batches are computed in 8 parts, to fit the memory" in said
    assert facts["batch_parts"] == 8
    assert switched == ["on"]


def test_selective_checkpointing_is_taken_where_it_is_enough(trained, monkeypatch, switched):
    fitting = import_module("backends.local_gpu.training.start.fitting")
    fit, found = fitting.fit, []

    def seen(*given):
        found.append(fit(*given))
        return found[-1]

    monkeypatch.setattr(fitting, "fit", seen)
    trained("a", gradient_checkpointing="selective")
    enough = found[0].need.total
    monkeypatch.setattr(fitting, "_usable", lambda _: enough)
    facts, said = trained("b")
    assert "selective gradient checkpointing is on: without it, the memory would not do" in said
    assert "batch_parts" not in facts
    assert switched == ["selective", "selective"]


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
    rows = import_module("tests.backends.local_gpu.training.objectives.preferences")
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
