"""Packed rows against rows of their own: losses, gradients, and what a document betrays."""

import inspect
import itertools
import json

import numpy as np
import pytest
import torch
import transformers

from backends.contract.errors import BackendError
from backends.local_gpu.models.packable import unpackable
from backends.local_gpu.tokens.chat_tokens import Encoded
from backends.local_gpu.training.batching import LABELLED, collate, pack
from backends.local_gpu.training.loss import computing, labelled_loss, labels_in
from backends.local_gpu.training.packing import attention
from backends.local_gpu.training.packing.documents import STARTS, documents_of
from backends.local_gpu.training.packing.self_check import start_packing
from backends.local_gpu.training.tokenized_dataset import flatten

pytestmark = pytest.mark.torch

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
HEADS = SIZES | {"head_dim": 8}
EXPERTS = HEADS | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
PACKABLE = {
    "Llama": SIZES,
    "Qwen2": SIZES,
    "Qwen3": HEADS,
    "Qwen3Moe": EXPERTS,
    "Mistral": SIZES | {"sliding_window": 8},
    "Mixtral": SIZES | {"num_local_experts": 4},
    "Gemma3": HEADS | {"sliding_window": 8, "num_hidden_layers": 6},
    "Phi3": SIZES,
    "Olmo2": SIZES,
    "Glm4": HEADS,
    "Exaone4": SIZES | {"sliding_window": 8, "num_hidden_layers": 4},
    "Granite": SIZES | {"logits_scaling": 8.0},
    "SmolLM3": SIZES,
    "Cohere2": SIZES | {"sliding_window": 8, "num_hidden_layers": 4},
    "GPT2": {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4}
    | {"bos_token_id": 1, "eos_token_id": 2}
    | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}
LINEAR = {f"linear_{kind}_head_dim": 8 for kind in ("key", "value")}
LINEAR |= {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
UNPACKABLE = {
    "Gemma2": (HEADS, "caps its scores"),
    "GptOss": (HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2}, "sinks"),
    "Lfm2": (SIZES | {"full_attn_idxs": [1]}, "layers of conv"),
    "Qwen3Next": (
        EXPERTS | LINEAR | {"layer_types": ["linear_attention", "full_attention"]},
        "layers of linear_attention",
    ),
    "Falcon": (
        {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        "fixed attention",
    ),
}


def make(name, settings):
    kind = f"{name}Text" if name == "Gemma3" else name
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)  # attention that looks at some tokens more than at others
    return model


def rows(*lengths, seed=0):
    random = np.random.default_rng(seed)
    return flatten(
        Encoded(
            ids=random.integers(3, 96, length).tolist(),
            # The first token too: it is a label only if rows are joined carelessly.
            learned=[True, *(random.random(length - 1) < 0.6).tolist()],
        )
        for length in lengths
    )


LENGTHS = (7, 30, 3, 18, 1, 30)


@pytest.mark.parametrize(("name", "settings"), PACKABLE.items(), ids=PACKABLE)
def test_packed_losses_and_gradients_are_those_of_separate_rows(name, settings):
    model, tokens = make(name, settings), rows(*LENGTHS)
    loss = labelled_loss(model)
    separate = [loss.per_token(collate(tokens, [place])) for place in range(len(tokens))]
    torch.cat(separate).sum().backward()
    gradients = {
        key: one.grad.clone() for key, one in model.named_parameters() if one.grad is not None
    }
    model.zero_grad()

    start_packing(model, loss, tokens, lambda: computing(torch.device("cpu"), torch.float32))
    assert model.training
    packed = loss.per_token(pack(tokens, range(len(tokens))))
    torch.testing.assert_close(packed, torch.cat(separate), rtol=1e-4, atol=1e-5)
    packed.sum().backward()
    assert gradients
    largest = max(float(one.abs().max()) for one in gradients.values())
    for key, one in model.named_parameters():
        if key in gradients:
            torch.testing.assert_close(one.grad, gradients[key], rtol=1e-3, atol=1e-5 * largest)
    # The same model still computes padded batches, such as held-out ones.
    padded = loss.per_token(collate(tokens, range(len(tokens))))
    torch.testing.assert_close(padded, torch.cat(separate), rtol=1e-4, atol=1e-5)
    assert unpackable(model.config.to_dict()) is None


@pytest.mark.parametrize(("name", "case"), UNPACKABLE.items(), ids=UNPACKABLE)
def test_models_that_would_leak_are_refused_at_plan_and_once_more_at_the_start(
    name, case, tmp_path
):
    settings, reason = case
    model = make(name, settings)
    model.config.save_pretrained(tmp_path)
    assert reason in unpackable(json.loads((tmp_path / "config.json").read_text()))
    with pytest.raises(BackendError, match="does not keep packed examples apart") as caught:
        start_packing(
            model,
            labelled_loss(model),
            rows(9, 30),
            lambda: computing(torch.device("cpu"), torch.float32),
        )
    assert "max_tokens_per_batch" in caught.value.remedy


def test_a_planted_document_betrays_a_leak():
    """The second document repeats the first, which a model that copies could use."""
    model = make("Llama", SIZES)
    loss, secret = labelled_loss(model), list(range(10, 40))
    planted = flatten([Encoded(ids=secret, learned=[True] * 30)] * 2)
    other = flatten(
        [Encoded(ids=[50] * 30, learned=[True] * 30), Encoded(ids=secret, learned=[True] * 30)]
    )
    start_packing(model, loss, planted, lambda: computing(torch.device("cpu"), torch.float32))
    with torch.no_grad():
        after_itself = loss.per_token(pack(planted, [0, 1]))[29:]
        after_another = loss.per_token(pack(other, [0, 1]))[29:]
        assert torch.equal(after_itself, after_another)

        # As one document, where positions go on, the second half sees the first.
        def joined(tokens):
            batch = pack(tokens, [0, 1])
            batch[STARTS] = torch.tensor([0, 60], dtype=torch.int32)
            return loss.per_token(batch)[29:]

        assert not torch.allclose(joined(planted), joined(other), atol=1e-3)


