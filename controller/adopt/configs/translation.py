"""A configuration of another tool, translated; and what became of each of its keys. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from backends.contract.inspector import Json
from backends.contract.methods import SUPERVISED
from controller.errors import Problem


class Fate(StrEnum):
    """Fate of a key of another tool."""

    LOST = "lost"
    """It changes what is trained, and has no equivalent."""
    TRANSLATED = "translated"
    DEFAULTED = "defaulted"
    """It is not given, and the spec says what the tool does without it."""
    IDLE = "idle"
    """It changes nothing that is trained: logging, saving, speed, hardware."""
    UNKNOWN = "unknown"
    """No version of the tool that ftctl knows has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Fate of one key."""

    fate: Fate
    key: str
    """As the tool's configuration writes it, dotted: `training.lora.r`."""
    given: Json = None
    text: str
    """What became of it: `hyperparameters.r: 16`, or a sentence without a full stop."""
    line: int | None = None
    """Line in the configuration; None if it is not written there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A dataset as a tool's configuration names it: a file, a folder, or a name of the hub."""

    key: str
    """Key that names it."""
    line: int | None = None
    place: str
    """Path or name, as written."""
    files: tuple[str, ...] = ()
    """Files, where `place` only names a folder, a dataset of the hub, or a format."""
    only_file: bool = False
    """True if `place` can only be a path."""
    only_hub: bool = False
    """True if `place` can only be a dataset of the hub."""
    hub: Mapping[str, Json] = field(default_factory=dict)
    """Keys of a source that go with a dataset of the hub: `config`, `revision`, `split`."""
    source: Mapping[str, Json] = field(default_factory=dict)
    """Keys of a source that go with every place: `shape`, `columns`, `sample`, `limit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A configuration as a spec can say it."""

    tool: str
    """The tool's name: `Axolotl`."""
    base_model: str
    base_key: str
    """Key that names the base model."""
    revision: str | None = None
    method: str = SUPERVISED.name
    train: Sequence[Rows]
    held_out: Sequence[Rows] | float
    """Datasets, or a share of the training rows."""
    prepare: Mapping[str, Json] = field(default_factory=dict)
    system: str | None = None
    hyperparameters: Mapping[str, Json]
    seed: int
    names: Sequence[str] = ()
    """Texts of the configuration to name the fine-tune after, the best first."""
    lines: Sequence[Line]
    problems: Sequence[Problem] = ()
    """Reasons why no spec can say it; the file of each is the configuration."""

    @property
    def held_out_rows(self) -> Sequence[Rows]:
        """Datasets that are held out; empty if a share is."""
        return () if isinstance(self.held_out, float) else self.held_out
