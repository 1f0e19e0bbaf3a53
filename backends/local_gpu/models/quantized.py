"""Base models in 4 bits, by bitsandbytes."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final

import torch
from transformers import BitsAndBytesConfig

from backends.contract.errors import BackendError
from backends.installation import install_command

PACKAGE: Final = "bitsandbytes"


def opening(quantization: str | None, dtype: torch.dtype, where: torch.device) -> Mapping[str, Any]:
    """Return the arguments that open a model with quantised weights.

    Args:
        quantization: `nf4`, or None for weights as they are.
        dtype: Precision of the work.
        where: Device to load the model to.

    Raises:
        BackendError: bitsandbytes is not installed.
    """
    if quantization is None:
        return {}
    if find_spec(PACKAGE) is None:
        raise BackendError(f"`quantization: nf4` needs {PACKAGE}", install_command("quantization"))
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantization,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_use_double_quant=True,
    )
    return {"quantization_config": config, "device_map": {"": where}}


def measure_as_trained(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from packing weights again on a CPU: it would round them, to measure."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
