"""Losses in tiles: those of one piece, with their gradients, in a fraction of the memory."""

import pytest

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
torch = pytest.importorskip("torch")
tiles = pytest.importorskip("backends.local_gpu.training.tiles")
small = pytest.importorskip("tests.backends.local_gpu.training.small_losses")

ROWS = 3
"""Positions of a tile in these tests: a batch has more labels than that."""


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "ELEMENTS_ELSE", ROWS * small.SIZES["vocab_size"])


@pytest.mark.parametrize("method", ["supervised", "dpo", "kto"])
@pytest.mark.parametrize(
    ("name", "training"),
    [
        *((name, "lora") for name in small.MODELS),
        ("Qwen3", "lora and output"),
        ("Qwen3", "full"),
        ("Llama", "full"),
        ("Gemma2", "full"),
    ],
)
def test_tiles_change_no_loss_and_no_gradient(name, training, method, monkeypatch):
    loss, model = small.made(name, training)
    total = small.objectives(loss)[method]
    whole, expected = small.measured(model, total)
    largest = widths(monkeypatch, small.SIZES["vocab_size"])
    monkeypatch.setattr(tiles, "ELEMENTS_ELSE", ROWS * small.SIZES["vocab_size"])
    found, gradients = small.measured(model, total)
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
@pytest.mark.parametrize("name", small.MODELS)
def test_measuring_uses_tiles_too(name, monkeypatch):
    loss, model = small.made(name, "full")
    largest = widths(monkeypatch, small.SIZES["vocab_size"])
    with torch.no_grad():
        each = loss.per_example(small.collate(small.rows(), [0, 1, 2, 3]))
    assert max(largest) == ROWS
    monkeypatch.undo()
    with torch.no_grad():
        for place, one in enumerate(each):
            alone = small.collate(small.rows(), [place])
            labels = int((alone["labels"][:, 1:] != -100).sum())
            expected = float(model(**alone).loss) * labels
            assert float(one) == pytest.approx(expected, rel=1e-5)


def test_a_tile_has_the_same_size_for_every_vocabulary():
    for device in ("cpu", "cuda"):
        most = tiles.ELEMENTS.get(device, tiles.ELEMENTS_ELSE)
        for vocabulary in (600, 10_000, 151_936, 262_144):
            assert 0.9 * most < tiles.rows_of_tile(vocabulary, device) * vocabulary <= most
    assert tiles.rows_of_tile(10**9, "cpu") == 1
