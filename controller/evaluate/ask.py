"""Ask models for the answers to held-out prompts, keep them, and read them back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from backends.contract.backend import Backend
from backends.contract.completions import Completion, Prompt, Sampling
from backends.contract.jobs import BaseModel
from controller.evaluate.answer_file import AnswerKey
from controller.evaluate.answer_store import AnswerStore, Asked


class AskedModel(Protocol):
    """A model that answers the held-out prompts."""

    @property
    def role(self) -> str:
        """Its name in scores."""

    @property
    def backend(self) -> Backend:
        """The backend that has it."""

    @property
    def base_model(self) -> BaseModel:
        """The model that it was trained from."""

    @property
    def model_id(self) -> str | None:
        """Its ID; None for the base model itself."""

    @property
    def identity(self) -> str:
        """Everything that decides its answers: build, attempt, ID, base model, place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswers:
    """The answers of several models to the same prompts, in the store."""

    store: AnswerStore
    prompts: Sequence[Prompt]
    keys: Mapping[str, AnswerKey]
    """Key of each model by role."""
    asked: Asked

    def of(self, role: str) -> Iterator[Completion]:
        """Yield a model's answers one by one, in the order of the prompts."""
        return self.store.read(self.keys[role], self.prompts)


def ask(
    models: Sequence[AskedModel], prompts: Sequence[Prompt], sampling: Sampling, folder: Path
) -> KeptAnswers:
    """Ask models for the answers that are not kept yet.

    Models that share a base model are asked in one call, since it is loaded once.

    Args:
        models: The models.
        prompts: The prompts, which every model answers.
        sampling: How to draw the answers.
        folder: The folder of kept answers.

    Raises:
        PromptRefused: Prompts were refused. Their answers are missing, the others are kept.
        BackendError: A model gave no answer. Answers before are kept.
        FtctlError: Answers cannot be kept.
    """
    store = AnswerStore(folder)
    keys: dict[str, AnswerKey] = {}
    asked = kept = 0
    for group in by_base_model(models):
        named = {model.role: AnswerKey(_identity(model, group), sampling) for model in group}
        keys |= named
        ids = {named[model.role]: model.model_id for model in group}
        done = store.ask(group[0].backend, group[0].base_model, ids, prompts)
        asked, kept = asked + done.asked, kept + done.kept
    return KeptAnswers(store=store, prompts=prompts, keys=keys, asked=Asked(asked=asked, kept=kept))


def by_base_model(models: Sequence[AskedModel]) -> list[list[AskedModel]]:
    """Group models that one call can ask because they share a loaded base model."""
    groups: dict[tuple[int, str], list[AskedModel]] = {}
    for model in models:
        groups.setdefault((id(model.backend), model.base_model.identity), []).append(model)
    return list(groups.values())


def _identity(model: AskedModel, group: Sequence[AskedModel]) -> str:
    """Return the identity of a model as it is asked.

    On this machine, a base model is asked with the template of the first model trained from it.
    """
    if model.model_id is not None or model.backend.capabilities().remote:
        return model.identity
    first = next((other.model_id for other in group if other.model_id is not None), None)
    return model.identity if first is None else f"{model.identity}, asked as {first} is"
