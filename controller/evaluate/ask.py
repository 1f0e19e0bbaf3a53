"""Ask models for the answers to held-out prompts, keep them, and read them back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from backends.contract.backend import Backend
from backends.contract.completions import Completion, Prompt
from controller.evaluate.answer_file import AnswerKey
from controller.evaluate.answer_store import AnswerStore, Asked
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.prompts.lazy import changed


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswers:
    """Answers of models to the same held-out prompts, in the store."""

    store: AnswerStore
    prompts: Sequence[Prompt]
    asked: Asked = field(default_factory=lambda: Asked(asked=0, kept=0))

    def of(self, model: EvaluatedModel) -> Iterator[Completion]:
        """Yield a model's answers one by one, in the order of the prompts."""
        return self.store.read(key_of(model), prompts_of(model, self.prompts))

    def has_all(self, model: EvaluatedModel) -> bool:
        """Return True if every answer of a model is kept."""
        return not self.missing(model)

    def missing(self, model: EvaluatedModel) -> int:
        """Return the number of answers of a model that are not kept."""
        return len(self.store.missing(key_of(model), prompts_of(model, self.prompts)))


def key_of(model: EvaluatedModel) -> AnswerKey:
    """Return the key of a model's kept answers."""
    return AnswerKey(model.identity, model.sampling)


def prompts_of(model: EvaluatedModel, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """Return the prompts that a model gets for the held-out prompts."""
    return changed(prompts, model.asked) if model.has_own_prompts else prompts


def ask(
    models: Sequence[EvaluatedModel],
    answers: KeptAnswers,
    open_backend: Callable[[str], Backend],
) -> KeptAnswers:
    """Ask models for the answers that are not kept yet.

    Models that share a base model are asked in one call, since it is loaded once. A backend with
    nothing to ask is not opened, so answers of a model that is gone still count.

    Args:
        models: The models.
        answers: What is kept so far.
        open_backend: Opens a backend by its place.

    Returns:
        The answers, and how many were asked for.

    Raises:
        PromptRefused: Prompts were refused. Their answers are missing, the others are kept.
        BackendError: A model gave no answer. Answers before are kept.
        FtctlError: Answers cannot be kept.
    """
    asked = kept = 0
    for group in _asked_together(models):
        first, prompts = group[0], prompts_of(group[0], answers.prompts)
        if not any(map(answers.missing, group)):
            kept += len(group) * len(prompts)
            continue
        done = answers.store.ask(
            open_backend(first.place),
            first.base_model,
            {key_of(model): model.model_id for model in group},
            prompts,
            read_by=next((one.read_by for one in group if one.read_by is not None), None),
        )
        asked, kept = asked + done.asked, kept + done.kept
    return KeptAnswers(
        store=answers.store, prompts=answers.prompts, asked=Asked(asked=asked, kept=kept)
    )


def _asked_together(models: Sequence[EvaluatedModel]) -> list[list[EvaluatedModel]]:
    """Group models that one call can ask: they share a base model and get the same prompts."""
    groups: dict[tuple[object, ...], list[EvaluatedModel]] = {}
    for model in models:
        own = model.role if model.has_own_prompts else ""
        key = (model.place, model.base_model.identity, model.sampling, own)
        groups.setdefault(key, []).append(model)
    return list(groups.values())
