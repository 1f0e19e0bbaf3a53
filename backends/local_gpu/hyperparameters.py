"""The `hyperparameters` of a local-gpu fine-tune: names of transformers and peft, all checked.

`parse` turns a spec's section into complete settings, with every default, for the fingerprint.
Settings that cannot change the trained weights (checkpoints, logging) are not hyperparameters.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from backends.contract import common_names as common
from backends.contract.errors import FieldProblem, HyperparametersInvalid
from backends.contract.inspector import Json
from backends.contract.methods import CONTINUED_PRETRAINING, DPO, KTO, SUPERVISED
from backends.did_you_mean import did_you_mean, use_one_of
from backends.excerpt import dotted, excerpt
from backends.pydantic_errors import InvalidValue, in_our_words

RECIPE: Final = 1
"""Raised whenever the same settings would train other weights: then it is another identity."""

_RATES: Final = {"lora": 2e-4, "full": 2e-5}
"""LoRA wants about ten times the rate of full tuning."""
_PREFERENCE_RATES: Final = {"lora": 1e-5, "full": 1e-6}
"""Preferences want a twentieth: a model that answers well is to change little."""

_LATER: Final[Mapping[str, Json]] = {
    "thinking": "off",
    "gradient_checkpointing": "auto",
    "optim": "adamw",
    "quantization": None,
    "use_dora": False,
    "loraplus_lr_ratio": None,
    "packing": False,
    "max_tokens_per_batch": None,
    "max_steps": None,
    "eval_steps": None,
    "early_stopping": None,
    "target_parameters": None,
    "exclude_modules": None,
    "layers_to_transform": None,
    "modules_to_save": None,
}
"""Settings newer than recorded builds: left out at their default, so fingerprints do not change."""


class _EarlyStopping(BaseModel):
    """When a training ends before its last step, by its held-out loss."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    patience: int = Field(default=3, ge=1, le=1_000_000)
    """Measurements in a row without a better held-out loss after which the training ends."""
    min_delta: float = Field(default=0.0, ge=0, le=1000, allow_inf_nan=False)
    """Least fall below the lowest held-out loss so far that counts as better."""


class _Common(BaseModel):
    """Settings of every training."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    finetuning_type: Literal["lora", "full"] = "lora"
    """`lora` trains a small adapter beside the frozen model; `full` trains every weight."""
    num_train_epochs: int = Field(default=3, ge=1, le=10_000)
    """Passes over the training set."""
    max_steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Most optimiser steps: the training ends there if `num_train_epochs` take more."""
    learning_rate: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """Peak rate; when absent 2e-4 for `lora`, 2e-5 for `full`, and with `method: dpo` or `kto` 1e-5
    and 1e-6."""
    per_device_train_batch_size: int = Field(default=8, ge=1, le=65_536)
    """Examples that go through the model at once."""
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=65_536)
    """Batches per optimiser step: lowers memory, never changes the mean that is trained on."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    """Shape of the rate's fall after the warm-up."""
    warmup_steps: float = Field(default=0, ge=0, allow_inf_nan=False)
    """Optimiser steps of rising rate; below 1 it is a fraction of all steps."""
    weight_decay: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    """AdamW's decay per step, times the rate."""
    max_grad_norm: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Gradients are scaled down to this norm; 0 leaves them alone."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision of the matrix work; `auto` is bfloat16 on a GPU that has it, else float32. `float16`
    scales the losses, for GPUs without bfloat16 (T4, V100)."""
    gradient_checkpointing: Literal["auto", "selective", "on", "off"] = "auto"
    """`on` keeps only the input of each layer and computes the layer again: less memory, a third
    more time, and exactly the same model. `selective` also keeps what attention gives and half of
    the matrix products: about half of the extra time. `auto` takes the fastest that fits."""

    optim: Literal["adamw", "adamw_8bit"] = "adamw"
    """Optimiser; `adamw_8bit` keeps its state in a quarter of the memory. Needs bitsandbytes."""
    eval_steps: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Optimiser steps after which the held-out loss is measured, and once more after the last step;
    when absent it is measured after every epoch."""
    early_stopping: _EarlyStopping | None = None
    """Ends the training when the held-out loss falls no more, as in `{patience: 3}`, and keeps the
    weights of its lowest held-out loss. Then other held-out examples train another model."""

    @field_validator("warmup_steps")
    @classmethod
    def _whole_from_one_on(cls, value: float) -> float:
        if value > 1 and not value.is_integer():
            raise ValueError(f"must be a whole number of steps, or a fraction below 1, not {value}")
        return value


class _Filled(BaseModel):
    """Settings of trainings whose loss is a mean over tokens."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    max_tokens_per_batch: int | None = Field(default=None, ge=8, le=16_777_216)
    """Most tokens of a batch, with its padding, instead of `per_device_train_batch_size`: long and
    short examples fill batches alike. No example may be longer."""
    packing: bool = False
    """`true` puts the examples of a batch into one row, without padding. None sees another: the run
    checks this on the base model before it trains."""


class _Conversations(BaseModel):
    """Settings of training on conversations."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    chat_template: Literal["chatml"] | None = None
    """A template shipped with ftctl instead of the base model's own."""
    thinking: Literal["off", "on"] = "off"
    """`on` if answers begin with thoughts, where the base model's template supports them. With
    `off`, prompts and training use the empty block of thoughts that these templates write."""


class _Texts(BaseModel):
    """Settings of training on plain texts."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    max_length: int = Field(default=1024, ge=8, le=1_048_576)
    """Most tokens of a text that are read at once; a longer text is read in several blocks.
    Never more than the base model reads."""


class _Pairs(BaseModel):
    """Settings of training on preference pairs."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    beta: float = Field(default=0.1, gt=0, le=1000, allow_inf_nan=False)
    """How close the model stays to its base: the higher, the closer. Of `ipo` it is the paper's
    tau."""
    loss_type: Literal["sigmoid", "sigmoid_norm", "ipo"] = "sigmoid"
    """`sigmoid` is the loss of the DPO paper; `sigmoid_norm` divides each answer's log-probability
    by its tokens first, so that length does not pay; `ipo` aims at a fixed margin, also by token."""


