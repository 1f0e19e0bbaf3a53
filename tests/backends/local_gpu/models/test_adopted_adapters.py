"""Adapters that plain peft trained, taken over as runs and asked."""

import json
import shutil
from dataclasses import replace
from importlib import import_module

import pytest

from backends.contract.completions import Prompt, Sampling
from backends.contract.errors import BackendError, BaseModelMissing
from backends.contract.jobs import JobState
from backends.local_gpu.models.adopted_adapters import CONFIG, WEIGHTS
from tests.tiny_base import TEMPLATE, make_base
from tests.tiny_models.families import make_family
from tests.tiny_models.foreign_adapter import make_adapter

pytestmark = pytest.mark.torch
QUESTION = Prompt(messages=[{"role": "user", "content": "How long are you open?"}])


@pytest.fixture(scope="session")
def adapter(base_folder, tmp_path_factory):
    return make_adapter(base_folder, tmp_path_factory.mktemp("foreign") / "cafe")


@pytest.fixture
def request_(make_request):
    return make_request(r=4, lora_alpha=8, use_rslora=False)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def copy_of(adapter, folder, **changes):
    shutil.copytree(adapter, folder)
    config = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def answers(backend, base_model, models):
    sampling = Sampling(max_tokens=6)
    found = backend.complete(base_model, models, [QUESTION], sampling)
    return {one.model: one.completion.text for one in found}


def test_an_adapter_becomes_an_ended_run_and_stays_as_it_was(backend, request_, adapter):
    before = files_of(adapter)
    job = backend.take_over(request_, adapter)
    assert job.state is JobState.SUCCEEDED
    assert job.result.model_id == "ft:tiny:cafe:aaaaaaaaaaaaaaaa-1"
    adopted = job.result.facts["adopted"]
    assert adopted["files"].keys() == {CONFIG, WEIGHTS}
    assert adopted["verified"][-1].startswith("all 4 layers of the adapter are in")
    assert "remarks" not in adopted
    assert backend.find_jobs([request_.fingerprint])[request_.fingerprint] == (job,)
    assert backend.take_over(request_, adapter) == job
    assert files_of(adapter) == before


@pytest.mark.usefixtures("warm")
def test_the_adapter_answers_otherwise_than_its_base_model(backend, request_, adapter):
    model = backend.take_over(request_, adapter).result.model_id
    base, tuned = answers(backend, request_.base_model, [None, model]).values()
    assert base != tuned
    # As the base model of a prompt, it is asked under no other name.
    alone = backend.resolve_base_model(model, None, adapter)
    assert answers(backend, alone, [None]) == {0: tuned}
    engine = backend.open_engine(alone)
    try:
        pieces = list(engine.generate(None, QUESTION, Sampling(max_tokens=6)))
    finally:
        engine.close()
    assert "".join(piece.text for piece in pieces) == tuned


UNUSUAL = {
    "whole layer": ("gpt-oss", {"modules_to_save": ["lm_head"]}, "all 5 layers of the adapter"),
    "shared weights": (None, {"modules_to_save": ["lm_head"]}, "all 4 layers of the adapter"),
    "experts": ("gpt-oss", {"target_parameters": ["experts.down_proj"]}, "all 4 layers"),
    "both kinds of experts": (
        "qwen3-moe",
        {"target_parameters": ["experts.down_proj", "experts.gate_up_proj"]},
        "all 4 layers",
    ),
}


@pytest.mark.usefixtures("warm", "one_thread")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
@pytest.mark.parametrize("name", UNUSUAL)
def test_whole_layers_and_experts_of_an_adapter_answer_as_in_peft(
    backend, make_request, base_folder, tmp_path, name
):
    family, settings, verified = UNUSUAL[name]
    base = base_folder if family is None else make_family(family, tmp_path / "base")
    folder = make_adapter(base, tmp_path / "foreign", **settings)
    request = make_request(base=base, r=4, lora_alpha=8, use_rslora=False)
    job = backend.take_over(request, folder)
    adopted = job.result.facts["adopted"]
    assert adopted["verified"][-1].startswith(verified)
    remarks = " ".join(adopted.get("remarks", []))
    assert ("experts were not compared" in remarks) is ("target_parameters" in settings)
    assert ("no merged form" in remarks) is (name == "shared weights")
    base_said, tuned = answers(backend, request.base_model, [None, job.result.model_id]).values()
    assert tuned == said_by_peft(base, folder) != base_said


