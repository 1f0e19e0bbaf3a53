"""What other programs load, read from files; kinds of tokenizers."""

import json
import shlex

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel
from backends.local_gpu.export.adapter_files import (
    is_adapter,
    require_adapter,
    require_vllm,
    vllm_command,
    vllm_rank,
)
from backends.local_gpu.export.pre_tokenizers import pre_tokenizer_of

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
RAW = {"type": "ByteLevel", "use_regex": False}
DIGITS = {"type": "Digits", "individual_digits": True}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture
def adapter(tmp_path):
    def write(**settings):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 16, **settings}))
        return tmp_path

    return write


def sequence(*steps):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(steps)}}


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modules_to_save": ["lm_head"]}, r"whole layers .* \(modules_to_save: lm_head\)"),
        ({"trainable_token_indices": [7]}, "trained tokens"),
        ({"use_dora": True}, "DoRA"),
        ({"rank_pattern": {"q_proj": 4}}, "another rank for some layers"),
        ({"alpha_pattern": {"q_proj": 4}}, "another scale for some layers"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "fused experts"),
        ({"lora_bias": True}, "biases"),
        ({"r": 1024}, "up to rank 512, and this one has 1024"),
    ],
)
def test_what_vllm_does_not_load_is_named(adapter, settings, words):
    with pytest.raises(BackendError, match=words) as caught:
        require_vllm(adapter(**settings))
    assert "--format merged" in caught.value.remedy


@pytest.mark.parametrize(("rank", "most"), [(1, 8), (8, 8), (12, 16), (300, 320), (512, 512)])
def test_the_rank_that_vllm_is_started_with(adapter, rank, most):
    folder = adapter(r=rank, modules_to_save=None, rank_pattern={})
    require_vllm(folder)
    assert vllm_rank(folder) == most


@pytest.mark.parametrize(
    ("reference", "revision", "served"),
    [
        ("/models/tiny", None, "/models/tiny"),
        ("/우리 모델/it's", None, "'/우리 모델/it'\"'\"'s'"),
        ("acme/tiny", "a" * 40, f"acme/tiny --revision {'a' * 40}"),
    ],
)
def test_the_command_for_vllm_serves_the_base_that_was_trained_on(reference, revision, served):
    base = BaseModel(reference=reference, revision=revision, identity="sha256:1")
    command = vllm_command(base, 64, "카페-cafe")
    assert command == (
        f"vllm serve {served} --enable-lora --max-lora-rank 64 --lora-modules 카페-cafe=FOLDER"
    )
    words = shlex.split(command)
    assert words[:3] == ["vllm", "serve", reference]


@pytest.mark.parametrize("r", ["16", 16])
def test_a_rank_without_any_other_settings_is_enough(tmp_path, r):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": r}))
    require_vllm(tmp_path)
    assert vllm_rank(tmp_path) == 16


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"modules_to_save": ["embed_tokens", "lm_head"]},
            (
                "vLLM does not load whole layers beside the adapter "
                "(modules_to_save: embed_tokens, lm_head)"
            ),
        ),
        (
            {"rank_pattern": {"q_proj": 4, "v_proj": 8}},
            "vLLM does not load another rank for some layers (rank_pattern: q_proj, v_proj)",
        ),
        ({"use_dora": True}, "vLLM does not load DoRA (use_dora)"),
        ({"r": 513}, "vLLM loads adapters up to rank 512, and this one has 513"),
    ],
)
def test_each_refusal_names_the_setting_with_its_values(adapter, settings, message):
    with pytest.raises(BackendError) as caught:
        require_vllm(adapter(**settings))
    assert caught.value.message == message
    assert caught.value.remedy == ("Export it with `--format merged`: vLLM serves the whole model.")


def test_a_whole_model_has_no_adapter(tmp_path):
    assert not is_adapter(tmp_path)
    with pytest.raises(BackendError, match="no adapter to export as vllm: every weight"):
        require_adapter(tmp_path, "vllm")


@pytest.mark.parametrize(
    ("tokenizer", "kind"),
    [
        ({"pre_tokenizer": BYTES}, "gpt-2"),
        (sequence(DIGITS, BYTES), "smollm"),
        (sequence(split(QWEN2), RAW), "qwen2"),
        (sequence(split(QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")), RAW), "llama-bpe"),
        ({"pre_tokenizer": RAW}, None),
        (sequence({"type": "Digits", "individual_digits": False}, BYTES), None),
        (sequence(split("x"), RAW), None),
        ({"pre_tokenizer": {"type": "Metaspace"}}, None),
        ({"pre_tokenizer": None}, None),
        ({}, None),
    ],
)
def test_the_kind_of_a_tokenizer_in_the_words_of_llama_cpp(tokenizer, kind):
    assert pre_tokenizer_of(tokenizer) == kind
