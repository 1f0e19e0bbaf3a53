"""Graders of reinforcement training: checked for shape here, passed through as written."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backends.base import FieldProblem, Json

_STRICT: Final = ConfigDict(strict=True, extra="forbid", frozen=True)
_TYPES: Final = "string_check, text_similarity, python, score_model, label_model or multi"


class _StringCheck(BaseModel):
    """Compares two texts."""

    model_config = _STRICT

    type: Literal["string_check"]
    name: str = ""
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class _TextSimilarity(BaseModel):
    """Measures how near two texts are."""

    model_config = _STRICT

    type: Literal["text_similarity"]
    name: str = ""
    input: str
    reference: str
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ]  # fmt: skip


class _Python(BaseModel):
    """Runs at the server, never here."""

    model_config = _STRICT

    type: Literal["python"]
    name: str = ""
    source: str
    image_tag: str | None = None


class _ScoreModel(BaseModel):
    """Asks a model for a number."""

    model_config = _STRICT

    type: Literal["score_model"]
    name: str = ""
    model: str
    input: list[Any]
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    sampling_params: dict[str, Any] | None = None


class _LabelModel(BaseModel):
    """Asks a model for a label."""

    model_config = _STRICT

    type: Literal["label_model"]
    name: str = ""
    model: str
    input: list[Any]
    labels: list[str]
    passing_labels: list[str]


_Single: TypeAlias = Annotated[
    _StringCheck | _TextSimilarity | _Python | _ScoreModel | _LabelModel,
    Field(discriminator="type"),
]


class _Multi(BaseModel):
    """Combines others by a formula; the guide's map, or the reference's single grader."""

    model_config = _STRICT

    type: Literal["multi"]
    name: str = ""
    graders: Annotated[dict[str, _Single], Field(min_length=1)]
    calculate_output: str


_GRADER: Final[TypeAdapter[Any]] = TypeAdapter(
    Annotated[
        _StringCheck | _TextSimilarity | _Python | _ScoreModel | _LabelModel | _Multi,
        Field(discriminator="type"),
    ]
)


def check_grader(field: str, grader: Json) -> list[FieldProblem]:
    """Return what is wrong with a grader.

    Args:
        field: Where it stands.
        grader: As written; a missing one is a problem.
    """
    if not isinstance(grader, Mapping):
        message = "is missing" if grader is None else f"must be a mapping, not {grader!r}"
        remedy = f"reinforcement needs a grader of type {_TYPES}"
        return [FieldProblem(field=field, message=message, remedy=remedy)]
    try:
        _GRADER.validate_python(dict(grader))
    except ValidationError as error:
        return [_problem(field, dict(detail)) for detail in error.errors()]
    return []


def _problem(field: str, detail: dict[str, Any]) -> FieldProblem:
    kind = detail["type"]
    # The first part of the place is the type that was chosen, which is no field.
    place = ".".join(str(part) for part in (field, *detail["loc"][1:]))
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        return FieldProblem(field=f"{place}.type", message=f"must be {_TYPES}")
    if kind == "missing":
        return FieldProblem(field=place, message="is missing")
    if kind == "extra_forbidden":
        return FieldProblem(field=place, message="is unknown to this type of grader")
    text = detail["msg"].removeprefix("Input should be ").replace("'", "")
    return FieldProblem(field=place, message=f"must be {text}")
