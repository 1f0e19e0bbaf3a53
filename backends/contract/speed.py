"""The speed of a training: facts that a backend may record, in words."""

from collections.abc import Mapping
from typing import Final

from backends.contract.inspector import Json

_DEVICE: Final = "of what the device can do"


def speed_words(facts: Mapping[str, Json]) -> str:
    """Return the speed of a training: `8,100 tokens/s, 0% padding, 402 TFLOP/s`.

    Args:
        facts: Facts of a finished training; what is missing is left out.
    """
    parts = []
    if (tokens := _number(facts.get("tokens_per_s"))) is not None:
        parts.append(f"{tokens:,.0f} tokens/s")
    if (padding := _number(facts.get("padding"))) is not None:
        parts.append(f"{padding:.0%} padding")
    if (done := _number(facts.get("tflops_per_s"))) is not None:
        share = _number(facts.get("mfu"))
        parts.append(f"{done:.3g} TFLOP/s" + ("" if share is None else f" ({share:.0%} {_DEVICE})"))
    if isinstance(attention := facts.get("attention"), str):
        parts.append(f"attention by {attention}")
    return ", ".join(parts)


def _number(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
