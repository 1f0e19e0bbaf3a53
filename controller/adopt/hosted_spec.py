"""The spec of a hosted model, from what its service tells. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from backends.contract.inspector import Json
from backends.contract.inventory import HostedModel
from backends.contract.methods import METHODS, PROMPT, SUPERVISED
from backends.excerpt import clipped
from backends.registry import OF_ENDPOINTS
from controller.adopt.names import is_name
from controller.adopt.spec_text import HEAD, AdoptedSpec
from controller.spec.aliases import LONGEST
from controller.spec.model import Spec

HeldOut: TypeAlias = Literal["validation", "fraction", "training"]
"""Held-out examples: the validation file, a fraction of the training file, or all of it."""
FRACTION: Final = 0.1
_LONGEST_NOTE: Final = 200
"""Characters of a value that is only a comment."""
MOST_SEED: Final = 2**32
"""Smallest seed that no spec may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFile:
    """A file of examples in the repository."""

    path: str
    """Relative to the folder of specs: `data/triage.jsonl`."""
    sha256: str
    rows: int
    size_bytes: int
    file_id: str | None = None
    """The service's ID of the file that was downloaded; None for a file that a person put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptData:
    """Files of examples of one model."""

    train: KeptFile | None = None
    """None if there is no training file any more."""
    validation: KeptFile | None = None
    why_not: str = ""
    """Why there is no training file, a sentence."""


def data_path(name: str, split: Literal["train", "held_out"]) -> str:
    """Return the path of a downloaded file, relative to the folder of specs."""
    return f"data/{name}.jsonl" if split == "train" else f"data/{name}.held-out.jsonl"


def hosted_spec(
    hosted: HostedModel, *, name: str, endpoint: str, data: KeptData, held_out: HeldOut
) -> AdoptedSpec:
    """Return the spec of a hosted model, with notes on what the service does not tell.

    Args:
        hosted: The model, as its service shows it.
        name: The fine-tune's name.
        endpoint: The endpoint's name; empty for the default one.
        data: Its files in the repository.
        held_out: Held-out examples.
    """
    values: dict[str, Json] = {}
    notes: dict[str, Sequence[str]] = {HEAD: [*_head(hosted, data)]}
    model = hosted.model_id or ""
    if can_be_alias(model, name):
        values["aliases"] = [model]
    values["backend"] = OF_ENDPOINTS
    if endpoint:
        values["endpoint"] = endpoint
    if data.train is None:
        # Nothing is known of its training that could be repeated: it is asked as it is.
        values |= {"base_model": model, "method": PROMPT.name}
        if data.validation is not None:
            values["data"] = {"held_out": [{"path": data.validation.path}]}
        return AdoptedSpec(name=name, values=values, notes=notes)
    values["base_model"] = hosted.base_model or ""
    if method_of(hosted) != SUPERVISED.name:
        values["method"] = method_of(hosted)
    values["data"] = _data(data.train, data.validation, held_out)
    notes["data"] = [*_data_notes(held_out)]
    if hosted.hyperparameters:
        values["hyperparameters"] = dict(hosted.hyperparameters)
    if (seed := seed_of(hosted)) is not None:
        values["seed"] = seed
    return AdoptedSpec(name=name, values=values, notes=notes)


def can_be_alias(model: str, name: str) -> bool:
    """Return whether a model ID can be an alias of a fine-tune."""
    return (
        0 < len(model) <= LONGEST
        and model.isprintable()
        and model == model.strip()
        and model != name
    )


def method_of(hosted: HostedModel) -> str:
    """Return a hosted model's training method; supervised where the service does not tell."""
    return hosted.method or SUPERVISED.name


def seed_of(hosted: HostedModel) -> int | None:
    """Return the seed as a spec may have it; None for another one."""
    seed = hosted.seed
    return seed if seed is not None and 0 <= seed < MOST_SEED else None


def differences(spec: Spec, adopted: AdoptedSpec) -> Iterator[str]:
    """Yield what a spec asks for otherwise than a hosted model was made, by field.

    Data is not compared: how a model was trained on it is declared, not proven.
    """
    wanted = dict(adopted.values)
    asked: dict[str, Json] = {
        "backend": spec.backend,
        "endpoint": spec.endpoint,
        "base_model": spec.base_name,
        "method": spec.method,
        "seed": spec.seed,
    }
    defaults: Mapping[str, Json] = {
        "endpoint": None,
        "method": SUPERVISED.name,
        "seed": Spec.model_fields["seed"].default,
    }
    for key, value in asked.items():
        made = wanted.get(key, defaults.get(key))
        if value != made:
            yield f"{key} is {value!r}, not {made!r}"
    made_with = wanted.get("hyperparameters") or {}
    if dict(spec.hyperparameters) != made_with:
        yield "hyperparameters are others"


def problems_of(hosted: HostedModel) -> Iterator[tuple[str, str]]:
    """Yield why a model cannot be declared with its training data, each with a remedy."""
    if not hosted.base_model:
        yield (
            "the service does not tell its base model",
            "Name it: ftctl adopt MODEL --base_model NAME",
        )
    if method_of(hosted) not in METHODS:
        yield (
            f"it was trained with {method_of(hosted)!r}, which ftctl does not know",
            "Write a spec by hand; `ftctl help spec` lists the methods.",
        )


def verified_facts(hosted: HostedModel, data: KeptData) -> list[str]:
    """Return sentences on what was seen at the service when a model was adopted."""
    facts = []
    if hosted.is_listed:
        facts.append(f"the service lists the model {hosted.model_id}")
    if hosted.job_id is not None:
        facts.append(f"job {hosted.job_id} reports that it made the model")
    if hosted.job_id is not None and data.train is not None:
        reported = ["base model", "method", "hyperparameters"]
        if hosted.seed is not None:
            reported.append("seed")
        facts.append(f"{', '.join(reported)} are those that the job reports")
    facts += [
        f"the bytes of {kept.path} are those of file {kept.file_id}"
        for kept in (data.train, data.validation)
        if kept is not None and kept.file_id is not None
    ]
    return facts


def declared_facts(hosted: HostedModel, data: KeptData, held_out: HeldOut) -> list[str]:
    """Return sentences on what is only said of a model, by its service or by a person."""
    facts = []
    if hosted.is_listed is None:
        facts.append("the model is still there: the service does not list it")
    if hosted.job_id is None:
        facts.append("the job is not shown: base model and hyperparameters are not known")
    if data.train is None:
        return [*facts, "the training data is gone: nothing is known of it"]
    if not data.train.sha256:
        facts.append("the data is what the spec names, as a person wrote it")
    elif data.train.file_id is None:
        facts.append(f"{data.train.path} was put there by a person")
    facts.append("the model was trained on these examples; no proof of that exists")
    if held_out != "validation":
        facts.append("the held-out examples were training examples of this model")
    return facts


def _head(hosted: HostedModel, data: KeptData) -> Iterator[str]:
    where = f"job {hosted.job_id}" if hosted.job_id else "a model whose job is not shown"
    yield f"Adopted from {where}: {hosted.model_id}."
    if hosted.made_for is not None:
        yield f"ftctl made it for {hosted.made_for}, whose spec is in another repository."
    known = {
        "suffix": hosted.suffix,
        "trained tokens": hosted.trained_tokens,
        "switched off on": hosted.shutdown_date,
    }
    if data.train is None:
        known |= {"base model": hosted.base_model, "method": hosted.method, "seed": hosted.seed}
        known |= {f"hyperparameters.{key}": str(one) for key, one in hosted.hyperparameters.items()}
    for key, value in known.items():
        if value is not None:
            yield f"{key}: {clipped(str(value), _LONGEST_NOTE)}"
    if hosted.seed is not None and seed_of(hosted) is None:
        yield f"The service reports the seed {hosted.seed}, which no spec can have."
    if not can_be_alias(hosted.model_id or "", ""):
        yield "Its model ID cannot be an alias."
    if data.train is None:
        yield f"{data.why_not} So the model itself is the base model, and nothing is trained."
        yield (
            "To fill the gap, export stored completions of the model as chat JSONL; `ftctl help "
            "migration` shows where they go."
        )


def _data(train: KeptFile, validation: KeptFile | None, held_out: HeldOut) -> dict[str, Json]:
    sources: Json = [{"path": train.path}]
    if held_out == "validation" and validation is not None:
        return {"train": sources, "held_out": [{"path": validation.path}]}
    if held_out == "fraction":
        return {"train": sources, "held_out": {"fraction": FRACTION}}
    # The split would leave too few examples; and equal examples of both splits would be dropped.
    return {
        "train": sources,
        "held_out": [{"path": train.path}],
        "prepare": {"deduplicate": "off"},
    }


def _data_notes(held_out: HeldOut) -> Iterator[str]:
    if held_out == "fraction":
        yield (
            "The service has no validation file. These held-out examples were among the training "
            "examples of the hosted model, so its scores flatter it; a model that is trained from "
            "this spec does not see them."
        )
    elif held_out == "training":
        yield (
            "The service has no usable validation file, and the training file is small: all of it "
            "is held out too. Scores flatter every model until `held_out` names other examples."
        )


def name_problem(name: str, proposal: str) -> tuple[str, str] | None:
    """Return what is wrong with a name that a person chose, and the remedy; None if nothing is."""
    if is_name(name):
        return None
    return (
        f"{name!r} is not a name for a fine-tune: small letters, digits and hyphens, at most 63",
        f"Use this name: --name {proposal}",
    )
