import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from backends.local_gpu.tokens.chat_tokens import Encoded  # noqa: E402
from backends.local_gpu.training.batching import collate  # noqa: E402
from backends.local_gpu.training.loss import labelled_loss  # noqa: E402
from backends.local_gpu.training.tokenized_dataset import flatten  # noqa: E402

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
GPT2 = {
    "vocab_size": 50,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "bos_token_id": 2,
    "eos_token_id": 1,
}
GPT2 |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def batch():
    tokens = flatten(
        [
            Encoded(ids=[5, 6, 7, 8, 9, 1], learned=[False, False, True, True, False, True]),
            Encoded(ids=[11, 12, 1], learned=[False, True, True]),
        ]
    )
    return collate(tokens, [0, 1])


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Qwen3", SMALL),
        ("Llama", SMALL | {"tie_word_embeddings": True}),
        ("Gemma2", SMALL | {"final_logit_softcapping": 1.0}),
        ("Cohere", {k: v for k, v in SMALL.items() if k != "head_dim"} | {"logit_scale": 0.5}),
        ("Granite", {k: v for k, v in SMALL.items() if k != "head_dim"} | {"logits_scaling": 4.0}),
        ("GPT2", GPT2),
    ],
)
def test_the_loss_of_labelled_positions_is_the_models_own(name, settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings)
    model = getattr(transformers, "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM")(
        config
    ).requires_grad_(requires_grad=False)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(5)  # logits as large as a trained model's
    inputs = batch()
    own = model(**inputs).loss * 5  # a mean over the five learned tokens
    loss = labelled_loss(model)
    assert float(loss.total(inputs)) == pytest.approx(float(own), rel=1e-5)
    each = loss.per_example(inputs)
    assert float(each.sum()) == pytest.approx(float(own), rel=1e-5)
    alone = {key: value[1:, :3] for key, value in inputs.items()}
    assert float(each[1]) == pytest.approx(float(model(**alone).loss) * 2, rel=1e-4)
    assert model.training
