"""The bytes that a training needs at its longest batch, counted from a model's shape.

The counts follow what transformers' layers keep for backpropagation, and were compared with torch's
allocator: `tests/benchmarks/memory_estimates.py`. Numbers of the widths of a layer are per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from backends.local_gpu.memory.checkpointing import Checkpointing, keeps_product
from backends.local_gpu.memory.shape import Shape
from backends.local_gpu.models.targets.selection import Kind, Targets, select

_FLOAT: Final = 4
_HALF: Final = 2
_MOMENTS: Final = {"adamw": 8.0, "adamw_8bit": 2.03}
"""Bytes that an optimiser keeps for each trained number."""
_NF4: Final = 0.5 + 1 / 64
"""Bytes of a number in four bits, with a scale of one byte for each 64 numbers."""
_LOGITS: Final = 12
"""Bytes of a logit: itself, its logarithm and its gradient."""
_CHUNK: Final = 64
"""Tokens that linear attention treats together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The longest batch of a training."""

    rows: int
    """Rows that go through the model at once."""
    length: int
    """Tokens of the longest row."""

    @property
    def tokens(self) -> int:
        """Number of tokens, padding included."""
        return self.rows * self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Computation of a training."""

    half: bool
    """True if it computes in 16 bits."""
    tile: int
    """Most logits that exist at once."""
    checkpointing: Checkpointing = Checkpointing.OFF
    shards: int = 1
    """Devices that share the weights, their gradients and the optimiser's state of full tuning."""
    on_host: bool = False
    """True if the device is the machine itself, whose memory then holds the best weights too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes by what they hold, when a step needs most."""

    weights: int
    """Of the base model."""
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    """Memory of a step for its gradients and its logits."""
    best: int = 0
    """Of the weights of the lowest held-out loss, which early stopping keeps."""

    @property
    def total(self) -> int:
        """All bytes."""
        learning = self.adapter + self.gradients + self.optimiser + self.best
        return self.weights + learning + self.activations


def estimate(shape: Shape, settings: Mapping[str, Any], batch: Batch, plan: Plan) -> Need:
    """Return what a training needs.

    Args:
        shape: The base model.
        settings: Complete hyperparameters.
        batch: The longest batch.
        plan: How the training computes.
    """
    full = settings["finetuning_type"] == "full"
    width = _HALF if plan.half else _FLOAT
    learning = shape.parameters + shape.beside if full else _adapter(shape, settings)
    moments = _MOMENTS[str(settings.get("optim", "adamw"))]
    activations = _activations(shape, settings, batch, plan)
    gradients = _FLOAT * learning
    if plan.shards > 1:
        return _sharded(shape, plan, activations, moments)
    if full and settings["gradient_accumulation_steps"] == 1:
        # Gradients come into being while activations go: the larger of both counts.
        is_whole = plan.checkpointing is Checkpointing.OFF
        last = (
            activations // max(shape.layers, 1)
            if is_whole
            else _again(shape, settings, batch, width)
        )
        gradients, activations = (
            (0, activations) if activations > gradients + last else (gradients, last)
        )
    return Need(
        weights=_weights(shape, settings, width),
        adapter=0 if full else _FLOAT * learning,
        gradients=gradients,
        optimiser=int(moments * learning),
        activations=activations,
        best=_FLOAT * learning if plan.on_host and settings.get("early_stopping") else 0,
    )


