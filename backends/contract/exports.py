"""Exports of a trained model's weights. Part of the contract.

Nothing here imports anything but the standard library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from backends.contract.inspector import Json

FORMATS: Final[Mapping[str, str]] = {
    "adapter": "the adapter alone, for PEFT",
    "merged": "the adapter merged into its base model, for transformers",
    "vllm": "the adapter in the form that vLLM loads",
    "gguf": "one merged file for llama.cpp",
    "ollama": "one merged file and a Modelfile",
}
"""Formats of exported weights, each with what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """Weights to write into a folder."""

    model_id: str
    name: str
    """Name of the fine-tune; files are called after it."""
    format: str
    """One of `FORMATS`."""
    folder: Path
    """A new, empty folder. The caller gives it its final name once the export has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStep:
    """One step of an export. The last step carries the facts."""

    message: str
    facts: Mapping[str, Json] = field(default_factory=dict)
    """Facts for the manifest, such as the base model and versions. Four are also shown to people:

    - `checks`: comparisons of greedy answers, each with `by`, `answers`, `equal` and `near_ties`
    - `questions`: the origin of the questions, in words
    - `notes`: sentences that users of the weights need
    - `use`: a command that loads them, in which `FOLDER` stands for their folder
    """
