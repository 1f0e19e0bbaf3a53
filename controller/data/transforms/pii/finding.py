"""A place in a text with personal data or a secret."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One e-mail address, number or key."""

    kind: str
    """One of `controller.data.transforms.pii.detect.KINDS`."""
    start: int
    end: int
    """The first character after it."""
    value: str = field(repr=False)
    """Equal for every way to write it; never shown."""
