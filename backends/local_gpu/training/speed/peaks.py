"""The most that devices compute, from their makers' data sheets.

Each number is for dense matrices in half precision with sums in float32, without sparsity. A device
that is not listed has no share of its limit in the facts of a run.
"""

import re
from typing import Final

import torch

_TFLOPS: Final = (
    # NVIDIA Blackwell, Hopper, Ampere and Ada data sheets; the sheets' own numbers are twice as
    # high where they count sparsity.
    (r"\bB200\b", 2250.0),
    (r"\bGH200\b", 989.4),
    (r"\bH200 NVL\b", 835.5),
    (r"\bH200\b", 989.4),
    (r"\bH100 PCIe\b", 756.5),
    (r"\bH100 NVL\b", 835.5),
    (r"\bH100\b", 989.4),
    (r"\bA100\b", 312.0),
    (r"\bA30\b", 165.0),
    (r"\bA40\b", 149.7),
    (r"\bA10\b", 125.0),
    (r"\bL40S\b", 362.05),
    (r"\bL40\b", 181.05),
    (r"\bL4\b", 121.0),
    (r"\bRTX A6000\b", 154.8),
    (r"\bRTX 5090\b", 209.5),
    (r"\bRTX 4090\b", 165.2),
    (r"\bRTX 3090\b", 71.0),
    # Half precision is float16 on these two.
    (r"\bV100\b", 125.0),
    (r"\bT4\b", 65.0),
)
"""Name of a device, as torch gives it, and its TFLOP/s; the first that matches counts."""
_HALF: Final = (torch.bfloat16, torch.float16)


def peak_flops(device: str, dtype: torch.dtype) -> float | None:
    """Return the operations per second that a device can do; None where that is not known.

    Args:
        device: The device's name.
        dtype: Precision of the matrix work.
    """
    if dtype not in _HALF:
        return None
    for name, tflops in _TFLOPS:
        if re.search(name, device.replace("-", " ")):
            return tflops * 1e12
    return None
