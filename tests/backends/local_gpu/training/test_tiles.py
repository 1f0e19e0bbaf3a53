"""Losses in tiles: those of one piece, with their gradients, in a fraction of the memory."""

import pytest

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from peft import LoraConfig, get_peft_model  # noqa: E402

from backends.local_gpu.tokens.chat_tokens import Encoded  # noqa: E402
from backends.local_gpu.training import tiles  # noqa: E402
from backends.local_gpu.training.batching import collate  # noqa: E402
from backends.local_gpu.training.loss import labelled_loss  # noqa: E402
from backends.local_gpu.training.objectives.marked import Marked, MarkedLoss  # noqa: E402
from backends.local_gpu.training.objectives.pairs import PairLoss, Pairs  # noqa: E402
from backends.local_gpu.training.tokenized_dataset import flatten  # noqa: E402

SIZES = {
    "vocab_size": 70,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
MODELS = {
    "Qwen3": {"head_dim": 8},
    "Llama": {"tie_word_embeddings": True},
    "Gemma2": {"head_dim": 8, "final_logit_softcapping": 1.0},
    "Cohere": {"logit_scale": 0.5},
    "Granite": {"logits_scaling": 4.0},
}
ROWS = 3
"""Positions of a tile in these tests: a batch has more labels than that."""


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "ELEMENTS_ELSE", ROWS * SIZES["vocab_size"])


def made(name, training):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | MODELS[name])
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)  # logits as large as a trained model's
    loss = labelled_loss(model)
    if training == "full":
        return loss, model
    targets = ["q_proj", "v_proj", *(["lm_head"] if training == "lora and output" else [])]
    model = get_peft_model(model, LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    return loss, model.eval()


def rows():
    random = torch.Generator().manual_seed(1)
    found = []
    for length in (9, 6, 11, 5):
        ids = torch.randint(3, 70, (length,), generator=random).tolist()
        found.append(Encoded(ids=ids, learned=[False] * 2 + [True] * (length - 2)))
    return flatten(found)


def objectives(loss):
    import numpy as np  # noqa: PLC0415

    tokens, known = rows(), np.array([-20.0, -11.0, -30.0, -9.0])
    pairs = Pairs(rows=tokens, reference=known)
    marked = Marked(
        rows=tokens,
        good=np.array([True, False, True, False]),
        reference=known,
        others=tokens,
        other_reference=known - 1,
    )
    weights = {"desirable_weight": 1.0, "undesirable_weight": 0.5}
    return {
        "supervised": lambda: loss.total(collate(tokens, [0, 1, 2, 3])),
        "dpo": lambda: (
            PairLoss(loss=loss, train=pairs, held_out=pairs, loss_type="sigmoid", beta=0.1)
            .outcome(pairs.collate([0, 1]))
            .total
        ),
        "kto": lambda: (
            MarkedLoss(loss=loss, train=marked, held_out=marked, beta=0.1, **weights)
            .outcome(marked.collate([0, 1, 2, 3]))
            .total
        ),
    }


def measured(model, total):
    model.zero_grad()
    found = total()
    found.backward()
    learning = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return found.detach(), learning


@pytest.mark.parametrize("method", ["supervised", "dpo", "kto"])
@pytest.mark.parametrize(
    ("name", "training"),
    [
        *((name, "lora") for name in MODELS),
        ("Qwen3", "lora and output"),
        ("Qwen3", "full"),
        ("Llama", "full"),
        ("Gemma2", "full"),
    ],
)
def test_tiles_change_no_loss_and_no_gradient(name, training, method, monkeypatch):
    loss, model = made(name, training)
    total = objectives(loss)[method]
    whole, expected = measured(model, total)
    largest = widths(monkeypatch, SIZES["vocab_size"])
    monkeypatch.setattr(tiles, "ELEMENTS_ELSE", ROWS * SIZES["vocab_size"])
    found, gradients = measured(model, total)
    assert max(largest) == ROWS
    torch.testing.assert_close(found, whole, rtol=1e-6, atol=1e-6)
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        scale = float(expected[key].abs().max())
        torch.testing.assert_close(gradient, expected[key], rtol=1e-4, atol=1e-5 * scale)


def widths(monkeypatch, vocabulary):
    """Collect the number of positions of each tensor of logits that is made from now on."""
    found, linear = [], torch.nn.functional.linear

    def noted(*arguments):
        made_here = linear(*arguments)
        if made_here.shape[-1] == vocabulary:
            found.append(made_here.numel() // vocabulary)
        return made_here

    monkeypatch.setattr(torch.nn.functional, "linear", noted)
    return found


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("name", MODELS)
def test_measuring_uses_tiles_too(name, monkeypatch):
    loss, model = made(name, "full")
    largest = widths(monkeypatch, SIZES["vocab_size"])
    with torch.no_grad():
        each = loss.per_example(collate(rows(), [0, 1, 2, 3]))
    assert max(largest) == ROWS
    monkeypatch.undo()
    with torch.no_grad():
        for place, one in enumerate(each):
            alone = collate(rows(), [place])
            labels = int((alone["labels"][:, 1:] != -100).sum())
            expected = float(model(**alone).loss) * labels
            assert float(one) == pytest.approx(expected, rel=1e-5)


def test_a_tile_has_the_same_size_for_every_vocabulary():
    for device in ("cpu", "cuda"):
        most = tiles.ELEMENTS.get(device, tiles.ELEMENTS_ELSE)
        for vocabulary in (600, 10_000, 151_936, 262_144):
            assert 0.9 * most < tiles.rows_of_tile(vocabulary, device) * vocabulary <= most
    assert tiles.rows_of_tile(10**9, "cpu") == 1
