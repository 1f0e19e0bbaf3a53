"""Measure a build: ask models to answer the held-out prompts, and score the answers.

What was measured is kept in the state folder: a line for each example with every answer and its
values, for people, reports and sheets.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from backends.atomic_files import write_atomic_lines
from backends.contract.completions import Completion, Prompt
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.evaluate.answers import Answer, expected_answer, given_answer
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.gate import CANDIDATE, split_score
from controller.evaluate.labels import label_of
from controller.evaluate.metric import AnsweredExample, Tally
from controller.evaluate.prompts.held_out import HeldOut
from controller.evaluate.scoring import Tallies, answered, chosen_metrics, scores_of, tally
from controller.lockfile.model import Build, Scores
from controller.spec.evaluation import BASE, LABEL
from controller.spec.metrics import ChosenMetric

Answers: TypeAlias = Callable[[EvaluatedModel], Iterator[Completion]]
"""Returns a model's answers in the order of the held-out prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Tallies and scores of all models that answered."""

    metrics: Sequence[ChosenMetric]
    tallies: Mapping[str, Tallies]
    """By role."""
    scores: dict[str, Scores]
    """By role, then by name."""
    columns: Sequence[Mapping[str, str]]
    """Columns of each example; `label` is the expected answer."""


def measure(
    metrics: Sequence[ChosenMetric],
    models: Sequence[EvaluatedModel],
    held_out: HeldOut,
    answers: Answers,
    slices: Iterable[str] = (),
    opinions: Mapping[str, Tallies] = MappingProxyType({}),
) -> Measured:
    """Score the answers of every model.

    Args:
        metrics: The spec's metrics.
        models: Models that answered; one of them is the candidate.
        held_out: The held-out split.
        answers: Reads the answers of a model.
        slices: Names of scores of slices, such as `accuracy[lang=ko]`.
        opinions: Tallies by role of metrics that do not follow from the answers alone.

    Raises:
        BackendError: The candidate has a score that is not finite.
    """
    references = [prompt.reference for prompt in held_out]
    of_texts = _is_of_texts(held_out)
    of_preferences = any(prompt.rejected is not None for prompt in held_out)
    chosen = chosen_metrics(metrics, references, of_texts=of_texts, of_preferences=of_preferences)
    columns = [
        {**row.columns, LABEL: label_of(expected_answer(reference).text)}
        for row, reference in zip(held_out.rows(), references, strict=True)
    ]
    base = next((one for one in models if one.role == BASE), None) if of_preferences else None
    tallies = {
        model.role: tally(chosen, _answered(held_out, columns, model, base, answers))
        for model in models
    }
    for role, found in tallies.items():
        found.update(opinions.get(role, {}))
    scores = {role: scores_of(chosen, found) for role, found in tallies.items()}
    for name in slices:
        for role, found in tallies.items():
            number = _slice_score(name, chosen, found, columns)
            if number is not None:
                scores[role][name] = number
    require_finite(scores[CANDIDATE])
    return Measured(
        metrics=chosen,
        tallies=tallies,
        scores={role: rounded(measured) for role, measured in scores.items()},
        columns=columns,
    )


def _answered(
    held_out: HeldOut,
    columns: Sequence[Mapping[str, str]],
    model: EvaluatedModel,
    base: EvaluatedModel | None,
    answers: Answers,
) -> Iterator[AnsweredExample]:
    """Yield each example with the answer of a model, and that of the base model if there is one."""
    others: Iterator[Completion | None] = repeat(None)
    if base is not None and base is not model:
        others = answers(base)
    for prompt, completion, row, other in zip(
        held_out, answers(model), columns, others, strict=False
    ):
        yield answered(
            prompt.reference,
            completion,
            question=prompt.messages,
            columns=row,
            base=completion if base is model else other,
            is_unwanted=prompt.reference is None and prompt.rejected is not None,
        )


def slice_tallies(
    name: str, tallies: Tallies, columns: Sequence[Mapping[str, str]]
) -> list[Tally | None]:
    """Return the tallies of a score: those of its metric, None for examples outside its slice."""
    metric, part = split_score(name)
    found = tallies.get(metric, [])
    if part is None:
        return found
    return [
        one if part.has(row.get(part.column)) else None
        for one, row in zip(found, columns, strict=False)
    ]


