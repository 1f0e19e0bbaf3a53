"""The memory of a job in the words of a plan: parts, remark, problem and remedy."""

import dataclasses
import json
from itertools import product

import pytest

from backends.contract.errors import BackendError
from backends.contract.jobs import BaseModel, Hardware, TrainRequest
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.memory.needs import memory_of
from backends.local_gpu.memory.room import Room
from backends.local_gpu.memory.shape import read_shape
from tests.backends.local_gpu.memory.headers import QWEN3_8B, write_headers

GB = 2**30
SMALL = QWEN3_8B | {"num_hidden_layers": 2, "vocab_size": 1000, "max_position_embeddings": 512}


class Words:
    """Counts a word as a token, and the rows of pairs apart."""

    def __init__(self, *, pairs=False):
        self.pairs = pairs

    def longest(self, examples):
        return [max(map(len, map(str.split, one["answers"]))) for one in examples if self.pairs]

    def count(self, examples):
        return [len(one["text"].split()) for one in examples]


class Uncounted(Words):
    """Has no tokenizer here."""

    def count(self, examples):
        del examples
        raise BackendError("counting tokens needs the package tokenizers")


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    return read_shape(write_headers(tmp_path_factory.mktemp("bases") / "small", SMALL))


@pytest.fixture
def request_of(tmp_path):
    """Return a function that writes examples, and makes the request to train on them."""

    def make(examples, method="supervised", gpus=1, **raw):
        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in examples))
        return TrainRequest(
            name="cafe",
            fingerprint="ft1:" + "a" * 64,
            attempt=1,
            base_model=BaseModel(reference="/none", revision=None, identity="sha256:1"),
            method=method,
            hyperparameters=parse(method, raw),
            seed=1,
            train=path,
            held_out=path,
            train_origins=path,
            hardware=Hardware(gpus=gpus),
        )

    return make


def texts(*lengths):
    return [{"text": " ".join(["말"] * length)} for length in lengths]


GPU = Room(device="3", size=80 * GB, half=True)
CPU = Room(device="cpu", size=80 * GB, half=False)


def test_the_parts_are_what_is_needed_and_nothing_else(shape, request_of):
    for room, raw in product((GPU, CPU, None), ({}, {"finetuning_type": "full"})):
        found = memory_of(request_of(texts(5, 40, 9), **raw), shape, Words(), room)
        assert sum(found.parts.values()) == found.needs
        assert found.remark.startswith("8 x 40 tokens")
        assert ("Python and torch" in found.parts) == (room is not None)
        assert found.has == (None if room is None else 80 * GB)
        assert (found.problem, found.remedy) == ("", "")
        assert "best weights" not in found.parts