def test_the_check_finds_a_model_that_ignores_where_documents_begin(monkeypatch):
    model, tokens = make("Llama", SIZES), rows(9, 30)
    loss = labelled_loss(model)

    def whole(starts, where):
        return documents_of(starts[[0, -1]], where)

    monkeypatch.setattr("backends.local_gpu.training.packing.documents.documents_of", whole)
    with pytest.raises(BackendError, match=r"their loss is \S+ in one row and \S+ in two"):
        start_packing(model, loss, tokens, lambda: computing(torch.device("cpu"), torch.float32))


@pytest.fixture
def registered():
    yield
    transformers.AttentionInterface.register(attention.NAME, attention.attend)


@pytest.mark.usefixtures("registered")
def test_the_check_finds_a_leak_that_hardly_changes_the_sum():
    model, tokens = make("Llama", SIZES), rows(9, 30)
    loss, exact = labelled_loss(model), attention.attend

    def leaking(module, query, key, value, mask, documents=None, **options):
        result, none = exact(module, query, key, value, mask, documents, **options)
        if documents is not None:
            result = result + 1e-4 * value.mean()
        return result, none

    transformers.AttentionInterface.register(attention.NAME, leaking)
    with pytest.raises(BackendError, match="another example before it changes the loss"):
        start_packing(model, loss, tokens, lambda: computing(torch.device("cpu"), torch.float32))


def test_in_bfloat16_packing_passes_its_check():
    model = make("Qwen3", HEADS)
    start_packing(
        model,
        labelled_loss(model),
        rows(9, 30),
        lambda: computing(torch.device("cpu"), torch.bfloat16),
    )


def test_the_first_token_of_a_packed_example_is_no_label():
    batch = pack(rows(4, 1, 5), [2, 1, 0])
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 0, 1, 2, 3]]
    assert batch[STARTS].tolist() == [0, 5, 6, 10]
    assert [int(batch["labels"][0, at]) for at in (0, 5, 6)] == [-100] * 3
    padded = collate(rows(4, 1, 5), [2, 1, 0])
    assert labels_in(batch) == labels_in(padded) == padded[LABELLED].shape[1]
    assert "attention_mask" not in batch


@pytest.mark.parametrize("lengths", [(1,), (5, 5, 5), (40, 1, 3, 2, 20, 19, 1)])
def test_documents_of_similar_length_are_computed_together_and_come_back_in_place(lengths):
    offsets = np.cumsum([0, *lengths], dtype=np.int32)
    found = documents_of(torch.from_numpy(offsets), torch.device("cpu"))
    joined = torch.cat([group.places.flatten() for group in found.groups])
    assert joined[found.inverse].tolist() == list(range(offsets[-1]))
    assert found.longest == max(lengths)
    padded = sum(group.places.numel() for group in found.groups)
    assert padded < 2 * sum(lengths)


def expected(heads, starts, window, scale):
    """Return attention within documents, one score after the other."""
    query, key, value = heads
    times = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(times, dim=1) for one in (key, value))
    parts = []
    for first, end in itertools.pairwise(starts.tolist()):
        one, other, third = (of[first:end].transpose(0, 1) for of in (query, key, value))
        seen = torch.ones(end - first, end - first).tril().bool()
        if window != (-1, 0):
            seen &= torch.ones_like(seen).triu(-window[0])
        scores = (one @ other.mT) * (scale or query.shape[-1] ** -0.5)
        parts.append((scores.masked_fill(~seen, -torch.inf).softmax(-1) @ third).transpose(0, 1))
    return torch.cat(parts)


def of_2_10(query, key, value, *starts_and_lengths, is_causal=False):
    starts, _, longest, _ = starts_and_lengths
    assert is_causal
    assert query.shape == key.shape
    assert longest == int(starts.diff().max())
    return expected((query, key, value), starts, (-1, 0), None)


def of_2_13(
    query, key, value, *starts_and_lengths, scale=None, window_size=(-1, -1), enable_gqa=False
):
    starts, _, longest, _ = starts_and_lengths
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert longest == int(starts.diff().max())
    return expected((query, key, value), starts, window_size, scale)


@pytest.mark.parametrize(
    ("kernel", "window"), [(of_2_10, None), (of_2_13, None), (of_2_13, 1), (of_2_13, 4)]
)
@pytest.mark.parametrize("scaling", [None, 0.4])
def test_torchs_kernel_is_asked_for_the_same_as_ordinary_attention(
    kernel, window, scaling, monkeypatch
):
    monkeypatch.setattr(attention, "KERNEL", kernel)
    monkeypatch.setattr(attention, "_TAKES", frozenset(inspect.signature(kernel).parameters))
    torch.manual_seed(0)
    heads = tuple(torch.randn(25, count, 8) for count in (4, 2, 2))
    documents = documents_of(torch.tensor([0, 7, 8, 25], dtype=torch.int32), heads[0].device)
    scores = attention.Scores(scaling=scaling, window=window)
    torch.testing.assert_close(
        attention.by_kernel(heads, documents, scores), attention.by_groups(heads, documents, scores)
    )


def test_the_kernel_of_this_torch_is_known():
    assert attention.KERNEL is not None
    heads = tuple(torch.randn(4, 2, 8) for _ in range(3))
    assert not attention.is_for_kernel(heads, attention.Scores())  # a CPU has none