def _slice_score(
    name: str,
    metrics: Sequence[ChosenMetric],
    tallies: Tallies,
    columns: Sequence[Mapping[str, str]],
) -> float | None:
    metric = next((one.metric for one in metrics if one.name == split_score(name)[0]), None)
    return metric.score(slice_tallies(name, tallies, columns)) if metric is not None else None


def write_evaluation_file(
    path: Path,
    measured: Measured,
    models: Sequence[EvaluatedModel],
    held_out: HeldOut,
    answers: Answers,
) -> None:
    """Write what was measured: a line for each example with all answers and values.

    Plain texts, which nobody answers, have no lines.
    """
    given = {model.role: answers(model) for model in models}
    values = {
        role: {one.name: map(one.metric.value, tallies[one.name]) for one in measured.metrics}
        for role, tallies in measured.tallies.items()
    }

    def lines() -> Iterator[bytes]:
        for prompt, row in zip(held_out, held_out.rows(), strict=True):
            completions = {role: next(one) for role, one in given.items()}
            numbers = {
                role: {name: finite(next(one)) for name, one in by_metric.items()}
                for role, by_metric in values.items()
            }
            if not prompt.is_text:
                line: dict[str, Json] = {
                    "id": row.id,
                    "origin": row.origin,
                    "columns": dict(row.columns),
                    "values": numbers,
                }
                yield canonical_json({**line, **answer_line(prompt, completions)}) + b"\n"

    write_atomic_lines(path, lines())


def evaluation_path(state: Path, build: str, evaluation: str) -> Path:
    """Return the path of what one evaluation measured, a line for each example."""
    parts = (build.partition(":")[2][:16], evaluation.partition(":")[2][:16])
    return state / "evaluations" / f"{parts[0]}-{parts[1]}.jsonl"


def evaluation_path_of(state: Path, build: Build) -> Path | None:
    """Return the path of what a build's evaluation measured; None if it was not evaluated."""
    if build.evaluation is None:
        return None
    return evaluation_path(state, build.fingerprint, build.evaluation.fingerprint)


def read_evaluation_file(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what was measured of each example: `messages`, `reference`, `answers` by role and so on."""
    if path.exists():
        with path.open("rb") as file:
            yield from map(json.loads, file)


def _is_of_texts(held_out: HeldOut) -> bool:
    return len(held_out) > 0 and all(prompt.is_text for prompt in held_out)


def require_finite(scores: Scores) -> None:
    """Refuse the scores of a model that diverged, since no gate can judge them.

    Raises:
        BackendError: A score is not a finite number.
    """
    diverged = [name for name, number in scores.items() if not math.isfinite(number)]
    if diverged:
        message = f"{', '.join(diverged)} of the trained model is not a finite number: it diverged"
        raise BackendError(message, "Lower the learning rate, or look for odd examples.")


def rounded(scores: Scores) -> Scores:
    """Round scores to six digits, since more digits only make diffs.

    A score that is not finite is left out. A compared model that diverged has such a score.
    """
    return {name: round(number, 6) for name, number in scores.items() if math.isfinite(number)}


def finite(number: float | None) -> float | None:
    """Return a number rounded to six digits; None if it is not finite."""
    return None if number is None or not math.isfinite(number) else round(number, 6)


def answer_line(prompt: Prompt, given: Mapping[str, Completion]) -> dict[str, Json]:
    """Return the answers of one example: texts, with thinking and calls if there are any."""
    answers: dict[str, Answer] = {role: given_answer(one) for role, one in given.items()}
    reference = None if prompt.reference is None else expected_answer(prompt.reference).text
    line: dict[str, Json] = {
        "messages": prompt.messages,
        "reference": reference,
        "answers": {role: answer.text for role, answer in answers.items()},
        "finish_reason": {role: one.finish_reason for role, one in given.items()},
    }
    optional: dict[str, Json] = {
        "tools": prompt.tools,
        "rejected": None if prompt.rejected is None else expected_answer(prompt.rejected).text,
        "reference_calls": (prompt.reference or {}).get("tool_calls"),
        "calls": {role: one.tool_calls for role, one in given.items() if one.tool_calls},
        "thinking": {role: one.thinking for role, one in answers.items() if one.thinking},
        "tokens": {
            role: one.completion_tokens for role, one in given.items() if one.completion_tokens
        },
        "latency_s": {
            role: one.latency_s for role, one in given.items() if one.latency_s is not None
        },
    }
    return line | {key: value for key, value in optional.items() if value}