def said_by_peft(base, folder):
    peft, torch, transformers = map(import_module, ("peft", "torch", "transformers"))
    reader = import_module("backends.local_gpu.tokens.chat_tokens").load_chat(base, None)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(plain, folder).eval()
    asked = {"messages": [*QUESTION.messages]}
    ids = torch.tensor([reader.prompt(asked)])
    made = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False
    )
    return reader.parse(made[0, ids.shape[1] :].tolist(), asked).text


def test_what_was_adopted_is_never_trained(backend, request_, adapter, tmp_path):
    backend.take_over(request_, adapter)
    assert backend.submit(request_).state is JobState.SUCCEEDED
    # A crash before the request was written leaves nothing that a submission would train.
    run = tmp_path / "state/runs/aaaaaaaaaaaaaaaa-1"
    (run / "request.json").unlink()
    assert backend.find_jobs([request_.fingerprint]) == {}
    assert backend.take_over(request_, adapter).state is JobState.SUCCEEDED


def test_a_trained_model_is_a_base_for_training(backend, request_, adapter):
    model = backend.take_over(request_, adapter).result.model_id
    alone = backend.resolve_base_model(model, None, adapter)
    assert backend.recipes(alone, "supervised", {})


def test_the_identity_of_a_trained_model_is_its_contents(backend, request_, adapter, tmp_path):
    model = backend.take_over(request_, adapter).result.model_id
    before = backend.resolve_base_model(model, None, tmp_path).identity
    config = tmp_path / "state/runs/aaaaaaaaaaaaaaaa-1/model" / CONFIG
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 9'))
    assert backend.resolve_base_model(model, None, tmp_path).identity != before
    with pytest.raises(BaseModelMissing, match="this machine has no model ft:tiny:cafe:b"):
        backend.resolve_base_model("ft:tiny:cafe:bbbbbbbbbbbbbbbb-1", None, tmp_path)


@pytest.mark.parametrize("name", ["optimizer.safetensors", "best.safetensors"])
def test_other_weights_beside_an_adapter_are_not_its_own(
    backend, request_, adapter, tmp_path, name
):
    plain = backend.take_over(replace(request_, fingerprint="ft1:" + "b" * 64), adapter)
    folder = copy_of(adapter, tmp_path / "trained")
    # A training of another program leaves more than the adapter.
    other = (adapter / WEIGHTS).read_bytes()
    (folder / name).write_bytes(other if "best" in name else other.replace(b"lora_A", b"lara_A"))
    job = backend.take_over(request_, folder)
    assert job.result.facts["weights_digest"] == plain.result.facts["weights_digest"]
    assert backend.take_over(request_, folder) == job


def test_another_adapter_of_the_same_inputs_is_refused(
    backend, request_, adapter, base_folder, tmp_path
):
    backend.take_over(request_, adapter)
    other = make_adapter(base_folder, tmp_path / "other", seed=1)
    with pytest.raises(BackendError, match="has another model of the same inputs"):
        backend.take_over(request_, other)


def test_an_adapter_of_another_base_model_is_refused(backend, request_, adapter, tmp_path):
    other = make_base(tmp_path / "wide", hidden_size=32)
    base = backend.resolve_base_model(str(other), None, tmp_path)
    with pytest.raises(BackendError, match=r"does not fit .*wide: .*q_proj.* another size"):
        backend.take_over(replace(request_, base_model=base), adapter)


def test_another_chat_template_is_told(backend, request_, adapter, tmp_path):
    folder = copy_of(adapter, tmp_path / "own")
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("im_start", "start"))
    adopted = backend.take_over(request_, folder).result.facts["adopted"]
    assert ["chat template" in one for one in adopted["remarks"]] == [True]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "kind 'PROMPT_TUNING', and only LORA"),
        ({"task_type": "SEQ_CLS"}, "an adapter for 'SEQ_CLS'"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias: the adapter has biases"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(backend, request_, adapter, tmp_path, changes, said):
    with pytest.raises(BackendError, match=said):
        backend.take_over(request_, copy_of(adapter, tmp_path / "odd", **changes))
    assert not (tmp_path / "state/runs").exists()


def test_weights_that_are_no_adapter_are_refused(backend, request_, adapter, tmp_path):
    folder = copy_of(adapter, tmp_path / "odd")
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole.replace(b"lora_A", b"lara_A"))
    with pytest.raises(BackendError, match="not half of a LoRA pair"):
        backend.take_over(request_, folder)
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(BackendError, match="is a pickle, which can run code") as error:
        backend.take_over(request_, folder)
    assert "weights_only=True" in error.value.remedy
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(BackendError, match=f"has no {WEIGHTS}"):
        backend.take_over(request_, folder)
    (folder / CONFIG).unlink()
    with pytest.raises(BackendError, match=f"{CONFIG} is missing"):
        backend.take_over(request_, folder)
