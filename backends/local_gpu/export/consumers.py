"""The programs that load exported weights, each asked the same questions as the trained model."""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForMultimodalLM, AutoTokenizer, PreTrainedModel

from backends.contract.errors import BackendError
from backends.local_gpu.export.adapter_files import is_adapter
from backends.local_gpu.export.export_context import Export
from backends.local_gpu.export.gguf_file import LlamaAnswers
from backends.local_gpu.export.greedy_answers import (
    TOLERANCE,
    Comparison,
    Model,
    Tokens,
    answer,
    compare,
    likelihood,
)
from backends.local_gpu.models.adapters import WEIGHTS
from backends.local_gpu.models.language_part import language_part
from backends.local_gpu.models.merging import adapted_model
from backends.local_gpu.models.model_folders import load_model

THINKING: Final[Sequence[Mapping[str, bool]]] = (
    {},
    {"enable_thinking": False},
    {"enable_thinking": True},
)
"""Settings of a chat template that a program may need to be told, the default first."""
_SEEN: Final = 0.02
"""Nats per token by which an adapter changes its own answers, where rounding cannot hide it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Answers of the trained model, as ftctl itself loads it."""

    answers: Sequence[Tokens]
    likelihood: Sequence[float]
    """Log likelihood of each of their tokens."""
    effect: float | None
    """Mean change of these by the adapter; None for a fully trained model."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """Answers of other programs, and notes for their users."""

    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def expected(export: Export) -> Expected:
    """Ask the trained model itself."""
    adapter = is_adapter(export.run.model)
    model: Model = (
        adapted_model(export.run.model, export.base, export.dtype, export.where)
        if adapter
        else load_model(export.run.model, export.dtype, export.where).eval()
    )
    answers = [answer(model, question, export.stops) for question in export.questions]
    found = likelihood(model, export.questions, answers)
    effect = None
    if adapter:
        with model.disable_adapter():
            effect = _distance(found, likelihood(model, export.questions, answers))
        if effect == 0.0:
            raise BackendError(
                "the adapter changes none of the answers' likelihoods on the base model",
                "Train it again with `ftctl retry NAME`.",
            )
    return Expected(answers=answers, likelihood=found, effect=effect)


def ask_peft(export: Export, folder: Path, wanted: Expected) -> Comparison:
    """Load an adapter as any user of PEFT does, and ask it.

    Raises:
        BackendError: PEFT does not load all of it, or it answers otherwise.
    """
    model = PeftModel.from_pretrained(plain_model(export.base, export), str(folder)).eval()
    missing = load_file(folder / WEIGHTS).keys() - get_peft_model_state_dict(model).keys()
    if missing:
        raise BackendError(f"PEFT does not load {min(missing)} of the adapter")
    return _asked(export, model, wanted, f"PEFT {version('peft')}")


def ask_transformers(export: Export, folder: Path, wanted: Expected) -> Comparison:
    """Load a whole model as any user of transformers does, and ask it.

    Raises:
        BackendError: It answers otherwise, or the adapter's effect is not in it.
    """
    model = plain_model(folder, export)
    found = _asked(export, model, wanted, f"transformers {version('transformers')}")
    if wanted.effect is not None and wanted.effect > _SEEN:
        now = likelihood(model, export.questions, wanted.answers)
        if not _distance(now, wanted.likelihood) < wanted.effect:
            raise BackendError(
                "the merged model is as far from the adapter as its base model is",
                "Report this as a defect of ftctl, with the name of the base model.",
            )
    return found


def plain_model(folder: Path, export: Export) -> PreTrainedModel:
    """Open the class of model that servers open, with all its parts."""
    # A model that was asked before may still be in memory: adapters refer to it in circles.
    gc.collect()
    model = load_model(folder, export.dtype, export.where)
    part = language_part(folder, model)
    if part.here != part.whole:
        model = AutoModelForMultimodalLM.from_pretrained(
            folder, dtype=export.dtype, local_files_only=True, use_safetensors=True
        ).to(export.where)
    return model.eval()


def prompt_note(export: Export, folder: Path) -> str | None:
    """Return what a user of transformers has to know to send the prompts of the training."""
    if export.chat is None:
        return None
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def rendered(number: int, settings: Mapping[str, bool]) -> Tokens | None:
        conversation = export.probes[0][number].conversation or {}
        try:
            found = tokenizer.apply_chat_template(
                list(conversation["messages"]),
                tools=list(conversation.get("tools") or []) or None,
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                **settings,
            )
        except Exception:  # noqa: BLE001 - a template may raise whatever it likes
            return None
        return list(found["input_ids"])

    return _note("transformers", export.questions, rendered)


def compare_llama(
    export: Export, found: LlamaAnswers, wanted: Expected, merged: Path
) -> Comparison:
    """Compare the answers of llama.cpp.

    Args:
        export: The export.
        found: Answers of llama.cpp.
        wanted: Answers of the trained model.
        merged: Folder of the merged model, asked how near a tie is.

    Raises:
        BackendError: llama.cpp reads a prompt otherwise, does not stop, or answers otherwise.
    """
    for number, (ids, read) in enumerate(zip(export.questions, found.read, strict=True)):
        if list(ids) != list(read):
            raise BackendError(
                f"llama.cpp reads the text of question {number + 1} as other tokens",
                "Export it with `--format merged`: transformers and vLLM use the model's own "
                "tokenizer.",
            )
    return compare(
        f"llama.cpp ({found.version})",
        export.questions,
        wanted.answers,
        found.answers,
        lambda: plain_model(merged, export),
        TOLERANCE,
    )


def llama_note(export: Export, found: LlamaAnswers) -> str | None:
    """Return what a user of llama.cpp has to know to send the prompts of the training."""
    if export.chat is None:
        return None
    return _note(
        "llama.cpp",
        export.questions,
        lambda number, settings: found.prompts[number][THINKING.index(settings)],
    )


def _asked(export: Export, model: Model, wanted: Expected, by: str) -> Comparison:
    answers = [answer(model, question, export.stops) for question in export.questions]
    return compare(by, export.questions, wanted.answers, answers, lambda: model, export.tolerance)


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return float((torch.tensor(one) - torch.tensor(other)).abs().mean())


def _note(
    program: str,
    questions: Sequence[Tokens],
    rendered: Callable[[int, Mapping[str, bool]], Tokens | None],
) -> str | None:
    for settings in THINKING:
        prompts = [rendered(number, settings) for number in range(len(questions))]
        if all(
            prompt is not None and list(prompt) == list(question)
            for prompt, question in zip(prompts, questions, strict=True)
        ):
            if not settings:
                return None
            word = str(settings["enable_thinking"]).lower()
            return (
                f"Ask it in {program} with `chat_template_kwargs: {{enable_thinking: {word}}}`: so it "
                "was trained."
            )
    return (
        f"{program} renders prompts otherwise than the training did, as with a template that writes "
        "today's date. Compare its prompts with `ftctl data preview`."
    )
