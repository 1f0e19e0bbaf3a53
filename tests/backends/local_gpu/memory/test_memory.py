"""The memory of a training, from a model's files: what is counted, and what a plan says of it."""

import dataclasses
import importlib
import json
import subprocess
import sys

import pytest

from backends.contract.jobs import BaseModel
from backends.local_gpu.hyperparameters import parse
from backends.local_gpu.memory.checkpointing import Checkpointing
from backends.local_gpu.memory.estimate import Batch, Plan, estimate
from backends.local_gpu.memory.fit import Training, fit, what_would_fit
from backends.local_gpu.memory.needs import memory_of
from backends.local_gpu.memory.room import Room, room_of
from backends.local_gpu.memory.shape import read_shape
from tests.backends.local_gpu.memory.headers import QWEN3_8B, write_headers

GB = 2**30


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    return read_shape(write_headers(tmp_path_factory.mktemp("bases") / "qwen3-8b", QWEN3_8B))


def training(shape, longest=1024, method="supervised", *, half=True, **raw):
    return Training(
        shape=shape,
        settings=parse(method, raw),
        method=method,
        longest=longest,
        tile=2**26,
        half=half,
    )


def test_a_shape_is_read_from_headers(shape, tmp_path):
    assert 8.1e9 < shape.parameters < 8.3e9
    assert (shape.layers, shape.hidden, shape.queries, shape.keys) == (36, 4096, 4096, 1024)
    assert (shape.norms, shape.queries_normed, shape.gated, shape.experts) == (2, True, True, 0)
    assert len(shape.linear) == 7 * 36
    assert read_shape(tmp_path) is None
    broken = write_headers(tmp_path / "broken", QWEN3_8B)
    (broken / "config.json").write_text(json.dumps({"model_type": "new"}))
    assert read_shape(broken) is None
    (broken / "model.safetensors").write_bytes(b"no")
    assert read_shape(broken) is None


def test_what_a_training_needs_is_what_it_consists_of(shape):
    settings = parse("supervised", {"dtype": "bfloat16"})
    batch, plan = Batch(rows=8, length=1024), Plan(half=True, tile=2**26)
    need = estimate(shape, settings, batch, plan)
    assert need.weights == 2 * shape.parameters
    # Rank 16 on all seven layers of each block: 43.6 million numbers, and their moments.
    adapter = 36 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 12288))
    assert (need.adapter, need.gradients, need.optimiser) == (
        4 * adapter,
        4 * adapter,
        8 * adapter,
    )
    twice = estimate(shape, settings, Batch(rows=16, length=1024), plan)
    assert 1.9 < twice.activations / need.activations < 2.0
    selective, least = (
        estimate(shape, settings, batch, Plan(half=True, tile=2**26, checkpointing=way)).activations
        for way in (Checkpointing.SELECTIVE, Checkpointing.ON)
    )
    assert least < 0.2 * need.activations
    # Of each layer but one: queries, keys, values, two outputs, attention, and 7 x 16 of the adapter.
    kept = 35 * 8 * 1024 * (2 * (4 * 4096 + 2 * 1024 + 7 * 16) + 4 * 32)
    assert selective == least + kept
    full = estimate(shape, parse("supervised", {"finetuning_type": "full"}), batch, plan)
    assert full.weights + full.optimiser >= 12 * shape.parameters


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_early_stopping_keeps_the_best_weights_in_the_memory_of_the_machine(shape, kind):
    raw = {"finetuning_type": kind, "early_stopping": {"patience": 2}}
    settings, batch = parse("supervised", raw), Batch(rows=1, length=64)
    on_host, on_gpu = (
        estimate(shape, settings, batch, Plan(half=False, tile=2**24, on_host=here))
        for here in (True, False)
    )
    trained = shape.parameters if kind == "full" else on_host.adapter // 4
    assert (on_host.best, on_gpu.best) == (4 * trained, 0)
    assert on_host.total - on_gpu.total == on_host.best


def test_whole_layers_are_trained_in_float32_beside_the_base(shape):
    batch, plan = Batch(rows=1, length=64), Plan(half=True, tile=2**24)
    plain, whole = (
        estimate(shape, parse("supervised", raw), batch, plan)
        for raw in ({}, {"modules_to_save": ["lm_head"]})
    )
    assert whole.adapter - plain.adapter == 4 * 151936 * 4096
    assert whole.weights == plain.weights


def test_checkpointing_comes_before_smaller_batches_and_both_before_giving_up(shape):
    one = training(shape)
    whole = fit(one, None)
    assert (whole.checkpointing, whole.size, whole.fits) == (Checkpointing.OFF, 8, True)
    assert fit(one, 141 * GB) == whole
    selective = fit(one, 40 * GB)
    assert (selective.checkpointing, selective.size) == (Checkpointing.SELECTIVE, 8)
    saved = fit(one, 24 * GB)
    assert (saved.checkpointing, saved.size, saved.fits) == (Checkpointing.ON, 8, True)
    smaller = fit(training(shape, longest=8192), 24 * GB)
    assert (smaller.checkpointing, smaller.fits) == (Checkpointing.ON, True)
    assert smaller.size * smaller.accumulation == 8
    assert smaller.size < 8
    assert not fit(one, 12 * GB).fits


