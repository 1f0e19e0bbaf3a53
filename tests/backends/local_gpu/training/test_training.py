"""Real jobs on a tiny model: what goes in, what comes out, and what is refused."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from backends.contract.errors import BaseModelMissing
from backends.contract.jobs import JobState
from backends.contract.speed import speed_words

pytestmark = pytest.mark.torch


@pytest.fixture
def train(warm, backend, make_request, wait):
    """Return a function that trains and returns the finished job."""
    assert warm
    return lambda **settings: wait(backend.submit(make_request(**settings)))


def weights(folder, name="adapter_model"):
    return (folder / "model" / f"{name}.safetensors").read_bytes()


def test_an_adapter_is_trained_and_described(train, run_folder, backend):
    job = train(per_device_train_batch_size=5)
    assert job.state is JobState.SUCCEEDED, job.error
    facts = job.result.facts
    assert job.result.model_id == f"ft:tiny:cafe:{'a' * 16}-1"
    assert facts["steps"] == job.progress.step == 15
    assert facts["held_out_loss"] < facts["held_out_loss_before"]
    assert facts["held_out_loss"] == facts["held_out_loss_by_epoch"][-1]
    assert len(facts["held_out_loss_by_epoch"]) == 3
    assert facts["trained_tokens"] > facts["trained_labels"] > 0
    assert (facts["device"], facts["dtype"]) == ("cpu", "float32")
    folder = run_folder(job)
    present = {path.name for path in (folder / "model").iterdir()}
    assert present >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "generation_config.json",
        "metrics.json",
        "provenance.json",
        "README.md",
        "tokenizer.json",
    }
    assert not any(name.endswith((".bin", ".pt", ".pth", ".pkl")) for name in present)
    assert not (folder / "checkpoints").exists()
    adapter = json.loads((folder / "model" / "adapter_config.json").read_text())
    # Plain scaling, for tools that know no other: 32 over the square root of 16 is 128 over 16.
    assert (adapter["use_rslora"], adapter["lora_alpha"], adapter["r"]) == (False, 128, 16)
    leaves = {name.rpartition(".")[2] for name in adapter["target_modules"]}
    assert leaves == {f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")}
    lines = [event.data for event in backend.events(job.id)]
    assert [line["step"] for line in lines if line.get("held_out_loss")] == [0, 5, 10, 15]
    assert lines[-2]["step"] == 15
    assert 0 < facts["padding"] < 1
    assert facts["tflops_per_s"] > 0
    assert (facts["mfu"], facts["attention"]) == (None, "sdpa")
    *_, last = backend.events(job.id)
    assert last.message == speed_words(facts)
    assert re.fullmatch(
        r"[\d,]+ tokens/s, \d+% padding, \S+ TFLOP/s, attention by sdpa", last.message
    )


def test_the_same_request_gives_the_same_bytes_and_another_seed_does_not(train, run_folder):
    made = [train(fingerprint=letter * 64, lora_dropout=0.1, num_train_epochs=1) for letter in "ab"]
    first, second = (weights(run_folder(job)) for job in made)
    assert first == second
    assert made[0].result.facts["weights_digest"] == made[1].result.facts["weights_digest"]


def test_accumulating_gives_the_same_training_as_one_large_batch(train, run_folder):
    import torch  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    settings = {"num_train_epochs": 1, "max_grad_norm": 0.0, "learning_rate": 1e-4}
    whole = train(fingerprint="a" * 64, per_device_train_batch_size=16, **settings)
    parts = train(
        fingerprint="b" * 64,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        **settings,
    )
    assert whole.result.facts["steps"] == parts.result.facts["steps"] == 2
    assert whole.result.facts["train_loss"] == pytest.approx(
        parts.result.facts["train_loss"], rel=1e-5
    )
    one, other = (load(weights(run_folder(job))) for job in (whole, parts))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-6)


def test_a_whole_model_is_trained(train, run_folder, base_folder):
    job = train(finetuning_type="full", num_train_epochs=1, learning_rate=1e-3)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result.facts["held_out_loss"] < job.result.facts["held_out_loss_before"]
    assert weights(run_folder(job), "model") != (base_folder / "model.safetensors").read_bytes()


def test_in_bfloat16_the_adapter_stays_float32(train, run_folder):
    from safetensors.torch import load  # noqa: PLC0415

    job = train(dtype="bfloat16", num_train_epochs=1)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result.facts["dtype"] == "bfloat16"
    assert job.result.facts["held_out_loss"] < job.result.facts["held_out_loss_before"]
    assert {str(one.dtype) for one in load(weights(run_folder(job))).values()} == {"torch.float32"}


def test_nothing_is_measured_without_held_out_examples(train):
    job = train(held_out=[], num_train_epochs=1)
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result.facts["held_out_loss"] is None
    assert job.result.facts["held_out_loss_by_epoch"] == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"rows": []}, ["nothing to train on"]),
        (
            {"rows": [{"messages": [{"role": "user", "content": "x"}]}]},
            ["1 example of train.jsonl cannot be used", "data/rows.jsonl:1: nothing is learned"],
        ),
        ({"target_modules": ["c_attn"]}, ["no adapter can be put", "q_proj"]),
        ({"learning_rate": 1e-300, "num_train_epochs": 1}, ["nothing was learned"]),
    ],
)
def test_a_training_that_went_wrong_says_what_to_do(train, settings, says):
    job = train(**settings)
    assert job.state is JobState.FAILED
    assert all(words in job.error for words in says), job.error


@pytest.mark.parametrize("finetuning_type", ["lora", "full"])
def test_a_loss_that_is_no_number_ends_the_run(train, changed_base, finetuning_type):
    import torch  # noqa: PLC0415
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    base = changed_base()
    broken = load_file(base / "model.safetensors")
    broken["model.norm.weight"][0] = torch.inf
    save_file(broken, base / "model.safetensors", {"format": "pt"})
    job = train(base=base, finetuning_type=finetuning_type)
    assert job.state is JobState.FAILED
    assert "the loss became" in job.error
    assert "at step 1" in job.error
    assert "Lower `learning_rate`" in job.error


@pytest.mark.usefixtures("warm")
def test_a_base_model_changed_since_the_plan_is_refused(backend, make_request, changed_base, wait):
    base = changed_base()
    request = make_request(base=base)
    (base / "config.json").write_text((base / "config.json").read_text() + "\n")
    job = wait(backend.submit(request))
    assert job.state is JobState.FAILED
    assert "has changed since this job was planned" in job.error


@pytest.fixture
def fill_hub_cache(tmp_path, monkeypatch, base_folder):
    """A hub cache that knows a model's commit; call this and its files are there too."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = tmp_path / "hf" / "hub" / "models--acme--tiny"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("c" * 40)
    return lambda: shutil.copytree(base_folder, model / "snapshots" / ("c" * 40))


def test_a_model_of_the_hub_is_trained_from_the_cache(
    backend, make_request, wait, fill_hub_cache, run_folder
):
    base_model = backend.resolve_base_model("acme/tiny", None, Path())
    request = dataclasses.replace(make_request(num_train_epochs=1), base_model=base_model)
    with pytest.raises(BaseModelMissing) as caught:
        backend.submit(request)
    assert caught.value.remedy == f"hf download acme/tiny --revision {'c' * 40}"
    assert backend.find_jobs([request.fingerprint]) == {}
    fill_hub_cache()
    job = wait(backend.submit(request))
    assert job.state is JobState.SUCCEEDED, job.error
    assert job.result.model_id == f"ft:tiny:cafe:{'a' * 16}-1"
    adapter = json.loads((run_folder(job) / "model" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "acme/tiny"
    assert adapter["revision"] == "c" * 40
