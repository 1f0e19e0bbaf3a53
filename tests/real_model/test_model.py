"""The way from a GGUF file to a folder of transformers, tried on a tiny model."""

import json
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.tiny_base import make_base

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("conversion") is None, reason="the converter is not installed"),
]


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_llama_cpps_converter_wrote_comes_back_as_it_was(tied, tmp_path):
    base = make_base(
        tmp_path / "base",
        family="Llama",
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=tied,
    )
    gguf_file = import_module("backends.local_gpu.export.gguf_file")
    model = import_module("tests.real_model.model")
    file, back = tmp_path / "tiny.gguf", tmp_path / "back"
    gguf_file.convert(base, file, "tiny", tmp_path)
    model.convert(file, back)
    torch, load_file = import_module("torch"), import_module("safetensors.torch").load_file
    before, after = load_file(base / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weights in before.items():
        # The file has them in float16.
        assert torch.equal(weights.half().float().bfloat16(), after[name]), name
    opener = import_module("transformers").AutoModelForCausalLM
    ids = torch.arange(3, 12)[None]
    with torch.inference_mode():
        one = opener.from_pretrained(base, dtype=torch.float32)(input_ids=ids).logits
        other = opener.from_pretrained(back, dtype=torch.float32)(input_ids=ids).logits
    # Twice rounded to 16 bits.
    assert torch.allclose(one, other, atol=0.02)
    text = "How long are you open? <|im_end|>\n"
    tokenizer = import_module("tokenizers").Tokenizer
    ids = [tokenizer.from_file(str(at / "tokenizer.json")).encode(text).ids for at in (base, back)]
    assert ids[0] == ids[1]
    settings = json.loads((back / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == "<|im_end|>"
