"""Adapters of other programs by their files: what is taken over, and what is told of it."""

import json
import struct

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, TrainRequest
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.adopted_adapters import (
    CONFIG,
    WEIGHTS,
    require_adapter,
    take_over,
)

PREFIX = "base_model.model."
Q, V = "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"
BASE = {
    "model.embed_tokens.weight": (100, 8),
    f"{Q}.weight": (6, 8),
    f"{V}.weight": (4, 8),
    "lm_head.weight": (100, 8),
}
OWN = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "base_model_name_or_path": "x"}


def header(file, tensors):
    parts = {
        name: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]}
        for name, shape in tensors.items()
    }
    text = json.dumps(parts).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text)


def pair(layer, out, into, rank=2):
    return {
        f"{PREFIX}{layer}.lora_A.weight": (rank, into),
        f"{PREFIX}{layer}.lora_B.weight": (out, rank),
    }


PAIRS = pair(Q, 6, 8) | pair(V, 4, 8)


@pytest.fixture
def base(tmp_path):
    """Return a function that writes a base model's files."""

    def write(tensors=BASE, **config):
        folder = tmp_path / "base"
        header(folder / "model.safetensors", tensors)
        settings = {"model_type": "llama", "tie_word_embeddings": False, **config}
        (folder / "config.json").write_text(json.dumps(settings))
        (folder / "tokenizer.json").write_text('{"added_tokens": []}')
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        return folder

    return write


@pytest.fixture
def adapter(tmp_path):
    """Return a function that writes an adapter's files."""

    def write(tensors=PAIRS, name="adapter", **config):
        folder = tmp_path / name
        header(folder / WEIGHTS, tensors)
        (folder / CONFIG).write_text(json.dumps(OWN | config))
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        return folder

    return write


@pytest.fixture
def adopt(tmp_path, base):
    """Return a function that takes an adapter over, and returns its run and what was verified."""

    def run(folder, base_folder=None):
        empty = tmp_path / "empty.jsonl"
        empty.write_text("")
        reference = str(base_folder or base())
        request = TrainRequest(
            name="cafe",
            fingerprint="ft1:" + "a" * 64,
            attempt=1,
            base_model=BaseModel(reference=reference, revision=None, identity="sha256:1"),
            method="supervised",
            hyperparameters=parse("supervised", {}),
            seed=1,
            train=empty,
            held_out=empty,
            train_origins=empty,
        )
        made = take_over(tmp_path / "state", request, folder)
        return made, read_json(made.result)["facts"]["adopted"]

    return run


def test_what_is_copied_is_the_adapter_and_what_reads_its_base(adopt, adapter, base):
    folder = adapter()
    (folder / "README.md").write_text("카페")
    for name in ("optimizer.pt", "trainer_state.json", "training_args.bin"):
        (folder / name).write_text("not needed")
    (base() / "LICENSE").write_text("free")
    run, adopted = adopt(folder)
    assert {path.name for path in run.model.iterdir()} == {
        *(CONFIG, WEIGHTS, "README.md", "LICENSE", "tokenizer.json", "chat_template.jinja"),
        "provenance.json",
    }
    assert run.model.stat().st_mode & 0o777 == 0o755
    assert adopted["from"] == "the folder adapter"
    assert len(adopted["declared"]) == 2
    assert "remarks" not in adopted
    provenance = read_json(run.model / "provenance.json")
    assert provenance["adopted_from"] == "adapter"
    assert provenance["base_model"]["identity"] == "sha256:1"
    # What a killed process left is removed, and its model is not taken for a whole one.
    (run.path / "model.partial-1").mkdir()
    run.model.rename(run.path / "gone")
    adopt(folder)
    assert not (run.path / "model.partial-1").exists()
    assert run.model.exists()