def _sharded(shape: Shape, plan: Plan, activations: int, moments: float) -> Need:
    """Return what full tuning needs on each device whose shards are gathered layer by layer."""
    numbers = shape.parameters + shape.beside
    in_layers = sum(out * into for _, out, into in shape.linear) + _banks(shape)
    layer, outside = in_layers // max(shape.layers, 1), numbers - in_layers
    # One layer computes while the next is gathered; what is outside the layers stays gathered.
    gathered = 2 * layer + outside
    # The products keep their weights in 16 bits until backpropagation has used them.
    at_once = in_layers if plan.checkpointing is Checkpointing.OFF else layer
    cast = _HALF * at_once if plan.half else 0
    return Need(
        weights=_FLOAT * (numbers // plan.shards + gathered) + cast,
        adapter=0,
        gradients=_FLOAT * (numbers // plan.shards + layer + outside),
        optimiser=int(moments * numbers) // plan.shards,
        activations=activations,
    )


def _weights(shape: Shape, settings: Mapping[str, Any], width: int) -> int:
    numbers = shape.parameters + shape.beside
    in_layers = sum(out * into for _, out, into in shape.linear)
    if settings["finetuning_type"] == "full":
        # Weights stay in 32 bits, and those of products are cast once a step.
        cast = 0 if width == _FLOAT else _HALF * (in_layers + _banks(shape))
        return _FLOAT * numbers + cast
    if settings.get("quantization") == "nf4":
        return int(_NF4 * in_layers) + width * (numbers - in_layers)
    return width * numbers


def _banks(shape: Shape) -> int:
    return sum(numbers for _, numbers in shape.banks)


def _chosen(shape: Shape, settings: Mapping[str, Any]) -> Targets:
    return select(shape.stored.known, settings)


def _on_experts(shape: Shape, settings: Mapping[str, Any]) -> int:
    """Return the numbers of the experts that have an adapter."""
    if settings["finetuning_type"] == "full":
        return 0
    chosen = _chosen(shape, settings).parameters
    return sum(one.size for one in chosen if one.kind is Kind.EXPERTS)


def _targets(shape: Shape, settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the output and input width of each layer with an adapter."""
    return [(one.out, one.into) for one in _chosen(shape, settings).layers]


def _adapter(shape: Shape, settings: Mapping[str, Any]) -> int:
    """Return the number of an adapter's weights, and of those that are trained whole."""
    return _chosen(shape, settings).size(int(settings["r"]))


def _activations(shape: Shape, settings: Mapping[str, Any], batch: Batch, plan: Plan) -> int:
    full = settings["finetuning_type"] == "full"
    width = _HALF if plan.half else _FLOAT
    stream = _FLOAT if full or not plan.half else _HALF
    # The input and the output of the last normalisation, and the chosen positions of the latter.
    ends = batch.tokens * shape.hidden * ((2 if full else 1) * _FLOAT + 2 * width)
    # A cap keeps one more number; in 16 bits, others are smaller by as much.
    logit = _LOGITS + (_FLOAT if shape.caps_logits and not plan.half else 0)
    head = min(batch.tokens * shape.vocabulary, plan.tile) * logit
    if plan.checkpointing is Checkpointing.OFF:
        share = shape.fixed_attention / shape.layers
        layer = _kept(shape, settings, batch, width, share)
        return shape.layers * layer + ends + max(head, _behind(shape, batch, width))
    inputs = shape.layers * batch.tokens * shape.hidden * stream
    selected = 0
    if plan.checkpointing is Checkpointing.SELECTIVE:
        selected = int(batch.tokens * _selected(shape, settings, width))
    # What was kept of a layer is released, or counted in it, once the layer is computed again.
    others = (shape.layers - 1) * selected
    return inputs + others + max(selected + ends + head, _again(shape, settings, batch, width))


def _again(shape: Shape, settings: Mapping[str, Any], batch: Batch, width: int) -> int:
    """Return what the largest layer takes that is computed again: only one is there at a time."""
    share = shape.fixed_attention / shape.layers
    shares = {share} if share in {0, 1} else {0.0, 1.0}
    largest = max(_kept(shape, settings, batch, width, one) for one in shares)
    return largest + _behind(shape, batch, width)


def _behind(shape: Shape, batch: Batch, width: int) -> int:
    """Return what a layer's backpropagation needs beside what was kept."""
    return batch.tokens * width * (shape.hidden + 2 * shape.inner * shape.active)


def _kept(shape: Shape, settings: Mapping[str, Any], batch: Batch, width: int, share: float) -> int:
    """Return what a layer keeps for a batch; `share` as in `_layer`."""
    # An adapter on experts is added to their weights, and the sums are kept.
    sums = width * _on_experts(shape, settings) // shape.layers
    return int(batch.tokens * _layer(shape, settings, batch, width, share)) + sums


def _selected(shape: Shape, settings: Mapping[str, Any], width: int) -> float:
    """Return the bytes that selective checkpointing keeps of a layer for each token."""
    numbers = sum(out for _, out, into in shape.linear if keeps_product(into, out)) / shape.layers
    if shape.experts:
        joined = (2 if shape.gated else 1) * shape.inner
        if keeps_product(shape.hidden, joined):
            numbers += shape.active * joined
        if keeps_product(shape.inner, shape.hidden):
            numbers += shape.active * shape.hidden
    if settings["finetuning_type"] != "full":
        numbers += len(_targets(shape, settings)) / shape.layers * int(settings["r"])
    # Attention without a kernel computes its probabilities again.
    kernels = 0 if shape.eager else 1 - shape.fixed_attention / shape.layers
    return numbers * width + kernels * (shape.queries * width + _FLOAT * shape.heads)


def _layer(
    shape: Shape, settings: Mapping[str, Any], batch: Batch, width: int, share: float
) -> float:
    """Return the bytes that a layer keeps for each token.

    Args:
        shape: The model.
        settings: Complete hyperparameters.
        batch: The batch.
        width: Bytes of a number of the matrix work.
        share: Share of attention of a fixed size: 0 and 1 for either kind of layer, else a mean.
    """
    full = settings["finetuning_type"] == "full"
    normed = _FLOAT * (2 if full else 1)
    norms = shape.norms * shape.hidden * (width if shape.layer_norms else normed)
    inputs = 2 * shape.hidden * width
    if full and width == _HALF:
        # The input of each product is cast on its own.
        into = [one for one in shape.linear if one[2] == shape.hidden]
        inputs = max(2, len(into) // shape.layers - (shape.queries == shape.hidden)) * (
            shape.hidden * width
        )
    attention = (1 - share) * _attention(shape, batch, width, normed) + share * _FLOAT * (
        5 * shape.fixed_heads * _CHUNK + 28 * shape.fixed_width
    )
    # A bias in 32 bits makes what follows it 32 bits wide.
    inner = _FLOAT if full and shape.model_type == "gpt_oss" else width
    bytes_ = norms + inputs + attention + _feed_forward(shape, inner)
    if not full:
        targets = _targets(shape, settings)
        bytes_ += len(targets) / shape.layers * int(settings["r"]) * width
        if settings.get("use_dora"):
            # What the layer and the adapter give, to learn the lengths.
            bytes_ += sum(out for out, _ in targets) / shape.layers * 2 * width
        if settings.get("lora_dropout"):
            # What is left of the inputs, and which were dropped.
            bytes_ += sum(into for _, into in targets) / shape.layers * 2 * width
    return bytes_


def _attention(shape: Shape, batch: Batch, width: int, normed: int) -> float:
    # Queries, the result, and keys and values once for each head; padding needs a mask.
    bytes_ = 4 * shape.queries * width + _FLOAT * shape.heads + batch.length * width
    if shape.queries_normed:
        bytes_ += (shape.queries + shape.keys) * normed
    if shape.eager:
        probability = _FLOAT if width == _FLOAT else _FLOAT + _HALF
        bytes_ += shape.heads * batch.length * (probability + (width if shape.capped else 0))
    return bytes_


def _feed_forward(shape: Shape, width: int) -> float:
    if shape.model_type == "gpt_oss":
        return shape.active * (6 * shape.inner + shape.hidden) * width
    kept = 4 if shape.gated else 2 if shape.simple else 5
    if not shape.experts:
        return kept * shape.inner * width
    routed = shape.active * (kept * shape.inner + 2 * shape.hidden)
    return (routed + kept * shape.shared) * width
