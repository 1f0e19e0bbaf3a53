"""QLoRA, DoRA, LoRA+ and optimisers in 8 bits: what they train, and what is refused."""

import json
from importlib import import_module

import pytest

from backends.contract.errors import BackendError, HyperparametersInvalid
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.jobs import child_process

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture
def trained(train_here):
    """Return a function that trains, and returns the run and its facts."""

    def train(letter="a", **settings):
        run = train_here(recipe=2, fingerprint=letter * 64, **settings)
        return run, json.loads(run.result.read_text())["facts"]

    return train


def answers_of(run, base):
    """Return logits of the base model in full precision with a run's adapter, by plain peft."""
    torch, transformers, peft = (import_module(name) for name in ("torch", "transformers", "peft"))
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        after = peft.PeftModel.from_pretrained(model, run.model)(input_ids=ids).logits
    return before, after


def test_an_adapter_is_trained_on_a_base_in_four_bits(trained, base_folder, monkeypatch):
    fitting = import_module("backends.local_gpu.training.start.fitting")
    opened, load_model = [], fitting.load_model

    def noted(*arguments):
        opened.append(load_model(*arguments))
        return opened[-1]

    monkeypatch.setattr(fitting, "load_model", noted)
    run, facts = trained(quantization="nf4")
    packed = [one for one in opened[0].parameters() if str(one.dtype) == "torch.uint8"]
    assert len(packed) == 2 * 7
    assert facts["held_out_loss"] < facts["held_out_loss_before"]
    _, exact = trained("b")
    assert facts["held_out_loss"] == pytest.approx(exact["held_out_loss"], rel=0.05)
    # What is stored is an adapter for the base as it is, and loads in plain peft.
    before, after = answers_of(run, base_folder)
    assert float((before - after).abs().max()) > 0.01
    config = json.loads((run.model / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base_folder)


def test_dora_learns_lengths_and_loads_in_plain_peft(trained, base_folder):
    run, facts = trained(use_dora=True)
    assert facts["held_out_loss"] < facts["held_out_loss_before"]
    stored = import_module("safetensors.torch").load_file(run.model / "adapter_model.safetensors")
    assert any("lora_magnitude_vector" in name for name in stored)
    before, after = answers_of(run, base_folder)
    assert float((before - after).abs().max()) > 0.01


def test_the_second_matrix_has_its_own_rate(trained):
    load = import_module("safetensors.torch").load_file
    settings = {"num_train_epochs": 1, "lr_scheduler_type": "constant"}
    same, other = (
        load(trained(letter, **settings, **more)[0].model / "adapter_model.safetensors")
        for letter, more in (("a", {}), ("b", {"loraplus_lr_ratio": 16.0}))
    )
    names = [name for name in same if "lora_B" in name]
    growth = [float(other[name].norm() / same[name].norm()) for name in names]
    assert min(growth) > 3


def test_an_optimiser_in_eight_bits_trains_alike(trained):
    settings = {"finetuning_type": "full", "num_train_epochs": 1, "learning_rate": 1e-3}
    _, exact = trained("a", **settings)
    _, small = trained("b", optim="adamw_8bit", **settings)
    assert small["held_out_loss"] < small["held_out_loss_before"]
    assert small["held_out_loss"] == pytest.approx(exact["held_out_loss"], rel=0.02)
    assert small["weights_digest"] != exact["weights_digest"]


@pytest.mark.parametrize("settings", [{"quantization": "nf4"}, {"optim": "adamw_8bit"}])
def test_without_bitsandbytes_nothing_is_submitted(backend, make_request, settings, monkeypatch):
    find = child_process.find_spec
    monkeypatch.setattr(
        child_process, "find_spec", lambda name: None if name == "bitsandbytes" else find(name)
    )
    request = make_request(**settings)
    with pytest.raises(BackendError, match="needs bitsandbytes") as caught:
        backend.submit(request)
    assert "quantization]" in caught.value.remedy
    assert backend.find_jobs([request.fingerprint]) == {}


def test_four_bits_and_full_tuning_do_not_go_together(make_request, changed_base):
    with pytest.raises(HyperparametersInvalid) as caught:
        parse("supervised", {"finetuning_type": "full", "quantization": "nf4"})
    (problem,) = caught.value.problems
    assert (problem.field, problem.remedy) == (
        "quantization",
        "Remove it, or write `finetuning_type: lora`.",
    )
    base = changed_base()
    config = json.loads((base / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base / "config.json").write_text(json.dumps(config))
    for settings in ({"finetuning_type": "full"}, {}):
        with pytest.raises(BackendError, match="are stored quantised") as refused:
            make_request(base=base, **settings)
        assert "quantization: nf4" in refused.value.remedy
