"""A random model of two layers with a tokenizer of its own, made in a moment."""

import json
from pathlib import Path

LINES = [
    "Where is the nearest cafe? It is two streets down, on the left.",
    "카페 창업 비용은 얼마인가요? 평수와 상권에 따라 다릅니다, 상담을 권합니다.",
    "How long are you open? We are open from nine to six, every day.",
    "영업 시간이 어떻게 되나요? 매일 아홉 시부터 여섯 시까지 엽니다.",
]
"""What its tokenizer learns from."""
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_base(
    folder: Path, template: str | None = TEMPLATE, family: str = "Qwen3", **changes
) -> Path:
    """Write the model into a new folder, with some settings of its config changed."""
    import tokenizers  # noqa: PLC0415 - tests without the training packages import this too
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=True)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "TokenizersBackend", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    sizes = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        "pad_token_id": None,
        "bos_token_id": None,
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**sizes | changes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder
