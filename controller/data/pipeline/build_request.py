"""What to build, and the result of a build. Records only.

They are apart from `build`, so that finding a dataset in the cache does not import the builder.
"""

from dataclasses import dataclass

from backends.contract.inspector import ExampleInspector, Feature
from controller.data.recipes import NEWEST
from controller.data.report import SourceReport, StepReport
from controller.data.storage.hashing_writer import WrittenFile
from controller.spec.data import Data, SplitName

REASONS = "reasons.txt"
"""Name of the file with every reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """Files that `build` wrote into its folder, and its report."""

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
    """A dataset to build."""

    data: Data
    file: str
    """The spec, as shown in errors."""
    method: str
    inspector: ExampleInspector | None
    """Knows what the trainer would refuse, and counts tokens for `max_tokens`."""
    recipe: int = NEWEST
    """Version of the conversion from row to example; see `recipes`."""
