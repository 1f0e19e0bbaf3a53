"""A place in a text where something personal or secret stands."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One e-mail address, number or key."""

    kind: str
    """One of `controller.data.transforms.pii.detect.KINDS`."""
    start: int
    end: int
    """The first character that no longer belongs to it."""
    value: str = field(repr=False)
    """The same for every way to write it; never shown."""
