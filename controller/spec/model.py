"""The spec of one fine-tune, as pydantic models. Every key's text below is also its help.

Strict: unknown keys and wrong types are errors. No behaviour lives here.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, JsonValue, StringConstraints, Tag

from backends.contract.methods import METHODS, PROMPT, SUPERVISED, MethodName
from controller.spec.aliases import Aliases
from controller.spec.asked import place_of
from controller.spec.base import NonEmpty, Strict
from controller.spec.data import Data, HeldOut, Source
from controller.spec.evaluation import Evaluation
from controller.spec.sections.hardware import Hardware


class Wandb(Strict):
    """Weights & Biases, as the service reports to it."""

    project: NonEmpty
    """Project that the metrics go to."""
    name: NonEmpty | None = None
    """Display name of the run."""
    entity: NonEmpty | None = None
    """Team or user."""
    tags: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(
        default_factory=list, max_length=50
    )
    """Tags of the run."""


class Tracking(Strict):
    """Trackers to which the service that trains reports its losses. Changing it trains nothing.

    ftctl itself writes to the trackers in `tracking` of `ftctl.yaml`.
    """

    wandb: Wandb | None = None
    """Weights & Biases; its key is registered at the service."""


class Budget(Strict):
    """Most that one training job may cost."""

    max_usd: float | None = Field(default=None, ge=0)
    """US dollars, by the high end of the estimate."""
    max_gpu_hours: float | None = Field(default=None, ge=0)
    """Limit in hours of one GPU (or of the CPU, if it trains); four GPUs spend four in an hour. The
    job stops at this limit. If trainings of the same kind have ended before, the estimate's high
    end must not exceed it."""


class Lifecycle(Strict):
    """Lifecycle of the fine-tune as a whole."""

    protect: bool = False
    """Never retire it, not even when this file is deleted. Remembered in the lockfile."""
    suspend: bool = False
    """Train, evaluate and promote nothing until this is removed; a job that ends is recorded."""
    pin: NonEmpty | None = None
    """Keep this recorded build in production, whatever else the spec says."""


class PromptSettings(Strict):
    """Prompt of `method: prompt`, which trains nothing: the base model answers with it."""

    system: NonEmpty | None = None
    """System prompt, instead of that of a conversation."""
    few_shot: int = Field(default=0, ge=0, le=64)
    """Number of training examples that stand before each question: chosen by seed, the same for
    every question."""


class Parent(Strict):
    """Another fine-tune of this repository. Training starts from its model in production."""

    finetune: NonEmpty
    """Name of the fine-tune."""
    adapter: Literal["merge", "continue"] = "merge"
    """What becomes of the other fine-tune's adapter: `merge` adds it to the base model's weights,
    and a new adapter learns on top; `continue` trains the same adapter on. Only on `local-gpu`."""


def _base_form(value: object) -> str:
    return "<parent>" if isinstance(value, dict | Parent) else "<name>"


BaseForm: TypeAlias = Annotated[
    Annotated[NonEmpty, Tag("<name>")] | Annotated[Parent, Tag("<parent>")],
    Discriminator(_base_form),
]


class Spec(Strict):
    """One fine-tune. The file's name without `.yaml` is its name."""

    description: str = ""
    """For people."""
    owner: str = ""
    """For people: who answers for it."""
    labels: dict[str, str] = Field(default_factory=dict)
    """For people and filters."""
    aliases: Aliases = Field(default_factory=list)
    """Further names that `ftctl serve` answers to with the build in production, such as the model
    ID of a hosted fine-tune that this fine-tune replaces. Changing them trains nothing."""
    backend: NonEmpty
    """Backend that trains it: `openai`, `local-gpu`, or an installed plug-in."""
    endpoint: NonEmpty | None = None
    """For `openai`: which server, by its name in `ftctl.yaml`."""
    base_model: BaseForm
    """Model that training starts from, or that answers with a prompt: a hub ID, a folder (starting
    with `./` or `../`), the name of a model at its server, or `{finetune: NAME}`: the model that
    another fine-tune of this repository has in production."""
    revision: NonEmpty | None = None
    """Commit, branch or tag of a hub model. Without it, the commit found first is recorded and
    kept."""
    method: MethodName = SUPERVISED.name
    """Training method; `prompt` trains nothing, and the base model answers with `prompt`."""
    prompt: PromptSettings = PromptSettings()
    """System prompt and examples of `method: prompt`; the base model as it is without them."""
    data: Data
    """Examples that it learns from, or is measured with. Optional for `method: prompt`."""
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    """The backend's own settings under its own names."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of initialisation and order."""
    evaluation: Evaluation = Evaluation()
    """Measurement of the result."""
    gate: list[NonEmpty] = Field(default_factory=list)
    """Conditions for production: `accuracy >= 0.8`, `held_out_loss < base.held_out_loss - 0.5`.
    A model with a higher held-out loss than its base is promoted only with `gate: []`."""
    tracking: Tracking = Tracking()
    """Trackers to which the service reports metrics."""
    budget: Budget = Budget()
    """Most that a job may cost."""
    hardware: Hardware = Hardware()
    """What a job runs on."""
    lifecycle: Lifecycle = Lifecycle()
    """Lifecycle of the fine-tune as a whole."""

    @property
    def parent(self) -> Parent | None:
        """The fine-tune that it starts from; None for a base model."""
        return self.base_model if isinstance(self.base_model, Parent) else None

    @property
    def base_name(self) -> str:
        """The base model as people write it."""
        if isinstance(self.base_model, Parent):
            return f"{{finetune: {self.base_model.finetune}}}"
        return self.base_model

    @property
    def trains(self) -> bool:
        """True if a model is trained for it."""
        return METHODS[self.method].trains

    @property
    def has_held_out(self) -> bool:
        """True if it declares held-out examples, without which nothing is measured."""
        return bool(self.data.held_out)

    @property
    def allows_worse(self) -> bool:
        """True if a model worse than its base may be promoted: `gate: []` is written out."""
        return not self.gate and "gate" in self.model_fields_set

    @property
    def place(self) -> str:
        """The backend and, where it is not the default one, its endpoint: `openai@eu`."""
        return place_of(self.backend, self.endpoint)


class PromptData(Data):
    """Examples of a fine-tune for which nothing is trained; each of them is optional."""

    train: list[Source] = Field(default_factory=list)
    held_out: HeldOut = Field(default_factory=list)


class PromptSpec(Spec):
    """A fine-tune for which nothing is trained."""

    data: PromptData = PromptData()


def spec_model(value: Mapping[str, Any]) -> type[Spec]:
    """Return the model of a spec's value, which its method decides."""
    return PromptSpec if value.get("method") == PROMPT.name else Spec


def spec_schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec, as editors and `check-jsonschema` read it."""
    schema, of_prompts = Spec.model_json_schema(), PromptSpec.model_json_schema()
    data = schema["properties"]["data"]
    schema["required"].remove("data")
    # What the `data` section must have depends on the method.
    schema["properties"]["data"] = {"description": data["description"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": dict(sorted({**of_prompts["$defs"], **schema["$defs"]}.items())),
        "if": {"properties": {"method": {"const": PROMPT.name}}, "required": ["method"]},
        "then": {"properties": {"data": of_prompts["properties"]["data"]}},
        "else": {"properties": {"data": data}, "required": ["data"]},
        "title": "ftctl fine-tune",
    }
