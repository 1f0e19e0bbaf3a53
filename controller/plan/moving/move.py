"""A move of a fine-tune to another backend, endpoint or base model. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.contract.inspector import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """Known answers of production, which a new model is compared with."""

    prompts: int
    """Number of held-out prompts."""
    missing: int
    """Number of prompts to which no answer of production is recorded."""
    scored: bool = False
    """True if recorded scores of production do, so that nobody is asked."""
    unopened: str = ""
    """Reason why production cannot be asked on this machine; empty if it can."""

    @property
    def asks(self) -> int:
        """Number of answers that production is asked for."""
        return 0 if self.scored else self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A fine-tune on its way from its production build to another home."""

    build: str
    """Fingerprint of the build in production."""
    model_id: str
    """Model in production."""
    old_place: str
    old_base: str
    new_place: str
    new_base: str
    hyperparameters: Mapping[str, Json] = field(default_factory=dict)
    """Hyperparameters that the spec writes; the new home has defaults for others."""
    trains: bool = True
    """True if a model is trained at the new home."""
    gate: tuple[str, ...]
    """Conditions that judge the new model."""
    implied: bool = False
    """True if the spec writes no gate, so that the gate is the default of a move."""
    note: str = ""
    """Remark on the default gate."""
    judges: Judges | None = None
    """Answers of production; None if nothing is compared with them."""
    paid: bool = False
    """True if the service of production charges for answers."""

    @property
    def changes_place(self) -> bool:
        """True if the backend or its endpoint changes, so that hyperparameters have other names."""
        return self.old_place != self.new_place

    @property
    def sentence(self) -> str:
        """What a plan says: `will move from openai to local-gpu`."""
        if self.changes_place:
            return f"will move from {self.old_place} to {self.new_place}"
        return "will move to another base model"
