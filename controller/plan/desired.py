"""Desired state of one spec, resolved: the input of planning. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, Estimate, Memory
from controller.evaluate.gate import Condition, parse_condition, slices_of
from controller.lockfile.model import DataFacts, ParentFacts
from controller.plan.moving.move import Move
from controller.spec.model import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChange:
    """Difference between the examples of two builds, train and held-out together."""

    added: int
    removed: int
    changed: int = 0
    """The same question with another answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown:
    """End of a model at its service."""

    date: str | None
    """Day on which the service switches it off, `YYYY-MM-DD`; None for a model that is gone."""
    days_left: int
    """0 or less once the model is switched off, or gone."""
    source: str = ""
    """Source of the date, for people."""
    model: str = ""
    """The model's ID, or the base model's name."""
    is_base: bool = False
    """True for the base model of a fine-tune without a model in production."""
    gone: bool = False
    """True if the service does not have the model any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentBuild:
    """Build of another fine-tune that training starts from."""

    finetune: str
    build: str
    """Fingerprint of the build, which is in production."""
    adapter: str
    """`merge` or `continue`."""
    model_id: str
    base_model: str
    """Base model to train: the build's model, or for `continue` the model that it was made from."""
    revision: str | None = None

    @property
    def facts(self) -> ParentFacts:
        """The build as a record names it."""
        return ParentFacts(finetune=self.finetune, build=self.build, adapter=self.adapter)


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Inputs that one spec asks for, with every digest known."""

    name: str
    file: str
    spec: Spec
    base_model: BaseModel
    fingerprint: str
    inputs: Mapping[str, Json]
    evaluation_fingerprint: str
    evaluation_inputs: Mapping[str, Json]
    data: DataFacts
    estimate: Estimate
    data_changes: Mapping[str, DataChange]
    """By training-data digest of a recorded build, where its dataset is still here."""
    move: Move | None = None
    """The way from the production build's backend, endpoint or base model to that of the spec."""
    parent: ParentBuild | None = None
    """Build that training starts from; None for a base model."""
    shutdown: Shutdown | None = None
    warnings: tuple[str, ...] = ()
    """Remarks on data and model for a person who is about to pay for training."""
    corrected: tuple[str, ...] = ()
    """Inputs that a newer recipe would make differently from the same spec: `data`. The recorded
    build used an older recipe."""
    memory: Memory | None = None
    """Memory that a new job needs on its device, where known."""
    paid: bool = False
    """True if asking its models costs money."""
    measures_loss: bool = True
    """True if the loss of expected answers can be measured for its models."""
    rescore_reason: str = ""
    """Reason why the newest version of scoring may give other scores than the first; empty if the
    two agree, or no scores of the first version are recorded."""

    @property
    def base_name(self) -> str:
        """The base model as a record names it, so that the backend finds it again."""
        return self.spec.base_name if self.parent is None else self.parent.base_model

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """The gate, parsed."""
        return tuple(parse_condition(text) for text in self.spec.gate)

    @property
    def slices(self) -> tuple[str, ...]:
        """Names of the scores of slices that the gate asks for."""
        return tuple(slices_of(self.conditions))
