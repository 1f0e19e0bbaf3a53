"""The `hyperparameters` of an openai fine-tune: the protocol's own names, ranges and `auto`.

`auto` stays `auto`: the value that the server chose is a fact of the build, not of its identity.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backends.contract import common_names as common
from backends.contract.errors import FieldProblem, HyperparametersInvalid
from backends.contract.inspector import Json
from backends.contract.methods import DPO, REINFORCEMENT, SUPERVISED
from backends.did_you_mean import did_you_mean, is_misspelled, use_one_of
from backends.excerpt import dotted
from backends.openai.graders import check_grader
from backends.openai.profiles.own_settings import own_settings
from backends.openai.profiles.profile import PROFILES, profile_of
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
_OWN: Final[Mapping[str, type[BaseModel]]] = {
    kind: own_settings(profile) for kind, profile in PROFILES.items() if profile.settings
}
_Azure: Final = _OWN["azure"]
METHODS: Final = frozenset(_PARTS)
REFERENCE: Final[Mapping[str, type[BaseModel]]] = {
    "Every method": _Common,
    "`method: dpo`": _Dpo,
    "`method: reinforcement`": _Reinforcement,
    **{f"Endpoints of `kind: {kind}`": own for kind, own in _OWN.items()},
}
"""The settings by what they apply to, for `ftctl help servers`."""
_COMMON_NAMES: Final[Mapping[str, str]] = {
    "n_epochs": common.EPOCHS,
    "batch_size": common.BATCH,
    "learning_rate": common.RATE,
    "learning_rate_multiplier": common.RATE_MULTIPLIER,
    "beta": common.BETA,
    "lr_scheduler": common.SCHEDULE,
    "warmup_ratio": common.WARMUP,
    "weight_decay": common.WEIGHT_DECAY,
    "max_grad_norm": common.MAX_GRAD_NORM,
    "lora_r": common.LORA_RANK,
    "lora_rank": common.LORA_RANK,
    "lora_alpha": common.LORA_ALPHA,
    "lora_dropout": common.LORA_DROPOUT,
}
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
    profile = profile_of(kind)
    if method not in profile.methods:
        where = "the openai backend" if method not in METHODS else f"a server of `kind: {kind}`"
        message = f"{where} does not train {method!r}"
        problem = FieldProblem(
            field="method", message=message, remedy=use_one_of(sorted(profile.methods))
        )
        raise HyperparametersInvalid([problem])
    published = profile.hyperparameters != "open"
    parts = _parts(kind, method)
    own = ("grader", "response_format") if method == REINFORCEMENT.name else ()
    known_keys = {key for part in parts for key in part.model_fields} | {*own}
    problems = _unknown_keys(raw, known_keys, kind)
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


def common_names(kind: str) -> dict[str, str]:
    """Return the common names of the settings that servers of a kind have."""
    methods = profile_of(kind).methods
    known = {
        key for method in methods for part in _parts(kind, method) for key in part.model_fields
    }
    return {key: name for key, name in _COMMON_NAMES.items() if key in known}


def _response_format(given: Json) -> list[FieldProblem]:
    if given is None or (isinstance(given, Mapping) and isinstance(given.get("type"), str)):
        return []
    remedy = "Write {type: json_schema, json_schema: {name: answer, schema: {...}}}."
    message = f"must be a mapping with a type, not {shown(given)}"
    return [FieldProblem(field="response_format", message=message, remedy=remedy)]


def _parts(kind: str, method: str) -> tuple[type[BaseModel], ...]:
    """Return the settings that servers of a kind have for a method."""
    own = (_OWN[kind],) if kind in _OWN else ()
    match profile_of(kind).hyperparameters:
        case "published":
            return _PARTS[method] + own
        case "open":
            return _OPEN_PARTS[method] + own
        case "own":
            return own


def _unknown_keys(raw: Mapping[str, Json], known: set[str], kind: str) -> list[FieldProblem]:
    """Report unknown keys; of a compatible server, which may know more, only misspelled ones."""
    profile = profile_of(kind)
    names, problems = sorted(known), []
    for key in raw:
        if key in known:
            continue
        if profile.hyperparameters != "open" or key in _ELSEWHERE or is_misspelled(key, names):
            message = "is not a hyperparameter here"
            remedy = _ELSEWHERE.get(key) or did_you_mean(key, names) or use_one_of(names)
            if key == "learning_rate_multiplier" and profile.takes_rate:
                remedy = "Write `learning_rate`: this server takes the rate itself."
            problems.append(FieldProblem(field=dotted([key]), message=message, remedy=remedy))
    return problems
