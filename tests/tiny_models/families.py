"""Tiny random models of the architectures that people fine-tune, each with its family's template.

Each has the control tokens of its family, two layers and 60,000 to 300,000 parameters. Templates
are those that TRL's package publishes where it is installed; else, and for families that it lacks,
those written here, which put the same tokens around messages.
"""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.tiny_models.family_table import FAMILIES, SIZES, Family, Tokens

TEXT = (
    "The quick brown fox jumps over the lazy dog. Please answer with the label only. card arrival "
    "lost card top up failed exchange rate balance transfer refund How do I change my PIN? What is "
    "the weather today? user assistant system 안녕하세요 주말에도 문 여나요 환불은 어떻게 신청하나요 "
)


def published(name: str) -> str | None:
    """Return a template of TRL's package, if that is installed. Does not import it."""
    found = find_spec("trl")
    if found is None or not found.submodule_search_locations:
        return None
    file = Path(found.submodule_search_locations[0]) / "chat_templates" / f"{name}.jinja"
    return file.read_text(encoding="utf-8")


def make_family(name: str, folder: Path) -> Path:
    """Write the model of a family into a new folder."""
    # Tests without the training packages import this file too.
    torch, transformers = import_module("torch"), import_module("transformers")
    family = FAMILIES[name]
    folder.mkdir(parents=True)
    tokenizer = _tokenizer(family.tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    numbers = [tokenizer.token_to_id(end) for end in family.tokens.ends]
    (folder / "tokenizer_config.json").write_text(json.dumps(_settings(family.tokens)))
    template = family.template
    if "{" not in template:
        template = published(template) or family.otherwise
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    words = -(-tokenizer.get_vocab_size() // 64) * 64
    torch.manual_seed(0)
    config = getattr(transformers, f"{family.config}Config")(**_sizes(family, words))
    if family.model:
        model = getattr(transformers, family.model)(config)
    else:
        model = transformers.AutoModelForCausalLM.from_config(config)
    _make_sure(model)
    model.save_pretrained(folder)
    # The model's own settings name other tokens.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": numbers}))
    return folder


def _make_sure(model: Any) -> None:
    """Scale a random model's words, so that its answers can be sure of a word.

    An adapter leaves the output layer as it is, whose random weights make all words equally likely.
    """
    scale = 10 * getattr(model.config.get_text_config(), "logits_scaling", 1.0)
    layers = {
        id(one.weight): one.weight
        for one in (model.get_input_embeddings(), model.get_output_embeddings())
    }
    for weight in layers.values():
        weight.data.mul_(scale)


def _sizes(family: Family, words: int) -> dict[str, Any]:
    sizes = {"vocab_size": words, **(family.own_sizes or SIZES), **family.settings}
    if family.vision is None:
        return sizes
    images = {"image_token_id": words - 1}
    if family.config == "Gemma3":
        images = {"image_token_index": words - 1, "boi_token_index": words - 2}
        images |= {"eoi_token_index": words - 3, "mm_tokens_per_image": 4}
    return {"text_config": sizes, "vision_config": dict(family.vision), **images}


def _settings(tokens: Tokens) -> dict[str, Any]:
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokens.ends[0],
        "pad_token": tokens.special[0],
        "model_max_length": 32768,
        "clean_up_tokenization_spaces": False,
    }
    return settings | ({"bos_token": tokens.begins} if tokens.begins else {})


def _tokenizer(tokens: Tokens) -> Any:
    """Return a tokenizer of about 600 tokens."""
    lib = import_module("tokenizers")
    made = _of_bytes(lib) if tokens.kind == "bytes" else _of_blanks(lib, tokens.kind)
    strips = tokens.kind == "stripping"
    made.add_special_tokens(
        [
            lib.AddedToken(one, special=True, normalized=False, rstrip=strips and "|" in one)
            for one in tokens.special
        ]
    )
    made.add_tokens([lib.AddedToken(one, special=False, normalized=False) for one in tokens.added])
    if tokens.always_begins:
        first = tokens.begins
        made.post_processor = lib.processors.TemplateProcessing(
            single=f"{first} $A",
            pair=f"{first} $A $B",
            special_tokens=[(first, made.token_to_id(first))],
        )
    return made


def _of_bytes(lib: Any) -> Any:
    made = lib.Tokenizer(lib.models.BPE())
    made.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = lib.decoders.ByteLevel()
    made.post_processor = lib.processors.ByteLevel(trim_offsets=False)
    alphabet = lib.pre_tokenizers.ByteLevel.alphabet()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    return made


def _of_blanks(lib: Any, kind: str) -> Any:
    """Return a tokenizer that writes a mark for each blank, and bytes that it does not know."""
    made = lib.Tokenizer(lib.models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    mark = lib.normalizers.Replace(" ", "▁")
    decoders = [lib.decoders.Replace("▁", " "), lib.decoders.ByteFallback(), lib.decoders.Fuse()]
    if kind == "prefixed":
        made.normalizer = lib.normalizers.Sequence([lib.normalizers.Prepend("▁"), mark])
        decoders.append(lib.decoders.Strip(" ", 1, 0))
    else:
        made.normalizer = mark
    if kind == "blanks":
        made.pre_tokenizer = lib.pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = lib.decoders.Sequence(decoders)
    letters = [f"<0x{number:02X}>" for number in range(256)]
    trainer = lib.trainers.BpeTrainer(
        vocab_size=856,
        special_tokens=["<unk>", *letters],
        show_progress=False,
        limit_alphabet=300,
    )
    made.train_from_iterator([f"▁{word}" for word in TEXT.split(" ")], trainer)
    raw = json.loads(made.to_str())
    # The letters are plain tokens.
    raw["added_tokens"] = [one for one in raw["added_tokens"] if one["content"] not in letters]
    return lib.Tokenizer.from_str(json.dumps(raw))