class _Marks(BaseModel):
    """Settings of training on answers that are marked as good or bad."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    beta: float = Field(default=0.1, gt=0, le=1000, allow_inf_nan=False)
    """How close the model stays to its base: the higher, the closer."""
    desirable_weight: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """Weight of the losses of good answers. Where bad answers are many, raise it until good answers
    times their weight are 1 to 1.33 times bad answers times theirs."""
    undesirable_weight: float = Field(default=1.0, gt=0, le=1000, allow_inf_nan=False)
    """Weight of the losses of bad answers."""


def _pattern(value: str) -> str:
    """Require a pattern of layers' names.

    Raises:
        InvalidValue: It is a single name, or not a regular expression.
    """
    if not set(value) & _PATTERN_MARKS:
        name = value or "q_proj"
        raise InvalidValue(
            f"{excerpt(value)} is neither a list of names nor a pattern of whole names",
            f"Write a list: `[{name}]`.",
        )
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidValue(
            f"is not a pattern of names: {error}", "Correct it, or write a list of names."
        ) from None
    return value


_PATTERN_MARKS: Final = frozenset("*+?()[]{}|\\^$")
_Names: TypeAlias = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
_Pattern: TypeAlias = Annotated[str, AfterValidator(_pattern)]


class _Adapter(BaseModel):
    """Settings of an adapter."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True
    )

    r: int = Field(default=16, ge=1, le=4096)
    """Rank of the adapter."""
    lora_alpha: float = Field(default=32, gt=0, allow_inf_nan=False)
    """Scale of the adapter: over the square root of `r` with rsLoRA, else over `r`."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs dropped during training."""
    use_rslora: bool = True
    """Rank-stabilised scaling, so that a higher `r` does not need another rate."""
    quantization: Literal["nf4"] | None = None
    """`nf4` keeps the frozen base model in 4 bits while the adapter learns (QLoRA). Needs
    bitsandbytes."""
    use_dora: bool = False
    """Learn the length of each weight vector apart from its direction (DoRA): slower, and better at
    a low `r`."""
    loraplus_lr_ratio: float | None = Field(default=None, ge=1, le=1000, allow_inf_nan=False)
    """Rate of the adapter's second matrix as a multiple of `learning_rate` (LoRA+), such as 16."""
    target_modules: Literal["all-linear"] | _Pattern | _Names = "all-linear"
    """Layers that get an adapter: `all-linear`, names as in `[q_proj, v_proj]`, or a pattern of whole
    names as in `'.*\\.self_attn\\.(q|v)_proj'`."""
    target_parameters: _Names | None = None
    """Parameters that get an adapter beside these layers, where experts share one, as in
    `[experts.gate_up_proj, experts.down_proj]`."""
    exclude_modules: _Pattern | _Names | None = None
    """Layers without an adapter, by names or a pattern: `[gate]` leaves a router as it is, and
    `[experts]` all experts."""
    layers_to_transform: (
        Annotated[list[Annotated[int, Field(ge=0, le=9999)]], Field(min_length=1)] | None
    ) = None
    """Numbers of the only layers that get an adapter, from 0 on, as in `[0, 1]`."""
    modules_to_save: _Names | None = None
    """Layers that are trained whole beside the adapter and saved with it, as in `[embed_tokens,
    lm_head]`. Where a base model uses the same weights for both, they stay the same."""

    @field_validator("layers_to_transform", "modules_to_save", "target_parameters")
    @classmethod
    def _in_order(cls, value: list[Any] | None) -> list[Any] | None:
        # The order and repetitions have no meaning, so they must not make another identity.
        return None if value is None else sorted(set(value))


_READ_AS: Final[Mapping[str, tuple[type[BaseModel], ...]]] = {
    SUPERVISED.name: (_Conversations, _Filled),
    DPO.name: (_Conversations, _Pairs),
    KTO.name: (_Conversations, _Marks),
    CONTINUED_PRETRAINING.name: (_Texts, _Filled),
}
_LEAST_MARKED: Final = 2
"""Fewest marked answers in a batch: each lends its answer to the question of another."""
METHODS: Final = frozenset(_READ_AS)
COMMON_NAMES: Final[Mapping[str, str]] = {
    "num_train_epochs": common.EPOCHS,
    "per_device_train_batch_size": common.DEVICE_BATCH,
    "gradient_accumulation_steps": common.ACCUMULATION,
    "learning_rate": common.RATE,
    "lr_scheduler_type": common.SCHEDULE,
    "warmup_steps": common.WARMUP,
    "weight_decay": common.WEIGHT_DECAY,
    "max_grad_norm": common.MAX_GRAD_NORM,
    "r": common.LORA_RANK,
    "lora_dropout": common.LORA_DROPOUT,
}
"""Common names of settings; see `backends.contract.common_names`."""
REFERENCE: Final[Mapping[str, type[BaseModel]]] = {
    "Every training": _Common,
    "With an adapter (`finetuning_type: lora`)": _Adapter,
    "`method: supervised` and `continued-pretraining`": _Filled,
    "`method: supervised`, `dpo` and `kto`": _Conversations,
    "`method: dpo`": _Pairs,
    "`method: kto`": _Marks,
    "`method: continued-pretraining`": _Texts,
}
"""The settings by what they apply to, for `ftctl help training`."""


