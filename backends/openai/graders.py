"""Graders of reinforcement training: their shape is checked, and they are sent as written."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from backends.contract.errors import FieldProblem
from backends.contract.inspector import Json
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import excerpt
from backends.openai.grader_templates import template_problems
from backends.pydantic_errors import in_our_words, shown

_FUNCTIONS: Final = ("min", "max", "abs", "floor", "ceil", "exp", "sqrt", "log")
"""Functions that a formula may call."""
_WORDS: Final = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
"""Names, but not the letter in a number such as 1e3."""


class _Grader(BaseModel):
    """Settings of every grader."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str = ""


class _StringCheck(_Grader):
    """Compares two texts."""

    type: Literal["string_check"]
    input: str
    reference: str
    operation: Literal["eq", "ne", "like", "ilike"]


class _TextSimilarity(_Grader):
    """Measures how near two texts are."""

    type: Literal["text_similarity"]
    input: str
    reference: str
    evaluation_metric: Literal[
        "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
        "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
    ]  # fmt: skip


class _Python(_Grader):
    """Runs at the server, never here."""

    type: Literal["python"]
    source: str
    image_tag: str | None = None


class _ScoreModel(_Grader):
    """Asks a model for a number."""

    type: Literal["score_model"]
    model: str
    input: list[Any]
    range: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    sampling_params: dict[str, Any] | None = None


class _LabelModel(_Grader):
    """Asks a model for a label."""

    type: Literal["label_model"]
    model: str
    input: list[Any]
    labels: list[str]
    passing_labels: list[str]


_Single: TypeAlias = Annotated[
    _StringCheck | _TextSimilarity | _Python | _ScoreModel | _LabelModel,
    Field(discriminator="type"),
]


class _Multi(_Grader):
    """Combines others by a formula; the guide's map, or the reference's single grader."""

    type: Literal["multi"]
    graders: Annotated[dict[str, _Single], Field(min_length=1)]
    calculate_output: str


_KINDS: Final = (_StringCheck, _TextSimilarity, _Python, _ScoreModel, _LabelModel, _Multi)
_TYPES: Final = ", ".join(get_args(kind.model_fields["type"].annotation)[0] for kind in _KINDS)
_GRADER: Final[TypeAdapter[Any]] = TypeAdapter(
    Annotated[_Single | _Multi, Field(discriminator="type")]
)


def check_grader(field: str, grader: Json, *, known: bool = True) -> list[FieldProblem]:
    """Return the problems of a grader.

    Args:
        field: The grader's field.
        grader: The grader as written; a missing grader is a problem.
        known: True if the server has exactly the types of graders that OpenAI publishes.
    """
    if not isinstance(grader, Mapping):
        message = "is missing" if grader is None else f"must be a mapping, not {shown(grader)}"
        remedy = f"Write a grader of one of these types: {_TYPES}."
        return [FieldProblem(field=field, message=message, remedy=remedy)]
    problems = template_problems(field, grader)
    if not known:
        return problems
    try:
        _GRADER.validate_python(dict(grader))
    except ValidationError as error:
        wrong = in_our_words(error, grader, _KINDS)
        return [*(_in_grader(field, refused.problem()) for refused in wrong), *problems]
    return [*problems, *_unknown_names(field, grader)]


def _unknown_names(field: str, grader: Mapping[str, Json]) -> Iterator[FieldProblem]:
    """Find the names in a formula that belong neither to a grader nor to a function."""
    graders, formula = grader.get("graders"), grader.get("calculate_output")
    if not isinstance(graders, Mapping) or not isinstance(formula, str):
        return
    if not all(map(_WORDS.fullmatch, graders)):
        # In a formula, a name with a blank or a dash looks like several words.
        return
    for word in dict.fromkeys(_WORDS.findall(formula)):
        if word not in graders and word not in _FUNCTIONS:
            yield FieldProblem(
                field=f"{field}.calculate_output",
                message=f"names {excerpt(word)}, which is not a grader in `graders`",
                remedy=did_you_mean(word, [*graders, *_FUNCTIONS]) or use_one_of(graders),
            )


def _in_grader(field: str, problem: FieldProblem) -> FieldProblem:
    return replace(problem, field=f"{field}.{problem.field}" if problem.field else field)
