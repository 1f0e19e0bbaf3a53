"""What is to be built, and what a build leaves. Records only.

They are apart from `build`, so that whoever finds a dataset built need not import what builds it.
"""

from dataclasses import dataclass

from backends.contract.inspector import ExampleInspector, Feature
from controller.data.recipes import NEWEST
from controller.data.report import SourceReport, SplitName, StepReport
from controller.data.storage.hashing_writer import WrittenFile
from controller.spec.data import Data

REASONS = "reasons.txt"
"""Name of the file with every reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What `build` left in its folder."""

    files: dict[str, WrittenFile]
    """`train.jsonl`, `train.origins`, `held_out.jsonl`, `held_out.origins` and `reasons.txt`."""
    tokens: dict[SplitName, int] | None
    sources: tuple[SourceReport, ...]
    features: tuple[Feature, ...]
    steps: tuple[StepReport, ...]
    recipe_matters: bool
    """True if an older recipe would have made other examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """What is to be built."""

    data: Data
    """The section of the spec."""
    file: str
    """The spec, as shown in errors."""
    method: str
    """What is learned from: answers, preference pairs, graded prompts or texts."""
    inspector: ExampleInspector | None
    """Knows what the trainer would refuse, and counts tokens for `max_tokens`."""
    recipe: int = NEWEST
    """Version of what a row becomes; see `recipes`."""