@pytest.mark.parametrize(
    ("tensors", "config", "said"),
    [
        (pair(Q, 7, 8), {}, f"{Q} is missing there or has another size"),
        (pair(Q, 6, 9), {}, f"{Q} is missing there or has another size"),
        (PAIRS | pair(f"{Q}_extra", 1, 1), {}, f"{Q}_extra is missing there"),
        (
            PAIRS | {f"{PREFIX}lm_head.weight": (99, 8)},
            {"modules_to_save": ["lm_head"]},
            "lm_head is missing there or has another size",
        ),
        (
            PAIRS | {key: size for n in range(5) for key, size in pair(f"x.{n}", 1, 1).items()},
            {},
            "x.0, x.1, x.2 and 2 more is missing there",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused_with_the_layers(
    adopt, adapter, tensors, config, said
):
    with pytest.raises(BackendError) as caught:
        adopt(adapter(tensors, **config))
    assert said in caught.value.message
    assert caught.value.remedy.endswith("--base_model NAME")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "is incomplete"),
        ({f"{PREFIX}{Q}.lora_A.weight": (2, 8)}, "is incomplete"),
        (PAIRS | {f"{PREFIX}{Q}.lora_magnitude_vector": (6,)}, "which is not half of a LoRA pair"),
        (PAIRS | {"lm_head.weight": (100, 8)}, "which is not half of a LoRA pair"),
        # It is trained whole only where the settings say so.
        (PAIRS | {f"{PREFIX}lm_head.weight": (100, 8)}, "which is not half of a LoRA pair"),
        (pair(Q, 6, 8) | {f"{PREFIX}{V}.lora_B.weight": (4, 2)}, "is incomplete"),
    ],
)
def test_weights_that_are_no_whole_adapter_are_refused(adopt, adapter, tensors, message):
    with pytest.raises(BackendError, match=message):
        adopt(adapter(tensors))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"use_dora": True}, "use_dora: the adapter has DoRA's magnitudes, which"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices: the adapter has tokens of"),
        ({"layer_replication": [[0, 4]]}, "layer_replication: the adapter has repeated layers"),
        ({"lora_bias": True}, "lora_bias: the adapter has biases"),
        ({"alora_invocation_tokens": [5]}, "alora_invocation_tokens: the adapter has an activ"),
        ({"bias": "lora_only"}, "bias: the adapter has biases"),
        ({"peft_type": None}, "is an adapter of the kind 'None', and only LORA"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "is an adapter for 'SEQ_2_SEQ_LM', not for"),
    ],
)
def test_a_kind_that_is_not_loaded_is_refused(adapter, config, words):
    with pytest.raises(BackendError) as caught:
        require_adapter(adapter(**config))
    assert words in caught.value.message
    assert "`merge_and_unload`" in caught.value.remedy or "CAUSAL_LM" in caught.value.remedy


@pytest.mark.parametrize(
    "config",
    [
        {"task_type": None},
        {"use_dora": False, "bias": "none", "layer_replication": None, "lora_bias": False},
        {"use_rslora": True, "rank_pattern": {"q_proj": 4}},
    ],
)
def test_settings_that_change_nothing_are_no_kind_of_their_own(adapter, config):
    require_adapter(adapter(**config))


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_a_pickle_is_named_with_how_to_write_it_anew(adapter, name):
    folder = adapter()
    (folder / WEIGHTS).rename(folder / name)
    with pytest.raises(BackendError, match=f"{name} is a pickle") as caught:
        require_adapter(folder)
    assert f"torch.load('{name}', weights_only=True), '{WEIGHTS}'" in caught.value.remedy


TIED = {name: size for name, size in BASE.items() if name != "lm_head.weight"}


@pytest.mark.parametrize(
    ("config", "remark"),
    [
        ({"modules_to_save": ["lm_head"]}, True),
        # peft says of such an adapter that both stay one.
        ({"modules_to_save": ["lm_head"], "ensure_weight_tying": True}, False),
    ],
)
def test_an_own_output_layer_of_shared_weights_has_no_merged_form(
    adopt, adapter, base, config, remark
):
    folder = adapter(PAIRS | {f"{PREFIX}lm_head.weight": (100, 8)}, **config)
    _, adopted = adopt(folder, base(TIED, tie_word_embeddings=True))
    assert adopted["verified"][-1].startswith("all 2 layers of the adapter are in the base model")
    said = (
        "it has its own lm_head, and its base model uses the same weights for its input and its "
        "output layer: such an adapter has no merged form"
    )
    assert adopted.get("remarks", []) == ([said] if remark else [])


def test_layers_that_the_files_call_otherwise_are_not_compared(adopt, adapter):
    names = {name.replace("model.layers", "language.layers"): size for name, size in PAIRS.items()}
    _, adopted = adopt(adapter(names))
    assert adopted["remarks"] == [
        "its layers have other names than those in the base model's files"
    ]
    assert len(adopted["verified"]) == 1


def test_a_base_model_that_is_not_here_is_not_compared(adopt, adapter, tmp_path):
    _, adopted = adopt(adapter(), tmp_path / "nowhere")
    assert adopted["remarks"] == [
        "the base model is not on this machine: nobody looked whether it fits"
    ]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("chat_template.jinja", "{{ other }}", "its chat template is not that of the base model"),
        (
            "tokenizer.json",
            '{"added_tokens": [{"id": 7, "content": "<카페>", "special": true}]}',
            "its tokenizer has other control tokens than the base model",
        ),
    ],
)
def test_what_reads_otherwise_than_the_base_model_is_told(adopt, adapter, name, text, words):
    folder = adapter()
    (folder / name).write_text(text, encoding="utf-8")
    _, adopted = adopt(folder)
    (remark,) = adopted["remarks"]
    assert remark.startswith(words)
