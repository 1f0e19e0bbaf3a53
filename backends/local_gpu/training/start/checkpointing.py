"""Gradient checkpointing of a model's layers; see `memory.checkpointing`."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from backends.local_gpu.memory.checkpointing import Checkpointing, keeps_product

_PRODUCTS: Final[Mapping[str, int]] = {"aten::mm": 1, "aten::addmm": 2, "aten::_grouped_mm": 1}
"""Place of the second factor among the arguments of a product of matrices."""
_FOUR_BITS: Final = "bitsandbytes::gemm_4bit"
"""Product with a matrix in four bits."""
_SIZE_OF_FOUR_BITS: Final = 2
"""Place of that matrix's output and input width among the arguments."""
_ATTENTION: Final[Mapping[str, int | None]] = {
    "aten::_scaled_dot_product_flash_attention_for_cpu": 3,
    "aten::_scaled_dot_product_flash_attention": 3,
    "aten::_scaled_dot_product_efficient_attention": 5,
    "aten::_scaled_dot_product_cudnn_attention": 5,
    "torch_attn::_varlen_attn": None,
}
"""Place of the dropped share among the arguments of attention's kernels, where they drop any."""


def checkpoint_layers(model: PreTrainedModel, way: Checkpointing) -> None:
    """Keep a part of each layer for backpropagation, and compute the rest of the layer again.

    Args:
        model: The model.
        way: What is kept.
    """
    if way is Checkpointing.OFF:
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if way is Checkpointing.SELECTIVE:
        options["context_fn"] = _contexts
    # Its former name is deprecated, and the newer one is missing before transformers 5.23.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)(options)


class _Kept(TorchDispatchMode):  # type: ignore[misc]  # torch is not typed here
    """Passes on to torch's context what is kept, and computes everything else.

    torch counts operations to find their results again. Casts of weights that are still known from
    another batch would shift that count, so torch sees no operation but those that are kept.
    """

    def __init__(self, context: TorchDispatchMode, lost: tuple[type[Exception], ...] = ()) -> None:
        """Wrap a context.

        Args:
            context: Torch's context.
            lost: Errors by which it tells that it does not have a result any more.
        """
        super().__init__()
        self._context = context
        self._lost = lost

    def __torch_dispatch__(
        self,
        operation: torch._ops.OpOverload,
        types: Sequence[type],
        given: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
    ) -> object:
        """Return the result of an operation."""
        if is_kept(operation.name(), given):
            with suppress(*self._lost):
                return self._context.__torch_dispatch__(operation, types, given, named or {})
        return operation(*given, **(named or {}))


def _contexts() -> tuple[_Kept, _Kept]:
    """Return the contexts in which a layer is computed for the first and for the second time."""
    # Only operations that are kept get there.
    first, second = create_selective_checkpoint_contexts(
        lambda *_, **__: CheckpointPolicy.MUST_SAVE
    )
    # Some layers add to a result in place, such as a bias: then the result is lost.
    return _Kept(first), _Kept(second, lost=(RuntimeError,))


def is_kept(name: str, given: tuple[Any, ...]) -> bool:
    """Return True if selective checkpointing keeps the result of an operation.

    Args:
        name: The operation.
        given: Its arguments by place; those at their default may be missing.
    """
    if name in _PRODUCTS:
        into, out = given[_PRODUCTS[name]].shape[-2:]
        return keeps_product(into, out)
    if name == _FOUR_BITS:
        out, into = given[_SIZE_OF_FOUR_BITS]
        return keeps_product(into, out)
    if name not in _ATTENTION:
        return False
    place = _ATTENTION[name]
    # Attention that drops scores draws random numbers. If it were not computed again, what is
    # dropped after it would be drawn differently than before.
    return place is None or len(given) <= place or given[place] == 0
