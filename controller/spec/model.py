"""The spec of one fine-tune, as pydantic models. Every key's text below is also its help.

Strict: unknown keys and wrong types are errors. No behaviour lives here.
"""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    StringConstraints,
    Tag,
    field_validator,
)

DEFAULT_ENDPOINT = "default"
NonEmpty: TypeAlias = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """Settings shared by every model of the spec."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


class Columns(Strict):
    """Which columns or keys of a row hold the parts of a question and its answer."""

    user: NonEmpty
    """Column with the question."""
    assistant: NonEmpty
    """Column with the answer."""
    system: NonEmpty | None = None
    """Column with the system prompt."""


class Source(Strict):
    """Where rows come from."""

    path: NonEmpty
    """File, relative to the spec's folder: .jsonl, .json, .csv or .tsv."""
    columns: Columns | None = None
    """For tables: which columns hold question and answer."""
    shape: Literal["chat", "prompt-completion", "alpaca", "sharegpt"] | None = None
    """How a row is laid out; recognised from its keys when absent."""
    limit: int | None = Field(default=None, ge=1)
    """Read at most so many rows."""
    license: NonEmpty | None = None
    """The source's licence, as an SPDX identifier."""


class Fraction(Strict):
    """A held-out set taken from the training sources."""

    fraction: float = Field(gt=0, lt=1)
    """Share of the examples to hold out. An example keeps its side when others are added."""
    seed: int = 0
    """Another number chooses other examples."""


class Prepare(Strict):
    """What happens to every example before it is used."""

    collapse_whitespace: bool = False
    """Turn each run of blanks into one blank and strip the ends of every message."""
    deduplicate: Literal["exact", "off"] = "exact"
    """Drop an example that occurred before, also across the split."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Longest example, in tokens of the base model with its chat template."""
    over_length: Literal["error", "drop"] = "error"
    """What happens to a longer example."""


def _held_out_form(value: object) -> str:
    return "<sources>" if isinstance(value, list) else "<fraction>"


HeldOut: TypeAlias = Annotated[
    Annotated[Fraction, Tag("<fraction>")] | Annotated[list[Source], Tag("<sources>")],
    Discriminator(_held_out_form),
]


class Data(Strict):
    """What the model learns from, and what it is judged on."""

    train: list[Source] = Field(min_length=1)
    """Sources of training examples, read one after the other."""
    held_out: HeldOut
    """Examples used only to evaluate: a fraction of the training sources, or sources of its own."""
    system: NonEmpty | None = None
    """System prompt put before every example that has none."""
    prepare: Prepare = Prepare()
    """What happens to every example before it is used."""
    license: NonEmpty | None = None
    """Licence of all sources, as an SPDX identifier."""
    sensitivity: Literal["public", "internal", "private"] = "internal"
    """`private` data never leaves the machine."""


class Accuracy(Strict):
    """Share of answers that are the right label."""

    labels: list[NonEmpty] | None = None
    """The labels; taken from the held-out set when absent."""


class RegexMatch(Strict):
    """Share of answers in which a pattern is found."""

    pattern: NonEmpty
    """A regular expression in Python's syntax, searched in the whole answer."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return pattern


class AccuracyMetric(Strict):
    """`accuracy` with its settings."""

    accuracy: Accuracy


class RegexMatchMetric(Strict):
    """`regex_match` with its settings."""

    regex_match: RegexMatch


def _metric_form(value: object) -> str:
    if isinstance(value, AccuracyMetric) or (isinstance(value, dict) and "accuracy" in value):
        return "<accuracy>"
    if isinstance(value, RegexMatchMetric | dict):
        return "<regex_match>"
    return "<name>"


Metric: TypeAlias = Annotated[
    Annotated[Literal["exact_match", "accuracy"], Tag("<name>")]
    | Annotated[AccuracyMetric, Tag("<accuracy>")]
    | Annotated[RegexMatchMetric, Tag("<regex_match>")],
    Discriminator(_metric_form),
]


class Evaluation(Strict):
    """How the result is measured on the held-out set."""

    metrics: list[Metric] = Field(default_factory=list)
    """Measured besides `held_out_loss` and `stop_rate`, which always are."""
    compare_to: list[Literal["base", "production"]] = ["base"]
    """Which other models answer the same held-out prompts."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest answer, in tokens."""


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
    """Where the service reports metrics to. Changing it trains nothing."""

    wandb: Wandb | None = None
    """Weights & Biases; its key is registered at the service."""


class Budget(Strict):
    """What one training job may cost at most."""

    max_usd: float | None = Field(default=None, ge=0)
    """US dollars, by the high end of the estimate."""
    max_gpu_hours: float | None = Field(default=None, ge=0)
    """Hours of one GPU, by the high end of the estimate."""


class Lifecycle(Strict):
    """What may happen to the fine-tune as a whole."""

    protect: bool = False
    """Never retire it, not even when this file is deleted. Remembered in the lockfile."""
    suspend: bool = False
    """Do nothing for this fine-tune until this is taken back."""
    pin: NonEmpty | None = None
    """Keep this recorded build in production, whatever else the spec says."""


class Spec(Strict):
    """One fine-tune. The file's name without `.yaml` is its name."""

    description: str = ""
    """For people."""
    owner: str = ""
    """For people: who answers for it."""
    labels: dict[str, str] = Field(default_factory=dict)
    """For people and filters."""
    backend: NonEmpty
    """Where it is trained: `local-gpu`, or an installed plug-in."""
    endpoint: NonEmpty | None = None
    """For `openai`: which server, by its name in `ftctl.yaml`."""
    base_model: NonEmpty
    """What training starts from: a hub ID, or a folder (starting with `./` or `../`)."""
    revision: NonEmpty | None = None
    """Commit of a hub model. Without it, the one found first is recorded and kept."""
    method: Literal["supervised", "dpo", "reinforcement", "continued-pretraining"] = "supervised"
    """How it learns."""
    data: Data
    """What it learns from."""
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    """The backend's own settings under its own names."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of initialisation and order."""
    evaluation: Evaluation = Evaluation()
    """How the result is measured."""
    gate: list[NonEmpty] = Field(default_factory=list)
    """Conditions for production: `accuracy >= 0.8`, `held_out_loss < base.held_out_loss - 0.5`."""
    tracking: Tracking = Tracking()
    """Where the service reports metrics to."""
    budget: Budget = Budget()
    """What a job may cost at most."""
    lifecycle: Lifecycle = Lifecycle()
    """What may happen to the fine-tune as a whole."""

    @property
    def place(self) -> str:
        """The backend and, where it is not the default one, its endpoint: `openai@eu`."""
        if self.endpoint in {None, DEFAULT_ENDPOINT}:
            return self.backend
        return f"{self.backend}@{self.endpoint}"
