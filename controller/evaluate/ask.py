"""Ask models the held-out prompts."""

from collections.abc import Callable, Iterator, Sequence

from backends.contract.backend import Backend
from backends.contract.completions import Completion
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.measure import Answers, HeldOut


def ask(
    models: Sequence[EvaluatedModel],
    held_out: HeldOut,
    open_backend: Callable[[str], Backend],
) -> Answers:
    """Let every model answer its prompts, and return their answers."""
    given: dict[str, list[Completion]] = {}
    for group in _asked_together(models):
        first = group[0]
        prompts = [first.asked(prompt) for prompt in held_out.prompts()]
        ids = [model.model_id for model in group]
        found = open_backend(first.place).complete(first.base_model, ids, prompts, first.sampling)
        given |= {model.role: one for model, one in zip(group, found, strict=True)}

    def answers(model: EvaluatedModel) -> Iterator[Completion]:
        return iter(given[model.role])

    return answers


def _asked_together(models: Sequence[EvaluatedModel]) -> list[list[EvaluatedModel]]:
    """Group models that one call can ask: they share a base model and get the same prompts."""
    groups: dict[tuple[object, ...], list[EvaluatedModel]] = {}
    for model in models:
        own = model.role if model.prompt is not None or model.shots else ""
        key = (model.place, model.base_model.identity, model.sampling, own)
        groups.setdefault(key, []).append(model)
    return list(groups.values())
