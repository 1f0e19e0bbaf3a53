"""Tiny random models, one for each way in which a model may keep what it has read."""

from importlib import import_module

WORDS = 300
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
HEAD = {"head_dim": 16}
WINDOW = {"sliding_window": 8}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
STATE = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}

KINDS = {
    # name: configuration, its settings
    "columns": ("LlamaConfig", SIZES),
    "learned positions": (
        "GPT2Config",
        {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 2},
    ),
    "sliding windows": (
        "Gemma3TextConfig",
        {**SIZES, **HEAD, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "attention sinks": ("GptOssConfig", {**SIZES, **HEAD, **WINDOW, **EXPERTS}),
    "linear attention": ("Qwen3_5TextConfig", {**SIZES, **HEAD, **LINEAR}),
    "convolutions": ("Lfm2Config", {**SIZES, "layer_types": ["conv", "full_attention"]}),
    "states": ("MambaConfig", STATE),
    "no cache": (
        "RecurrentGemmaConfig",
        {**SIZES, "num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 64},
    ),
}


def tiny_model(kind):
    """Make a random model whose next token depends on all that it has read."""
    torch, transformers = import_module("torch"), import_module("transformers")
    name, settings = KINDS[kind]
    tokens = {"eos_token_id": None, "bos_token_id": None, "pad_token_id": None}
    torch.manual_seed(0)
    config = getattr(transformers, name)(**settings, **tokens)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
    model.generation_config = transformers.GenerationConfig()
    return model


def generated(model, prompt, count):
    """Return what transformers' own `generate` adds to a prompt, alone."""
    torch, transformers = import_module("torch"), import_module("transformers")
    ids = torch.tensor([prompt])
    settings = transformers.GenerationConfig(max_new_tokens=count, do_sample=False, pad_token_id=0)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return out[0, len(prompt) :].tolist()