def test_weights_take_half_only_where_the_device_computes_in_16_bits(shape, request_of):
    request = request_of(texts(40))
    parts = {room: memory_of(request, shape, Words(), room).parts for room in (GPU, CPU, None)}
    whole = 4 * shape.parameters
    assert [one["weights"] for one in parts.values()] == [whole // 2, whole, whole]
    assert parts[GPU]["Python and torch"] == 600 * 2**20
    assert parts[CPU]["Python and torch"] == 450 * 2**20
    # A GPU computes larger tiles of logits at once, a CPU none that is larger than a batch needs.
    wide = dataclasses.replace(shape, vocabulary=2**24)
    exact = request_of(texts(40), dtype="float32")
    on_gpu, on_cpu = (memory_of(exact, wide, Words(), room).parts for room in (GPU, CPU))
    assert on_gpu["activations"] - on_cpu["activations"] == 12 * (2**26 - 2**24)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_best_weights_of_early_stopping_are_beside_them_on_the_machine(shape, request_of, kind):
    request = request_of(texts(40), early_stopping={"patience": 1}, finetuning_type=kind)
    on_cpu, on_gpu = (memory_of(request, shape, Words(), room).parts for room in (CPU, GPU))
    assert on_cpu["best weights"] == on_cpu["optimiser"] // 2
    assert "best weights" not in on_gpu


def test_the_longest_row_of_a_pair_counts_twice(shape, request_of):
    pairs = [{"answers": ["a b c d e f g", "a"], "text": "too many words " * 9}]
    found = memory_of(request_of(pairs, "dpo"), shape, Words(pairs=True), GPU)
    assert found.remark.startswith("8 x 7 tokens")
    single = memory_of(request_of(texts(7)), shape, Words(), GPU)
    assert found.parts["activations"] > 1.5 * single.parts["activations"]


@pytest.mark.parametrize(
    ("length", "reads", "most"),
    [(64, 512, 64), (1024, 512, 512), (1024, None, 1024), (1024, 300, 300), (2048, 4096, 1300)],
)
def test_a_text_is_read_in_blocks_that_the_base_model_reads(shape, request_of, length, reads, most):
    request = request_of(texts(1300), "continued-pretraining", max_length=length)
    reading = dataclasses.replace(shape, longest=reads)
    assert memory_of(request, reading, Words(), GPU).remark.startswith(f"8 x {most:,} tokens")


def test_examples_that_cannot_be_counted_have_no_memory(shape, request_of):
    request = request_of(texts(5))
    assert memory_of(request, shape, Uncounted(), GPU) is None
    assert memory_of(request_of([]), shape, Words(), GPU) is None
    request.train.unlink()
    assert memory_of(request, shape, Words(), GPU) is None


def test_a_long_example_is_found_among_longer_lines_of_fewer_tokens(shape, request_of):
    # Letters are no tokens: the longest line has the fewest of them.
    rows = [*texts(*range(1, 30)), {"text": "가" * 900}]
    assert memory_of(request_of(rows), shape, Words(), GPU).remark.startswith("8 x 29 tokens")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return read_shape(write_headers(tmp_path_factory.mktemp("bases") / "large", QWEN3_8B))


@pytest.mark.parametrize(
    ("gpus", "raw", "gb", "remark"),
    [
        (1, {}, 48, "8 x 900 tokens, selective gradient checkpointing"),
        (1, {"max_tokens_per_batch": 4000}, 141, "4 x 900 tokens"),
        (
            1,
            {"gradient_checkpointing": "off"},
            24,
            "1 x 900 tokens, accumulated 8 times",
        ),
        (
            1,
            {"gradient_checkpointing": "off", "gradient_accumulation_steps": 2},
            24,
            "1 x 900 tokens, accumulated 16 times",
        ),
        (2, {}, 141, "4 x 900 tokens on each of 2 devices, with all weights"),
        (
            4,
            {"finetuning_type": "full", "gradient_checkpointing": "on"},
            80,
            (
                "2 x 900 tokens on each of 4 devices, which share its weights, "
                "gradient checkpointing"
            ),
        ),
    ],
)
def test_the_remark_tells_what_is_done_for_it_to_fit(large, request_of, gpus, raw, gb, remark):
    room = Room(device="0", size=gb * GB, half=True)
    found = memory_of(request_of(texts(900), gpus=gpus, **raw), large, Words(), room)
    assert (found.remark, found.problem) == (remark, "")


@pytest.mark.parametrize(
    ("device", "where"), [("0", "GPU 0"), ("GPU-1234", "GPU GPU-1234"), ("cpu", "this machine"),
                          ("cpu:1", "this machine")]
)  # fmt: skip
def test_a_device_that_is_too_small_is_named_with_its_memory(large, request_of, device, where):
    room = Room(device=device, size=11 * GB, half=True)
    found = memory_of(request_of(texts(900), dtype="bfloat16"), large, Words(), room)
    needed = found.needs / GB
    assert found.problem == (
        f"training needs {needed:.1f} GB of memory even with batches of 1, and {where} has 11.0 GB"
    )
    assert found.needs - sum(found.parts[one] for one in found.parts if one != "weights") == (
        2 * large.parameters
    )
    assert found.remedy == "Write `quantization: nf4` in `hyperparameters`."


@pytest.mark.parametrize(
    ("method", "raw", "remedy"),
    [
        (
            "supervised",
            {},
            "Use a smaller base model, or shorter examples (`prepare: {max_tokens: ...}`).",
        ),
        (
            "dpo",
            {},
            "Use a smaller base model, or shorter examples (`prepare: {max_tokens: ...}`).",
        ),
        (
            "supervised",
            {"max_tokens_per_batch": 4096},
            (
                "Use a smaller base model, a lower `max_tokens_per_batch`, or shorter examples "
                "(`prepare: {max_tokens: ...}`)."
            ),
        ),
        ("continued-pretraining", {}, "Use a smaller base model, or a lower `max_length`."),
        (
            "continued-pretraining",
            {"max_tokens_per_batch": 4096},
            "Use a smaller base model, a lower `max_tokens_per_batch`, or a lower `max_length`.",
        ),
    ],
)
def test_a_model_that_no_setting_makes_small_enough_is_to_be_replaced(
    large, request_of, method, raw, remedy
):
    room = Room(device="0", size=2 * GB, half=True)
    found = memory_of(request_of(texts(900), method, **raw), large, Words(), room)
    assert (found.remedy, found.has) == (remedy, 2 * GB)


def test_what_is_trained_of_the_model_is_told(large, request_of):
    found = memory_of(request_of(texts(9), r=4), large, Words(), GPU)
    assert found.trains.of == large.parameters
    assert found.trains.adapter_bytes == found.parts["adapter"]
