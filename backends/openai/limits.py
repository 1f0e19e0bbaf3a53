"""What services publish as their limits on training data, by the endpoint's kind. Pure data.

A server of the kind `compatible` publishes none that holds for all of them: it gets whatever the
protocol can say, and answers for itself.
"""

from dataclasses import dataclass
from typing import Final

_MB: Final = 1000 * 1000
_GB: Final = 1000 * _MB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Limits of one kind of endpoint; None where nothing is published."""

    images: int | None
    """Images in one example."""
    image_bytes: int | None
    """Bytes of one image."""
    examples: int
    """Fewest training examples."""
    graded: int | None
    """Most training examples of reinforcement."""
    graded_held_out: int | None
    """Most held-out examples of reinforcement."""
    file_bytes: int | None
    """Bytes of one file."""
    suffix: int
    """Characters of a suffix."""


UPLOAD_BYTES: Final = 512 * _MB
"""Bytes of one request's file; a larger file is uploaded in parts."""
PUBLISHED: Final = {
    "openai": ServiceLimits(
        images=10,
        image_bytes=10 * _MB,
        examples=10,
        graded=50_000,
        graded_held_out=1_000,
        file_bytes=8 * _GB,
        suffix=64,
    ),
    "azure": ServiceLimits(
        images=64,
        image_bytes=10 * _MB,
        examples=10,
        graded=None,
        graded_held_out=None,
        file_bytes=UPLOAD_BYTES,
        suffix=18,
    ),
    "compatible": ServiceLimits(
        images=None,
        image_bytes=None,
        examples=1,
        graded=None,
        graded_held_out=None,
        file_bytes=None,
        # What the protocol allowed before it allowed 64: servers were written for both.
        suffix=40,
    ),
}
