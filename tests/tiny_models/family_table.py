"""Families of models that people fine-tune: architecture, control tokens and template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.tiny_models.templates import CHATML, EXAONE4, GEMMA, GLM4, GRANITE, MISTRAL, OLMO2

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
HEAD = {"head_dim": 16}
WINDOW = {"sliding_window": 64}
SEES = {"hidden_size": 32, "intermediate_size": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
GATED_DELTA = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Control tokens of a family, and how it cuts words."""

    special: Sequence[str]
    """The first pads."""
    ends: Sequence[str]
    """Tokens that end an answer; the first is the tokenizer's own."""
    begins: str | None = None
    added: Sequence[str] = ()
    """Tokens that are no control tokens."""
    kind: str = "bytes"
    """`bytes` as GPT-2, `blanks` as SentencePiece, `prefixed` as Llama 2."""
    always_begins: bool = False
    """True if the tokenizer itself writes the token that begins a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """An architecture with the template of a family."""

    config: str
    """Class of transformers, without `Config`."""
    tokens: Tokens
    template: str
    """A template, or the name of one in TRL's package."""
    model: str = ""
    """Class of the model, if it is not the usual one."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    vision: Mapping[str, Any] | None = None
    otherwise: str = CHATML
    """The template without TRL."""
    own_sizes: Mapping[str, Any] | None = None
    """Sizes under this architecture's own names."""


