"""Measuring a build: ask the backend for answers to the held-out prompts, score them.

The answers are kept in the state folder, beside the scores, for people to look at.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.base import (
    Backend,
    BackendError,
    BaseModel,
    Completion,
    JobState,
    Json,
    Prompt,
    Sampling,
)
from backends.durable import write_atomic
from controller.canonical import canonical_json
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.metrics import score
from controller.lock.model import Build, Entry, Scores
from controller.plan.actions import Desired
from controller.plan.fingerprint import short
from controller.spec.load import FOLDER
from controller.spec.model import Evaluation as EvaluationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model that answers the held-out prompts."""

    role: str
    """`candidate`, `base` or `production`."""
    base_model: BaseModel
    model_id: str | None
    """None for the base model itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to look."""

    root: Path
    """The repository; base models are written relative to its specs."""
    open_backend: Callable[[str], Backend]


def compared_models(
    desired: Desired, build: Build, entry: Entry, at: Place
) -> tuple[list[Compared], str | None]:
    """Return the models to measure, and which build stands for production.

    Raises:
        BackendError: What one of them was trained from is not here.
    """
    base = _base_model(build, desired, at)
    models = [Compared(role=CANDIDATE, base_model=base, model_id=build.model_id)]
    wanted = desired.spec.evaluation.compare_to
    if "base" in wanted:
        models.append(Compared(role="base", base_model=base, model_id=None))
    production = entry.builds.get(entry.production or "")
    if "production" not in wanted or production is None:
        return models, None
    if production.fingerprint == build.fingerprint or production.backend != build.backend:
        return models, None
    base = _base_model(production, desired, at)
    models.append(Compared(role="production", base_model=base, model_id=production.model_id))
    return models, production.fingerprint


def require_model(build: Build, at: Place) -> None:
    """Make sure that a build's model is still there.

    Raises:
        BackendError: It is not.
    """
    found = at.open_backend(build.backend).find([build.fingerprint])
    alive = [job for job in found.get(build.fingerprint, ()) if job.state is JobState.SUCCEEDED]
    if not alive:
        message = (
            f"the model of build {short(build.fingerprint)} is not at {build.backend} any more"
        )
        remedy = "Bring it back, or change the spec: nothing is retrained silently."
        raise BackendError(message, remedy)


def measure(
    settings: EvaluationSpec,
    compared: Sequence[Compared],
    *,
    backend: Backend,
    held_out: Path,
    answers_file: Path,
) -> dict[str, Scores]:
    """Let every model answer the held-out prompts, and score the answers.

    Args:
        settings: The spec's `evaluation`.
        compared: The models, the candidate among them.
        backend: Who answers.
        held_out: The held-out examples, canonical JSONL.
        answers_file: Where the answers are kept.

    Returns:
        Scores by role, then by metric.

    Raises:
        BackendError: A model could not be asked.
    """
    prompts = list(read_prompts(held_out))
    references = [prompt.reference or "" for prompt in prompts]
    answers: dict[str, list[Completion]] = {}
    for base_model in {one.base_model.identity: one.base_model for one in compared}.values():
        group = [one for one in compared if one.base_model.identity == base_model.identity]
        models = [one.model_id for one in group]
        sampling = Sampling(max_tokens=settings.max_tokens)
        completed = backend.complete(base_model, models, prompts, sampling)
        answers |= {one.role: given for one, given in zip(group, completed, strict=True)}
    write_atomic(answers_file, b"".join(_answer_lines(prompts, answers)))
    return {
        role: _rounded(score(settings.metrics, references, given))
        for role, given in answers.items()
    }


def read_prompts(path: Path) -> Iterator[Prompt]:
    """Yield each example as the conversation before its last answer, and that answer."""
    with path.open("rb") as file:
        for line in file:
            example: dict[str, Any] = json.loads(line)
            *before, last = example["messages"]
            content = last.get("content")
            reference = content if isinstance(content, str) else None
            yield Prompt(messages=before, tools=example.get("tools", ()), reference=reference)


def answers_path(state: Path, build: str, evaluation: str) -> Path:
    """Return where the answers of one evaluation are kept."""
    parts = (build.partition(":")[2][:16], evaluation.partition(":")[2][:16])
    return state / "evaluations" / f"{parts[0]}-{parts[1]}.jsonl"


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the kept answers: `messages`, `reference`, and each model's answer by role."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)


def _base_model(build: Build, desired: Desired, at: Place) -> BaseModel:
    """Return what a build was trained from, which need not be what the spec says now."""
    identity = build.inputs.get("base_model")
    if identity == desired.base_model.identity:
        return desired.base_model
    found = at.open_backend(build.backend).identify(
        build.base_model, build.revision, at.root / FOLDER
    )
    if found.identity != identity:
        message = (
            f"build {short(build.fingerprint)} was trained from another {build.base_model} than "
            "the one that is here"
        )
        remedy = "Bring that one back, or take `production` out of evaluation.compare_to."
        raise BackendError(message, remedy)
    return found


def _rounded(scores: Scores) -> Scores:
    """Round to what is worth recording; more digits only make diffs."""
    return {name: round(number, 6) for name, number in scores.items()}


def _answer_lines(
    prompts: Sequence[Prompt], answers: dict[str, list[Completion]]
) -> Iterator[bytes]:
    roles = sorted(answers, key=lambda role: (role != CANDIDATE, role))
    for index, prompt in enumerate(prompts):
        line: dict[str, Json] = {
            "messages": prompt.messages,
            "reference": prompt.reference,
            "answers": {role: answers[role][index].text for role in roles},
        }
        yield canonical_json(line) + b"\n"
