"""The `evaluation` section of a spec. Every key's text below is also its help."""

import unicodedata
from collections import Counter
from collections.abc import Collection
from typing import Annotated, Final, Literal, TypeAlias, cast

from pydantic import Discriminator, Field, StringConstraints, Tag, field_validator, model_validator

from backends.pydantic_errors import InvalidValue
from controller.evaluate.metrics import BUILT_IN_METRICS
from controller.spec.asked import AskedModel, JudgeModel
from controller.spec.base import MOST, NonEmpty, Strict
from controller.spec.metrics import ChosenMetric
from controller.spec.retain import RetainForm, listed_twice

LABEL: Final = "label"
"""Reserved column: the text of the expected answer, which is no column of the row."""
BASE: Final = "base"
PRODUCTION: Final = "production"
BASE_FEW_SHOT: Final = "base_few_shot"
SHOTS: Final = 4
"""Examples before each prompt of `base_few_shot`."""
RESERVED: Final = frozenset({"candidate", BASE, PRODUCTION, BASE_FEW_SHOT, "base_again", "retain"})
"""Names that gates read in another way than as a declared model's name."""
ModelName: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class Rival(AskedModel):
    """Another model that answers the held-out prompts, with a prompt of its own if you like."""

    name: ModelName
    """Name in gates and scores."""
    model: NonEmpty | None = None
    """Name of the model; the spec's base model when absent."""
    prompt: NonEmpty | None = None
    """System prompt that it gets instead of that of the examples."""
    few_shot: int = Field(default=0, ge=0, le=64)
    """Number of training examples that it sees before each prompt: chosen by seed, the same for
    every prompt."""

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in RESERVED:
            raise InvalidValue(f"{name} has a meaning of its own", "Choose another name.")
        return name

    @model_validator(mode="after")
    def _differs(self) -> "Rival":
        if not self.model_fields_set - {"name"}:
            raise InvalidValue(
                f"{self.name} is the base model, asked as `base` is",
                "Add `model`, `prompt` or `few_shot`, or write `- base`.",
            )
        return self


def _rival_form(value: object) -> str:
    return "<rival>" if isinstance(value, dict | Rival) else "<name>"


RivalForm: TypeAlias = Annotated[
    Annotated[Literal["base", "production", "base_few_shot"], Tag("<name>")]
    | Annotated[Rival, Tag("<rival>")],
    Discriminator(_rival_form),
]


class Evaluation(Strict):
    """Measurement of the result on the held-out set."""

    metrics: list[ChosenMetric] = Field(default_factory=list)
    """Measured besides `held_out_loss` and `stop_rate`, which always are, and `preference_accuracy`
    and `preference_margin`, which `dpo` and `kto` have. Each is its name, or its name with settings:
    `{f1: {label: refund}}`. Every metric may have a `name` in its settings, for
    gates and scores, where it is measured twice."""
    compare_to: list[RivalForm] = Field(default=["base"])
    """Other models that answer the same held-out prompts: the base model, the model in production,
    the base model with four training examples before each prompt (`base_few_shot`), and models
    that you name."""
    retain: list[RetainForm] = Field(default_factory=list)
    """What tuning must not break: built-in suites of prompts in Korean and English that are scored
    by rule (`all` is every suite), and examples of your own. The tuned model and its base model
    answer them."""
    max_tokens: int = Field(default=256, ge=1, le=MOST)
    """Longest answer, in tokens."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """Temperature of the answers. Above 0 answers are drawn by seed, and the base model answers
    twice, which shows how much scores differ by chance alone."""

    group_by: NonEmpty | None = None
    """Column of the held-out rows: rows with equal values are one group for statistics, such as the
    tickets of one customer. `label` is the expected answer."""
    slices: list[NonEmpty] = Field(default_factory=list)
    """Columns of the held-out rows: scores are also reported for the rows of each value, such as
    `lang` or `meta.product`. `label` is the expected answer."""

    @property
    def rivals(self) -> dict[str, Rival]:
        """Models with a prompt of their own, by name; `base_few_shot` is one of them."""
        return {one.name: one for one in map(_as_rival, self.compare_to) if one is not None}

    @property
    def judges(self) -> dict[str, JudgeModel]:
        """Models whose opinions are asked for, by the name of the metric."""
        # Every metric with a judge has such settings; see `controller.evaluate.metric.Judge`.
        return {
            one.name: cast(JudgeModel, one.settings)
            for one in self.metrics
            if one.metric.judge is not None
        }

    @property
    def beside_production(self) -> tuple[str, ...]:
        """Metrics by which a judge compares answers with those of production."""
        return tuple(
            one.name
            for one in self.metrics
            if one.metric.judge is not None and one.metric.judge.against(one.settings) == PRODUCTION
        )

    @property
    def roles(self) -> tuple[str, ...]:
        """Names of all models that the candidate is compared with."""
        names = (one.name if isinstance(one, Rival) else one for one in self.compare_to)
        return tuple(dict.fromkeys(names))

    @property
    def asks_base(self) -> bool:
        """True if the base model answers the held-out prompts, or those of `retain`."""
        return BASE in self.roles or bool(self.retain)

    @field_validator("metrics")
    @classmethod
    def _have_names_of_their_own(cls, metrics: list[ChosenMetric]) -> list[ChosenMetric]:
        _refuse_repeated([one.name for one in metrics], "Add `name: …` to one of them.")
        always = {one.name for one in BUILT_IN_METRICS}
        for place, one in enumerate(metrics):
            if one.name in always:
                # Its scores would take the place of those that a gate's own rule compares.
                message = f"{one.name} is the name of a metric that is always measured"
                raise InvalidValue(message, "Choose another name.", place)
        return metrics

    @field_validator("compare_to")
    @classmethod
    def _are_other_models(cls, models: list[RivalForm]) -> list[RivalForm]:
        named = [one.name for one in models if isinstance(one, Rival)]
        _refuse_repeated(named, "Rename one of them.")
        return models

    @field_validator("retain")
    @classmethod
    def _are_listed_once(cls, retain: list[RetainForm]) -> list[RetainForm]:
        repeated = listed_twice(retain)
        if repeated:
            message = f"{' and '.join(repeated)} is listed twice"
            raise InvalidValue(message, "Remove one; `all` lists every suite.")
        return retain


def _as_rival(written: RivalForm) -> Rival | None:
    if isinstance(written, Rival):
        return written
    if written != BASE_FEW_SHOT:
        return None
    # Its name is reserved, so it is not validated.
    return Rival.model_construct(name=BASE_FEW_SHOT, few_shot=SHOTS)


def _refuse_repeated(names: list[str], remedy: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InvalidValue(f"{' and '.join(repeated)} is listed twice", remedy)


def evaluation_columns(evaluation: Evaluation, gate: Collection[str] = ()) -> dict[str, str]:
    """Return the columns of held-out rows that an evaluation needs.

    Args:
        evaluation: The spec's section.
        gate: Columns that the gate's conditions name: `lang` of `accuracy[lang=ko] >= 0.9`.

    Returns:
        The field of the spec that names each column, for messages: `evaluation.slices[0]`. Names
        are in Unicode NFC, so that two spellings of a name are one column. `label` is left out.
    """
    named = [(column, "gate") for column in sorted(gate)]
    named += [(name, f"evaluation.slices[{at}]") for at, name in enumerate(evaluation.slices)]
    if evaluation.group_by is not None:
        named.append((evaluation.group_by, "evaluation.group_by"))
    fields = {unicodedata.normalize("NFC", column): field for column, field in named}
    fields.pop(LABEL, None)
    return fields
