"""Published limits of services on training data, by the endpoint's kind. Pure data.

No limit holds for all servers of the kind `compatible`. So they get any data that the protocol
allows, and check it themselves.
"""

from dataclasses import dataclass
from typing import Final

_MB: Final = 1000 * 1000
_GB: Final = 1000 * _MB


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """Limits of one kind of endpoint; None where no limit is published."""

    examples: int
    """Minimum number of training examples."""
    suffix: int
    """Maximum number of characters of a suffix."""
    images: int | None = None
    """Maximum number of images in an example."""
    image_bytes: int | None = None
    """Maximum size of an image, in bytes."""
    graded: int | None = None
    """Maximum number of training examples of reinforcement."""
    graded_held_out: int | None = None
    """Maximum number of held-out examples of reinforcement."""
    file_bytes: int | None = None
    """Maximum size of a file, in bytes."""


UPLOAD_BYTES: Final = 512 * _MB
"""Largest file for a single request, in bytes; a larger file is uploaded in parts."""
PUBLISHED: Final = {
    "openai": ServiceLimits(
        examples=10,
        suffix=64,
        images=10,
        image_bytes=10 * _MB,
        graded=50_000,
        graded_held_out=1_000,
        file_bytes=8 * _GB,
    ),
    "azure": ServiceLimits(
        examples=10, suffix=18, images=64, image_bytes=10 * _MB, file_bytes=UPLOAD_BYTES
    ),
    # The protocol's limit of a suffix before it became 64: some servers still have the old limit.
    "compatible": ServiceLimits(examples=1, suffix=40),
}
