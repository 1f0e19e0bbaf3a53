"""The order in which a training is made to fit, and the settings that would make it fit."""

import dataclasses
import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.memory.checkpointing import Checkpointing
from backends.local_gpu.memory.fit import Training, fit, longest_example, what_would_fit
from backends.local_gpu.memory.shape import read_shape
from tests.backends.local_gpu.memory.headers import QWEN3_8B, write_headers

GB = 2**30


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    return read_shape(write_headers(tmp_path_factory.mktemp("bases") / "qwen3-8b", QWEN3_8B))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A model of two layers: the same rules, in less time."""
    config = QWEN3_8B | {"num_hidden_layers": 2}
    return read_shape(write_headers(tmp_path_factory.mktemp("bases") / "short", config))


def training(shape, longest=1024, method="supervised", *, gpus=1, half=True, **raw):
    return Training(
        shape=shape,
        settings=parse(method, raw),
        method=method,
        longest=longest,
        tile=2**26,
        half=half,
        gpus=gpus,
    )


def needs(one):
    """Return what a training needs as it is."""
    return fit(one, None).need.total


METHODS = ["supervised", "dpo", "kto", "continued-pretraining"]
RAW = st.fixed_dictionaries(
    {},
    optional={
        "finetuning_type": st.sampled_from(["lora", "full"]),
        "per_device_train_batch_size": st.sampled_from([2, 6, 8, 16]),
        "gradient_accumulation_steps": st.sampled_from([1, 2, 4]),
        "gradient_checkpointing": st.sampled_from(["auto", "off", "on", "selective"]),
        "dtype": st.sampled_from(["auto", "float32", "bfloat16"]),
        "optim": st.sampled_from(["adamw", "adamw_8bit"]),
    },
)


@settings(max_examples=80, deadline=None)
@given(
    raw=RAW,
    method=st.sampled_from(METHODS),
    longest=st.integers(1, 8192),
    gb=st.integers(2, 60),
    gpus=st.sampled_from([1, 2]),
)
def test_a_fit_keeps_the_examples_of_a_step_and_tells_the_truth(
    short, raw, method, longest, gb, gpus
):
    one = training(short, longest, method, gpus=gpus, **raw)
    whole, found = fit(one, None), fit(one, gb * GB)
    # The same examples make a step, in smaller batches or not.
    assert found.size * found.accumulation == whole.size * whole.accumulation
    assert found.fits == (0.9 * found.need.total <= gb * GB)
    assert whole.fits
    if method == "kto":
        assert found.size == whole.size
    wanted = raw.get("gradient_checkpointing", "auto")
    assert wanted in {"auto", found.checkpointing}
    # More memory never leads to smaller batches.
    assert fit(one, 2 * gb * GB).size >= found.size
    if wanted == "auto" and found.need.total <= gb * GB and found.size == whole.size:
        kinds = list(Checkpointing)
        for way in kinds[: kinds.index(found.checkpointing)]:
            faster = raw | {"gradient_checkpointing": str(way)}
            other = training(short, longest, method, gpus=gpus, **faster)
            assert needs(other) > gb * GB


@settings(max_examples=80, deadline=None)
@given(
    raw=RAW,
    method=st.sampled_from(METHODS),
    longest=st.integers(256, 4096),
    gb=st.integers(1, 20),
)
def test_settings_that_are_proposed_are_valid_and_fit(short, raw, method, longest, gb):
    one = training(short, longest, method, **raw)
    proposed = what_would_fit(one, gb * GB)
    if proposed is None:
        return
    # As a person follows the advice: the proposed lines replace lines of these names.
    lines = dict(line.split(": ") for line in proposed.strip("`").split("` and `"))
    changed = raw | {key: int(value) if value.isdigit() else value for key, value in lines.items()}
    if lines.get("finetuning_type") != "lora" and raw.get("finetuning_type") == "full":
        assert "quantization" not in lines
    assert fit(training(short, longest, method, **changed), gb * GB).fits
    assert all(str(one.settings.get(key)) != value for key, value in lines.items())


def test_what_needs_a_little_more_than_there_is_is_tried(shape):
    one = training(shape, gradient_checkpointing="on", per_device_train_batch_size=1)
    total = needs(one)
    assert fit(one, total).fits
    assert fit(one, total - 1).fits
    assert fit(one, int(total * 0.9) + 1).fits
    assert not fit(one, int(total * 0.9) - 1).fits
    # An exact fit needs no smaller batches.
    eight = training(shape, gradient_checkpointing="off")
    assert fit(eight, needs(eight)).size == 8
    assert fit(eight, needs(eight) - 1).size == 4


@pytest.mark.parametrize(
    ("size", "accumulation", "ways"),
    [
        (8, 1, [(8, 1), (4, 2), (2, 4), (1, 8)]),
        (6, 2, [(6, 2), (3, 4)]),
        (5, 1, [(5, 1)]),
        (1, 4, [(1, 4)]),
    ],
)
def test_batches_are_halved_as_long_as_they_are_even(shape, size, accumulation, ways):
    raw = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
    one = training(shape, gradient_checkpointing="off", **raw)
    found = []
    usable = needs(one)
    for _ in ways:
        now = fit(one, usable)
        found.append((now.size, now.accumulation))
        usable = now.need.total - 1
    assert found == ways
    assert (
        (now.size, now.accumulation)
        == ways[-1]
        == tuple(getattr(fit(one, 0), name) for name in ("size", "accumulation"))
    )


@pytest.mark.parametrize(
    ("limit", "longest", "rows"),
    [(4096, 1024, 4), (4095, 1024, 3), (1024, 1024, 1), (512, 1024, 1)],
)
def test_filled_batches_have_as_many_rows_as_the_longest_allows(shape, limit, longest, rows):
    found = fit(training(shape, longest, max_tokens_per_batch=limit), None)
    assert (found.size, found.accumulation) == (rows, 1)


@pytest.mark.parametrize(
    ("dtype", "half", "bytes_"),
    [
        ("auto", True, 2),
        ("auto", False, 4),
        ("bfloat16", False, 2),
        ("float16", False, 2),
        ("float32", True, 4),
    ],
)
def test_the_precision_is_what_is_written_or_what_the_device_has(shape, dtype, half, bytes_):
    found = fit(training(shape, half=half, dtype=dtype), None)
    assert found.need.weights == bytes_ * shape.parameters


@pytest.mark.parametrize(
    ("gpus", "raw", "gb", "sharded"),
    [
        (4, {"finetuning_type": "full"}, 80, True),
        (4, {"finetuning_type": "full"}, 300, False),
        (1, {"finetuning_type": "full"}, 80, False),
        (4, {}, 4, False),
        (4, {"finetuning_type": "full", "optim": "adamw_8bit"}, 80, False),
    ],
)
def test_full_tuning_is_shared_where_one_device_has_too_little(shape, gpus, raw, gb, sharded):
    one = training(shape, gpus=gpus, gradient_checkpointing="on", **raw)
    assert fit(one, gb * GB).sharded is sharded
    whole = fit(one, None)
    assert (whole.size * whole.accumulation * gpus, whole.sharded) == (8, False)


def test_a_step_is_dealt_to_the_devices_before_batches_are_halved(shape):
    found = fit(training(shape, gpus=2, gradient_accumulation_steps=4), None)
    assert (found.size, found.accumulation) == (8, 2)
    found = fit(training(shape, gpus=4, per_device_train_batch_size=6), None)
    # A step of 6 cannot be divided among 4, which another check refuses.
    assert (found.size, found.accumulation) == (6, 1)


@pytest.mark.parametrize(
    ("raw", "method", "gb", "expected"),
    [
        ({"dtype": "float32"}, "supervised", 14, "quantization: nf4"),
        ({"dtype": "float32"}, "supervised", 9, "dtype: bfloat16` and `quantization: nf4"),
        (
            {"dtype": "float32", "gradient_checkpointing": "off"},
            "supervised",
            *(9, "gradient_checkpointing: auto` and `dtype: bfloat16` and `quantization: nf4"),
        ),
        ({"finetuning_type": "full"}, "supervised", 12, "quantization: nf4` and `finetuning_type: lora"),
        ({"quantization": "nf4", "per_device_train_batch_size": 16}, "kto", 12,
         "per_device_train_batch_size: 2"),
        ({"quantization": "nf4", "per_device_train_batch_size": 2}, "kto", 7, None),
        ({"quantization": "nf4", "per_device_train_batch_size": 1}, "supervised", 6, None),
    ],
)  # fmt: skip
def test_the_fewest_and_gentlest_changes_are_proposed(shape, raw, method, gb, expected):
    one = training(shape, 4096, method, **raw)
    assert not fit(one, gb * GB).fits
    assert what_would_fit(one, gb * GB) == expected


class Letters:
    """Counts letters, or those of the longer of two rows."""

    def __init__(self, rows=()):
        self.rows = rows
        self.asked = []

    def longest(self, examples):
        self.asked += examples
        return [max(map(len, one["rows"])) for one in examples if "rows" in one]

    def count(self, examples):
        return [len(one["text"]) for one in examples]


def write(path, rows, end="\n"):
    lines = (json.dumps(one, ensure_ascii=False) for one in rows)
    path.write_text("".join(f"{line}{end}" for line in lines), encoding="utf-8")
    return path


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_the_longest_of_texts_in_one_alphabet_is_always_found(tmp_path_factory, lengths):
    path = tmp_path_factory.getbasetemp() / "lengths.jsonl"
    write(path, [{"text": "말" * one} for one in lengths])
    assert longest_example(path, Letters(), None) == max(lengths)


def test_only_the_longest_lines_are_counted(tmp_path):
    rows = [{"text": "x" * length} for length in range(1, 200)]
    reader = Letters()
    assert longest_example(write(tmp_path / "train.jsonl", rows), reader, None) == 199
    assert sorted(len(one["text"]) for one in reader.asked) == list(range(192, 200))


@pytest.mark.parametrize(("most", "found"), [(None, 50), (49, 49), (50, 50), (51, 50)])
def test_a_text_counts_up_to_the_length_of_a_block(tmp_path, most, found):
    path = write(tmp_path / "train.jsonl", [{"text": "x" * 50}])
    assert longest_example(path, Letters(), most) == found


def test_empty_sets_and_empty_lines_have_no_longest_example(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("")
    assert longest_example(path, Letters(), None) is None
    path.write_text("\n  \n")
    assert longest_example(path, Letters(), 64) is None
    write(path, [{"text": "abc"}], end="\n\n")
    assert longest_example(path, Letters(), None) == 3


def test_the_rows_of_a_pair_are_counted_apart(tmp_path):
    path = write(tmp_path / "train.jsonl", [{"rows": ["x" * 9, "x" * 4], "text": "x" * 30}])
    assert longest_example(path, Letters(), None) == 9


def test_a_pair_goes_through_the_model_as_two_rows(shape):
    pair, single = (
        fit(training(shape, method=one, per_device_train_batch_size=size), None)
        for one, size in (("dpo", 4), ("supervised", 8))
    )
    assert pair.need.activations == single.need.activations
    one = training(shape, method="dpo", gradient_checkpointing="off")
    sizes = [fit(one, gb * GB).size for gb in range(20, 200, 20)]
    assert all(small <= large for small, large in pairwise(sizes))
    assert dataclasses.replace(fit(one, None), size=8) == fit(one, None)
