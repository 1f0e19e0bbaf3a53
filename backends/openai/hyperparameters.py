"""The `hyperparameters` of an openai fine-tune: the protocol's own names, ranges and `auto`.

`auto` stays `auto`: the value that the server chose is a fact of the build, not of its identity.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.contract.errors import FieldProblem, HyperparametersInvalid
from backends.contract.inspector import Json
from backends.contract.methods import DPO, REINFORCEMENT, SUPERVISED
from backends.did_you_mean import did_you_mean, is_misspelled, use_one_of
from backends.excerpt import dotted
from backends.openai.graders import check_grader
from backends.pydantic_errors import in_our_words, shown

Auto: TypeAlias = Literal["auto"]


class _Settings(BaseModel):
    """Base of the settings."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class _Common(_Settings):
    """Settings of every method."""

    n_epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    """Passes over the training set."""
    batch_size: Auto | Annotated[int, Field(ge=1, le=256)] = "auto"
    """Examples per optimiser step."""
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "auto"
    """Times the server's own rate."""


class _OpenCommon(_Common):
    """The same at servers that publish no upper limits."""

    n_epochs: Auto | Annotated[int, Field(ge=1)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1)] = "auto"


class _Dpo(_Settings):
    """Further settings of preference training."""

    beta: Auto | Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] = "auto"
    """Higher stays closer to the base model."""


class _OpenDpo(_Dpo):
    """The same at servers that publish no upper limits."""

    beta: Auto | Annotated[float, Field(gt=0, allow_inf_nan=False)] = "auto"


class _Reinforcement(_Settings):
    """Further settings of reinforcement; `check_grader` checks the grader."""

    compute_multiplier: Auto | Annotated[float, Field(gt=0.00001, le=10)] = "auto"
    """Exploration per step."""
    eval_interval: Auto | Annotated[int, Field(ge=1)] = "auto"
    """Steps between evaluations."""
    eval_samples: Auto | Annotated[int, Field(ge=1)] = "auto"
    """Samples per evaluation."""
    reasoning_effort: Literal["default", "low", "medium", "high"] = "default"
    """Effort that the model may spend on thinking."""


class _Azure(_Settings):
    """Further settings at Azure."""

    trainingType: (  # noqa: N815 - Azure's name
        Literal["Standard", "GlobalStandard", "Developer", "developerTier"] | None
    ) = None
    """Azure's kind of training deployment; by default its own choice."""


_PARTS: Final[Mapping[str, tuple[type[BaseModel], ...]]] = {
    SUPERVISED.name: (_Common,),
    DPO.name: (_Common, _Dpo),
    REINFORCEMENT.name: (_Common, _Reinforcement),
}
_OPEN_PARTS: Final[Mapping[str, tuple[type[BaseModel], ...]]] = {
    SUPERVISED.name: (_OpenCommon,),
    DPO.name: (_OpenCommon, _OpenDpo),
    REINFORCEMENT.name: (_OpenCommon, _Reinforcement),
}
METHODS: Final = frozenset(_PARTS)
REFERENCE: Final[Mapping[str, type[BaseModel]]] = {
    "Every method": _Common,
    "`method: dpo`": _Dpo,
    "`method: reinforcement`": _Reinforcement,
    "Endpoints of `kind: azure`": _Azure,
}
"""The settings by what they apply to, for `ftctl help servers`."""
_ELSEWHERE: Final = {
    "suffix": "Remove it: the fine-tune's name is used.",
    "seed": "Write `seed:` beside `hyperparameters`.",
    "grader": "Remove it: only `method: reinforcement` has one.",
    "response_format": "Remove it: only `method: reinforcement` has one.",
    "beta": "Remove it: only `method: dpo` has it.",
    "metadata": "Remove it, and use `labels:` in the spec.",
    "trainingType": "Remove it: only endpoints of `kind: azure` have it.",
}


def parse(method: str, raw: Mapping[str, Json], kind: str = "openai") -> dict[str, Json]:
    """Check a `hyperparameters` section and write out every default.

    Args:
        method: The spec's training method.
        raw: The section as written.
        kind: The endpoint's kind.

    Returns:
        Every setting that applies; the literal `auto` where the server chooses.

    Raises:
        HyperparametersInvalid: With every problem found.
    """
    if method not in _PARTS:
        problem = FieldProblem(
            field="method",
            message=f"the openai backend does not train {method!r}",
            remedy=use_one_of(sorted(METHODS)),
        )
        raise HyperparametersInvalid([problem])
    published = kind != "compatible"
    parts = (_PARTS if published else _OPEN_PARTS)[method]
    parts += (_Azure,) if kind == "azure" else ()
    own = ("grader", "response_format") if method == REINFORCEMENT.name else ()
    known_keys = {key for part in parts for key in part.model_fields} | {*own}
    problems = _unknown_keys(raw, known_keys, strict=published)
    settings: dict[str, Json] = {key: raw[key] for key in raw if key not in known_keys}
    for part in parts:
        known = {key: value for key, value in raw.items() if key in part.model_fields}
        try:
            settings |= part.model_validate(known).model_dump(mode="json", exclude_none=True)
        except ValidationError as error:
            problems += [wrong.problem() for wrong in in_our_words(error, known, [part])]
    if method == REINFORCEMENT.name:
        problems += check_grader("grader", raw.get("grader"), known=published)
        problems += _response_format(raw.get("response_format"))
        settings |= {key: raw[key] for key in own if key in raw}
    if problems:
        raise HyperparametersInvalid(problems)
    return settings


def _response_format(given: Json) -> list[FieldProblem]:
    if given is None or (isinstance(given, Mapping) and isinstance(given.get("type"), str)):
        return []
    remedy = "Write {type: json_schema, json_schema: {name: answer, schema: {...}}}."
    message = f"must be a mapping with a type, not {shown(given)}"
    return [FieldProblem(field="response_format", message=message, remedy=remedy)]


def _unknown_keys(raw: Mapping[str, Json], known: set[str], *, strict: bool) -> list[FieldProblem]:
    """Report unknown keys; of a compatible server, which may know more, only misspelled ones."""
    names, problems = sorted(known), []
    for key in raw:
        if key in known:
            continue
        if strict or key in _ELSEWHERE or is_misspelled(key, names):
            message = "is not a hyperparameter here"
            remedy = _ELSEWHERE.get(key) or did_you_mean(key, names) or use_one_of(names)
            problems.append(FieldProblem(field=dotted([key]), message=message, remedy=remedy))
    return problems
