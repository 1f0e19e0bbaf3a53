import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

from backends.contract.errors import BackendError  # noqa: E402
from backends.local_gpu.tokens.chat_tokens import Encoded, load_chat  # noqa: E402
from backends.local_gpu.training.batching import Batches, by_length, collate, epoch_batches  # noqa: E402
from backends.local_gpu.training.tokenized_dataset import encode_file, flatten  # noqa: E402

LENGTHS = np.random.default_rng(0).integers(3, 200, size=103)


@pytest.mark.parametrize("step_size", [1, 4, 16, 103, 500])
def test_every_example_comes_once_an_epoch(step_size):
    steps = epoch_batches(LENGTHS, step_size, 1, 0)
    assert sorted(place for step in steps for place in step) == list(range(103))
    assert all(len(step) == step_size for step in steps[:-1])


def test_the_order_follows_from_seed_and_epoch():
    assert epoch_batches(LENGTHS, 8, 1, 0) == epoch_batches(LENGTHS, 8, 1, 0)
    assert epoch_batches(LENGTHS, 8, 1, 0) != epoch_batches(LENGTHS, 8, 1, 1)
    assert epoch_batches(LENGTHS, 8, 1, 0) != epoch_batches(LENGTHS, 8, 2, 0)


def test_the_longest_comes_first_and_little_is_padded():
    lengths = np.random.default_rng(0).integers(3, 200, size=1000)
    steps = epoch_batches(lengths, 8, 1, 0)
    assert lengths[steps[0]].max() == lengths.max()
    padded = sum(lengths[step].max() * len(step) for step in steps)
    assert padded < 1.1 * lengths.sum()


def test_batches_compose_differently_from_epoch_to_epoch():
    def together(epoch):
        return {frozenset(step) for step in epoch_batches(LENGTHS, 8, 1, epoch)}

    assert len(together(0) & together(1)) <= 1


def test_accumulating_splits_a_step_and_changes_no_step():
    whole = list(Batches(LENGTHS, 16, 1, 1))
    parts = list(Batches(LENGTHS, 4, 4, 1))
    assert [p for part in parts for p in part] == [p for batch in whole for p in batch]
    assert len(Batches(LENGTHS, 4, 4, 1)) == len(parts) == 26


def test_batches_to_measure_hold_everything_once():
    assert sorted(p for batch in by_length(LENGTHS, 10) for p in batch) == list(range(103))


def test_padding_is_never_learned_even_when_its_id_is_a_real_token():
    tokens = flatten(
        [
            Encoded(ids=[5, 0, 7], learned=[False, True, True]),
            Encoded(ids=[4], learned=[False]),
        ]
    )
    batch = collate(tokens, [0, 1])
    assert batch["input_ids"].tolist() == [[5, 0, 7], [4, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 0, 7], [-100, -100, -100]]


def test_problems_are_told_with_file_and_line_the_first_twenty_and_a_count(
    base_folder, tmp_path, example
):
    import json  # noqa: PLC0415

    rows = [example("a", "b"), *({"messages": [{"role": "user", "content": "x"}]},) * 23]
    (tmp_path / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "origins").write_text("".join(f"faq.csv:{n + 2}\n" for n in range(24)))
    with pytest.raises(BackendError) as caught:
        encode_file(load_chat(base_folder, None), tmp_path / "rows", tmp_path / "origins", None)
    lines = caught.value.message.splitlines()
    assert lines[0] == "23 examples of rows cannot be used:"
    assert lines[1].startswith("faq.csv:3: nothing is learned")
    assert lines[20].startswith("faq.csv:22:")
    assert lines[21:] == ["… and 3 more"]


def test_an_example_longer_than_the_model_reads_is_an_error(base_folder, tmp_path, example):
    import json  # noqa: PLC0415

    (tmp_path / "rows").write_text(json.dumps(example("카페 " * 50, "b")) + "\n")
    with pytest.raises(
        BackendError, match=r"line 1: \d+ tokens, and the base model reads at most 128"
    ) as caught:
        encode_file(load_chat(base_folder, None), tmp_path / "rows", None, 128)
    assert "max_tokens: 128" in caught.value.remedy


def test_an_empty_file_is_an_empty_set(base_folder, tmp_path):
    (tmp_path / "rows").touch()
    assert len(encode_file(load_chat(base_folder, None), tmp_path / "rows", None, 1)) == 0


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    step=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 50),
)
def test_any_set_is_trained_whole_and_its_longest_example_in_the_first_full_step(
    lengths, step, seed, epoch
):
    lengths = np.asarray(lengths)
    steps = epoch_batches(lengths, step, seed, epoch)
    assert sorted(place for one in steps for place in one) == list(range(len(lengths)))
    assert all(len(one) == step for one in steps[:-1])
    full = [one for one in steps if len(one) == step]
    if full:
        most = max(int(lengths[one].max()) for one in full)
        assert int(lengths[full[0]].max()) == most


@given(lengths=st.lists(st.integers(1, 500), max_size=40), size=st.integers(1, 10))
def test_batches_to_measure_go_from_the_longest_to_the_shortest(lengths, size):
    batches = by_length(np.asarray(lengths, dtype=np.int64), size)
    inline = [lengths[place] for batch in batches for place in batch]
    assert inline == sorted(lengths, reverse=True)
    assert all(len(batch) == size for batch in batches[:-1])


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    size=st.integers(1, 6),
    accumulation=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_batches_that_stay_the_same_come_in_another_order(lengths, size, accumulation, seed):
    kept = Batches(np.asarray(lengths), size, accumulation, seed, regroups=False)
    first = list(kept)
    assert first == list(Batches(np.asarray(lengths), size, accumulation, seed))
    kept.epoch = 3
    later = list(kept)
    assert sorted(map(tuple, later)) == sorted(map(tuple, first))
    if len(lengths) % (size * accumulation):
        whole = len(lengths) // (size * accumulation) * accumulation
        assert later[whole:] == first[whole:]
    assert later == list(kept)
