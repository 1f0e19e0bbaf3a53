"""Measuring a build: ask the backend for answers to the held-out prompts, score them.

The answers are kept in the state folder, beside the scores, for people to look at.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.base import Backend, BaseModel, Completion, Json, Prompt, Sampling
from backends.durable import write_atomic
from controller.canonical import canonical_json
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.metrics import score
from controller.lock.model import Scores
from controller.spec.model import Evaluation as EvaluationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model that answers the held-out prompts."""

    role: str
    """`candidate`, `base` or `production`."""
    base_model: BaseModel
    model_id: str | None
    """None for the base model itself."""


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