def parse(method: str, raw: Mapping[str, Json]) -> dict[str, Json]:
    """Check a `hyperparameters` section and write out every default.

    Args:
        method: The spec's training method.
        raw: The section as written.

    Returns:
        Every setting that applies, and `recipe`.

    Raises:
        HyperparametersInvalid: With every problem found.
    """
    if method not in _READ_AS:
        problem = FieldProblem(
            field="method",
            message=f"local-gpu does not train {method!r}",
            remedy=use_one_of(sorted(METHODS)),
        )
        raise HyperparametersInvalid([problem])
    adapter = raw.get("finetuning_type", "lora") != "full"
    parts = (_Common, *_READ_AS[method], *((_Adapter,) if adapter else ()))
    problems = _unknown_keys(raw, parts)
    settings: dict[str, Json] = {}
    for model in parts:
        known = {key: value for key, value in raw.items() if key in model.model_fields}
        try:
            settings |= model.model_validate(known).model_dump(mode="json")
        except ValidationError as error:
            problems += [wrong.problem() for wrong in in_our_words(error, known, [model])]
    if method == KTO.name and settings.get("per_device_train_batch_size") == 1:
        message = f"{KTO.name} compares each answer with others of its batch, and 1 has no other"
        problems.append(
            FieldProblem(
                field="per_device_train_batch_size",
                message=message,
                remedy=f"Write {_LEAST_MARKED} or more, and lower gradient_accumulation_steps.",
            )
        )
    problems += _overfilled(raw, settings)
    if problems:
        raise HyperparametersInvalid(problems)
    if settings.get("max_tokens_per_batch") is not None:
        del settings["per_device_train_batch_size"]
    if settings["learning_rate"] is None:
        rates = _RATES if "beta" not in settings else _PREFERENCE_RATES
        settings["learning_rate"] = rates[str(settings["finetuning_type"])]
    for key, default in _LATER.items():
        if key in settings and settings[key] == default:
            del settings[key]
    return {**settings, "recipe": RECIPE}


def _overfilled(raw: Mapping[str, Json], settings: Mapping[str, Json]) -> Iterator[FieldProblem]:
    """Yield the problems of settings beside a batch's number of tokens."""
    tokens, length = settings.get("max_tokens_per_batch"), settings.get("max_length")
    if not isinstance(tokens, int):
        return
    if "per_device_train_batch_size" in raw:
        yield FieldProblem(
            field="per_device_train_batch_size",
            message="max_tokens_per_batch already decides how many examples a batch has",
            remedy="Remove one of them.",
        )
    if isinstance(length, int) and length > tokens:
        yield FieldProblem(
            field="max_tokens_per_batch",
            message=f"a batch of {tokens} tokens has no room for a text of max_length {length}",
            remedy=f"Raise it to {length} or more, or lower max_length.",
        )


def _has(parts: Sequence[type[BaseModel]], key: str) -> bool:
    return any(key in part.model_fields for part in parts)


def _unknown_keys(raw: Mapping[str, Json], parts: Sequence[type[BaseModel]]) -> list[FieldProblem]:
    known = sorted(name for part in parts for name in part.model_fields)
    problems = []
    for key in raw:
        if key in known:
            continue
        if key == "quantization":
            message = "a base model in 4 bits cannot be trained in full, only with an adapter"
            remedy = "Remove it, or write `finetuning_type: lora`."
        elif key in _Adapter.model_fields:
            message = "belongs to an adapter, and finetuning_type is full"
            remedy = "Remove it, or write `finetuning_type: lora`."
        elif key in _Texts.model_fields:
            message = "belongs to plain texts, and conversations are read whole"
            remedy = "Remove it; `prepare: {max_tokens: ...}` limits an example."
        elif key in _Conversations.model_fields:
            message = "belongs to conversations, and plain texts are read as they are"
            remedy = "Remove it."
        elif methods := [name for name, of in _READ_AS.items() if _has(of, key)]:
            message = f"belongs to `method: {'` and `'.join(methods)}`"
            remedy = "Remove it, or change `method`."
        else:
            message = "is not a hyperparameter of local-gpu"
            remedy = did_you_mean(key, known) or use_one_of(known)
        problems.append(FieldProblem(field=dotted([key]), message=message, remedy=remedy))
    return problems