BAR = "\uff5c"
"""The wide bar of DeepSeek's control tokens."""
IM = ("<|im_start|>", "<|im_end|>")
CALLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
THINK = ("<think>", "</think>")
QWEN = Tokens(
    special=("<|endoftext|>", *IM), ends=("<|im_end|>", "<|endoftext|>"), added=(*CALLS, *THINK)
)
LLAMA = Tokens(
    special=(
        "<|end_of_text|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|python_tag|>",
        *IM,
    ),
    ends=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
    begins="<|begin_of_text|>",
    always_begins=True,
)
GEMMA_TOKENS = Tokens(
    special=("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    ends=("<eos>", "<end_of_turn>"),
    begins="<bos>",
    kind="blanks",
    always_begins=True,
)
GEMMA4_TOKENS = Tokens(
    special=(
        *("<pad>", "<eos>", "<bos>", "<unk>", "<|turn>", "<turn|>", "<|channel>", "<channel|>"),
        *("<|think|>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>", "<|tool_response>"),
        *("<tool_response|>", '<|"|>', "<start_of_turn>", "<end_of_turn>"),
    ),
    ends=("<turn|>", "<eos>", "<|tool_response>"),
    begins="<bos>",
    kind="blanks",
)
GLM = ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>")
FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        config="Llama",
        template="llama3_1",
        tokens=LLAMA,
        otherwise=CHATML.replace("im_end", "eot_id"),
    ),
    "llama-3": Family(
        config="Llama",
        template="llama3",
        tokens=LLAMA,
        otherwise=CHATML.replace("im_end", "eot_id"),
    ),
    "qwen2": Family(config="Qwen2", template="qwen2_5", tokens=QWEN),
    "qwen3": Family(config="Qwen3", template="qwen3", tokens=QWEN, settings=HEAD),
    "qwen3.6": Family(config="Qwen3", template="qwen3_6", tokens=QWEN, settings=HEAD),
    "qwen3-moe": Family(
        config="Qwen3Moe",
        template="qwen3_instruct_2507",
        tokens=QWEN,
        settings={**HEAD, **EXPERTS, "decoder_sparse_step": 1, "mlp_only_layers": []},
    ),
    "qwen2-moe": Family(
        config="Qwen2Moe",
        template="qwen2_5",
        tokens=QWEN,
        settings={**EXPERTS, "decoder_sparse_step": 1, "shared_expert_intermediate_size": 48},
    ),
    "mixtral": Family(
        config="Mixtral",
        template=MISTRAL,
        tokens=Tokens(
            special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
            ends=("</s>",),
            begins="<s>",
            kind="prefixed",
            always_begins=True,
        ),
        settings={"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    ),
    "mistral": Family(
        config="Mistral",
        template=MISTRAL,
        tokens=Tokens(
            special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
            ends=("</s>",),
            begins="<s>",
            kind="prefixed",
            always_begins=True,
        ),
        settings={"sliding_window": None},
    ),
    "gemma2": Family(
        config="Gemma2", template="gemma", tokens=GEMMA_TOKENS, settings=HEAD, otherwise=GEMMA
    ),
    "gemma3": Family(
        config="Gemma3Text",
        template="gemma3",
        tokens=GEMMA_TOKENS,
        settings={**HEAD, **WINDOW},
        otherwise=GEMMA,
    ),
    "gemma4-template": Family(
        config="Gemma3Text",
        template="gemma4_v5",
        tokens=GEMMA4_TOKENS,
        settings={**HEAD, **WINDOW},
        otherwise=GEMMA.replace("<end_of_turn>", "<turn|>").replace("<start_of_turn>", "<|turn>"),
    ),
    "gemma3-vision": Family(
        config="Gemma3",
        model="Gemma3ForConditionalGeneration",
        template="gemma3",
        tokens=GEMMA_TOKENS,
        settings={**HEAD, **WINDOW},
        vision={
            **SEES,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        otherwise=GEMMA,
    ),
    "qwen3.5": Family(
        config="Qwen3_5",
        model="Qwen3_5ForConditionalGeneration",
        template="qwen3_5_nothink",
        tokens=QWEN,
        settings={**HEAD, **GATED_DELTA},
        vision={**SEES, "depth": 1, "num_heads": 2, "out_hidden_size": 64},
    ),
    "qwen2-vl": Family(
        config="Qwen2_5_VL",
        model="Qwen2_5_VLForConditionalGeneration",
        template="qwen2_5",
        tokens=QWEN,
        settings={"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        vision={
            **SEES,
            "depth": 1,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [0],
        },
    ),
    "phi3": Family(
        config="Phi3",
        template="phi3",
        tokens=Tokens(
            special=(
                *("<|endoftext|>", "<s>", "</s>", "<unk>", "<|assistant|>", "<|system|>"),
                *("<|end|>", "<|user|>", *IM),
            ),
            ends=("<|endoftext|>", "<|assistant|>", "<|end|>"),
            begins="<s>",
            kind="stripping",
        ),
        settings={"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        otherwise=CHATML.replace("im_end", "end"),
    ),
    "gpt-oss": Family(
        config="GptOss",
        template="gptoss",
        tokens=Tokens(
            special=(
                *("<|endoftext|>", "<|startoftext|>", "<|return|>", "<|constrain|>"),
                *("<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|call|>", *IM),
            ),
            ends=("<|return|>", "<|endoftext|>", "<|call|>"),
            begins="<|startoftext|>",
        ),
        settings={**HEAD, **WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2}
        | {"pad_token_id": 0, "eos_token_id": 2},
        otherwise=CHATML.replace("im_end", "return"),
    ),
    "olmo2": Family(
        config="Olmo2",
        template=OLMO2,
        tokens=Tokens(
            special=("<|pad|>", "<|endoftext|>"), ends=("<|endoftext|>",), begins="<|endoftext|>"
        ),
        settings={"eos_token_id": 1, "pad_token_id": 0},
    ),
    "glm4": Family(
        config="Glm4",
        template=GLM4,
        tokens=Tokens(
            special=(*GLM, "<|observation|>"),
            ends=("<|endoftext|>", "<|user|>", "<|observation|>"),
        ),
        settings={**HEAD, "pad_token_id": 0, "eos_token_id": 0},
    ),
    "glm4.5-template": Family(
        config="Llama",
        template="glm4moe",
        tokens=Tokens(
            special=(*GLM, "<|observation|>"),
            ends=("<|endoftext|>", "<|user|>", "<|observation|>"),
            added=(
                *(*THINK, *CALLS[:2], "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
                "/nothink",
            ),
        ),
        otherwise=GLM4,
    ),
    "exaone4": Family(
        config="Exaone4",
        template=EXAONE4,
        tokens=Tokens(
            special=(
                *("[PAD]", "[BOS]", "[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]"),
                "[|tool|]",
            ),
            ends=("[|endofturn|]",),
            begins="[BOS]",
            added=THINK,
        ),
        settings={**WINDOW, "sliding_window_pattern": 2},
    ),
    "granite": Family(
        config="Granite",
        template=GRANITE,
        tokens=Tokens(
            special=("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
            ends=("<|end_of_text|>",),
            begins="<|end_of_text|>",
        ),
        settings={"logits_scaling": 8.0, "embedding_multiplier": 12.0},
    ),
    "smollm3": Family(
        config="SmolLM3",
        template="qwen3_instruct_2507",
        tokens=QWEN,
        settings={"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0},
    ),
    "r1-distill": Family(
        config="Qwen2",
        template="deepseek_r1_distill",
        tokens=Tokens(
            special=(
                f"<{BAR}end▁of▁sentence{BAR}>",
                f"<{BAR}begin▁of▁sentence{BAR}>",
                f"<{BAR}User{BAR}>",
                f"<{BAR}Assistant{BAR}>",
                *IM,
            ),
            ends=(f"<{BAR}end▁of▁sentence{BAR}>",),
            begins=f"<{BAR}begin▁of▁sentence{BAR}>",
            added=THINK,
            always_begins=True,
        ),
        otherwise=CHATML.replace("<|im_end|>", f"<{BAR}end▁of▁sentence{BAR}>"),
    ),
    "nemotron-template": Family(
        config="Llama",
        template="nemotron_3_nano",
        tokens=Tokens(
            special=("</s>", "<s>", *IM),
            ends=("<|im_end|>", "</s>"),
            begins="<s>",
            added=(*THINK, *CALLS[:2]),
        ),
    ),
    "gpt2": Family(
        config="GPT2",
        template=CHATML,
        tokens=Tokens(special=("<|endoftext|>", *IM), ends=("<|im_end|>",)),
        own_sizes={"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 1024}
        | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "eos_token_id": 2},
    ),
}