def test_what_a_person_wrote_is_kept(shape):
    for way in ("on", "selective"):
        assert fit(training(shape, gradient_checkpointing=way), None).checkpointing == way
    for way in ("off", "selective"):
        smaller = fit(training(shape, gradient_checkpointing=way), 24 * GB)
        assert (smaller.checkpointing, smaller.size < 8) == (way, True)
    # Batches of kto are not split: examples lend each other their answers.
    assert fit(training(shape, longest=8192, method="kto"), 24 * GB).size == 8
    pairs, single = (fit(training(shape, method=one), None) for one in ("dpo", "supervised"))
    assert pairs.need.activations > 1.8 * single.need.activations


@pytest.mark.parametrize(
    ("raw", "usable", "expected"),
    [
        ({"finetuning_type": "full"}, 40, "finetuning_type: lora"),
        ({"dtype": "float32"}, 24, "dtype: bfloat16"),
        ({}, 12, "quantization: nf4"),
        ({"gradient_checkpointing": "off"}, 20, "gradient_checkpointing: auto"),
        ({"gradient_checkpointing": "selective"}, 20, "gradient_checkpointing: auto"),
        ({}, 4, None),
    ],
)
def test_the_setting_that_would_make_it_fit_is_named(shape, raw, usable, expected):
    one = training(shape, longest=4096, **raw)
    assert not fit(one, usable * GB).fits
    found = what_would_fit(one, usable * GB)
    assert found == expected


class Counts:
    """Counts a word as a token."""

    def longest(self, examples):
        del examples
        return []

    def count(self, examples):
        return [len(one["messages"][0]["content"].split()) for one in examples]


@pytest.fixture
def request_of(make_request):
    def make(words, **raw):
        rows = [{"messages": [{"role": "assistant", "content": "x " * n}]} for n in words]
        return make_request(rows=rows, **raw)

    return make


@pytest.mark.torch
def test_a_plan_tells_what_is_needed_and_refuses_what_cannot_fit(shape, request_of):
    request = request_of([3, 900, 20])
    room = Room(device="0", size=24 * GB, half=True)
    found = memory_of(request, shape, Counts(), room)
    assert found.remark == "8 x 900 tokens, gradient checkpointing"
    roomy = Room(device="0", size=48 * GB, half=True)
    remark = memory_of(request, shape, Counts(), roomy).remark
    assert remark == "8 x 900 tokens, selective gradient checkpointing"
    assert found.needs == sum(found.parts.values()) < found.has == room.size
    assert found.parts["Python and torch"] == room.size - room.usable > 0.5 * GB
    assert found.problem == found.remedy == ""
    small = memory_of(request, shape, Counts(), Room(device="0", size=8 * GB, half=True))
    assert small.problem.startswith("training needs 17.")
    assert small.problem.endswith("batches of 1, and GPU 0 has 8.0 GB")
    assert small.remedy == "Write `quantization: nf4` in `hyperparameters`."
    tiny = memory_of(request, shape, Counts(), Room(device="0", size=4 * GB, half=True))
    assert "Use a smaller base model" in tiny.remedy
    full = request_of([900], finetuning_type="full")
    refused = memory_of(full, shape, Counts(), Room(device="0", size=80 * GB, half=True))
    assert refused.remedy == "Write `finetuning_type: lora` in `hyperparameters`."
    assert memory_of(request, shape, Counts(), None).has is None
    assert memory_of(request_of([]), shape, Counts(), room) is None


@pytest.mark.torch
def test_the_backend_estimates_what_is_on_this_machine(backend, make_request):
    found = backend.memory(make_request())
    room = room_of("cpu")
    process = found.parts["Python and torch"]
    assert found.has == room.size > found.needs > process == room.size - room.usable
    assert "tokens" in found.remark
    gone = BaseModel(reference="acme/none", revision="c" * 40, identity="hub:acme/none")
    assert backend.memory(dataclasses.replace(make_request(), base_model=gone)) is None


def test_a_machine_knows_its_memory_and_unknown_gpus_have_none(monkeypatch, tmp_path):
    room_of.cache_clear()
    assert room_of("cpu").size > GB
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\n[ "$1" = "--id=1" ] && echo "15360, 7.5" || exit 6\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert room_of("1") == Room(device="1", size=15360 * 2**20, half=False)
    assert room_of("7") is None
    room_of.cache_clear()


@pytest.mark.torch
@pytest.mark.usefixtures("one_thread")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("llama", "lora-float32"),
        ("gemma2", "bfloat16-selective"),
        ("gemma3-vision", "full-stopping"),
        # The largest of different layers; gradients beside the last layer.
        ("qwen3.5", "bfloat16-checkpointing"),
        ("gpt-oss", "full-checkpointing"),
    ],
)
def test_estimates_are_near_what_the_allocator_counts(tmp_path, name, way):
    """Some cells of the table in `tests/benchmarks/memory_estimates.py`."""
    # Tests without the training packages import this file too.
    table = importlib.import_module("tests.benchmarks.memory_estimates")
    table.write_model(name, tmp_path)
    expected, found = table.compared(tmp_path, read_shape(tmp_path), way)
    assert expected == pytest.approx(found, rel=table.GOAL)


def test_estimating_imports_no_training_package():
    code = (
        "import sys, backends.local_gpu.memory.needs, backends.local_gpu.memory.room\n"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert made.stdout.strip() == "[]"
