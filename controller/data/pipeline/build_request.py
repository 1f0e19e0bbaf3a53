"""Request of a build. It is apart from `build`, so that finding a dataset imports no builder."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.contract.inspector import ExampleInspector
from controller.data.recipes import NEWEST
from controller.spec.data import Data

REASONS = "reasons.txt"
"""Name of the file with every reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A dataset to build."""

    data: Data
    file: str
    """The spec, as shown in errors."""
    method: str
    inspector: ExampleInspector | None
    """Knows what the trainer would refuse, and counts tokens for `max_tokens`."""
    recipe: int = NEWEST
    """Version of the conversion from row to example; see `recipes`."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns whose values travel beside held-out examples, each with the spec's field for them."""
    trains: bool = True
    """False for examples that models only answer: any number of them is enough."""
