"""Checks of `method: prompt`: what it needs, and what has no meaning where nothing is trained.

Needs no key and no network; only `check_shots` reads data.
"""

from collections.abc import Iterator
from typing import Final

from backends.contract.errors import BackendError
from backends.contract.methods import PROMPT
from controller.data.dataset import Split
from controller.errors import Problem
from controller.evaluate.rivals import few_shot_turns
from controller.spec.evaluation import BASE_FEW_SHOT
from controller.spec.load import LoadedSpec
from controller.spec.model import PromptSettings

_UNTRAINED: Final = f"`method: {PROMPT.name}` trains nothing"


def check_prompt(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield what is wrong with the method `prompt`, or with its section under another method."""
    spec = loaded.spec
    if spec.trains:
        if spec.prompt != PromptSettings():
            message = f"is only for `method: {PROMPT.name}`, and {spec.method} trains a model"
            remedy = f"Write `method: {PROMPT.name}`, or remove the section."
            yield loaded.problem(("prompt",), message, remedy)
        return
    yield from _check_unused(loaded)
    yield from _check_data(loaded)
    if not spec.has_held_out:
        yield from _check_unmeasured(loaded)


def check_shots(loaded: LoadedSpec, train: Split) -> Iterator[Problem]:
    """Yield a problem if there are fewer examples to show than the prompt asks for.

    Args:
        loaded: The spec.
        train: Its training examples.
    """
    prompt = loaded.spec.prompt
    if loaded.spec.trains or not prompt.few_shot:
        return
    try:
        few_shot_turns(train.path, prompt.few_shot, train.digest)
    except BackendError as error:
        yield loaded.problem(("prompt", "few_shot"), error.message, error.remedy)


def _check_unused(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield the fields that only training reads; a default that is written out changes nothing."""
    spec = loaded.spec
    for key in spec.hyperparameters:
        message = f"{_UNTRAINED}, so no hyperparameter has an effect"
        yield loaded.problem(("hyperparameters", key), message, "Remove it.")
    if spec.seed != type(spec).model_fields["seed"].default:
        message = f"{_UNTRAINED}, so no seed has an effect"
        yield loaded.problem(("seed",), message, "Remove it.")
    for service in spec.tracking.model_dump(exclude_none=True):
        message = f"{_UNTRAINED}, so no losses are reported"
        yield loaded.problem(("tracking", service), message, "Remove it.")
    for key in spec.hardware.model_dump(exclude_defaults=True):
        message = f"{_UNTRAINED}, so there is no job for hardware"
        yield loaded.problem(("hardware", key), message, "Remove it.")
    for key in spec.budget.model_dump(exclude_none=True):
        message = f"{_UNTRAINED}, so there is no job to limit"
        yield loaded.problem(("budget", key), message, "Remove it.")


def _check_data(loaded: LoadedSpec) -> Iterator[Problem]:
    spec = loaded.spec
    if spec.data.train:
        return
    if spec.prompt.few_shot:
        message = "shows training examples, and data.train names none"
        yield loaded.problem(("prompt", "few_shot"), message, "Add data.train, or remove few_shot.")
    if spec.data.fraction is not None:
        message = "is a fraction of the training sources, and data.train names none"
        remedy = "Name sources of its own: held_out: [{path: data/held_out.jsonl}]"
        yield loaded.problem(("data", "held_out"), message, remedy)
    for index, rival in enumerate(spec.evaluation.compare_to):
        if getattr(rival, "few_shot", rival == BASE_FEW_SHOT):
            message = "shows training examples, and data.train names none"
            path = ("evaluation", "compare_to", index)
            yield loaded.problem(path, message, "Add data.train, or remove it.")


def _check_unmeasured(loaded: LoadedSpec) -> Iterator[Problem]:
    """Yield what asks for a measurement without held-out examples."""
    spec = loaded.spec
    remedy = "Add data.held_out, which scores are measured with, or remove it."
    for key in spec.evaluation.model_dump(exclude_defaults=True):
        if key == "compare_to" and not spec.evaluation.compare_to:
            continue
        message = "nothing is measured: there are no held-out examples"
        yield loaded.problem(("evaluation", key), message, remedy)
    for index in range(len(spec.gate)):
        message = "cannot be judged: there are no held-out examples"
        yield loaded.problem(("gate", index), message, remedy)
