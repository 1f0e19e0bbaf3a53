"""Measure a build: ask models to answer the held-out prompts, and score the answers.

The answers are kept in the state folder for people to read.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backends.atomic_files import write_atomic
from backends.contract.backend import Backend
from backends.contract.completions import Completion, Prompt, Sampling
from backends.contract.errors import BackendError
from backends.contract.inspector import Json
from backends.contract.jobs import BaseModel, JobState
from controller.canonical import canonical_json
from controller.evaluate.answers import expected_answer, given_answer
from controller.evaluate.ask import ask
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.held_out import HeldOut
from controller.evaluate.scoring import loss_only, score
from controller.lockfile.model import Build, Entry, Scores
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.plan.versions import is_comparable
from controller.spec.load import FOLDER
from controller.spec.model import Evaluation as EvaluationSpec

NOT_COMPARED = "production's scores are of an older version, and asking it costs: not compared"
ASK_AGAIN = "To measure production too: ftctl evaluate"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedModel:
    """One model that answers the held-out prompts."""

    role: str
    """`candidate`, `base` or `production`."""
    backend: Backend
    base_model: BaseModel
    model_id: str | None
    """None for the base model itself."""
    identity: str
    """Everything that decides its answers, for answers that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationContext:
    """Repository and backends that an evaluation reads besides its inputs."""

    root: Path
    """The repository's folder; a path of a base model is relative to its folder of specs."""
    open_backend: Callable[[str], Backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A candidate and the models that it is compared with."""

    models: tuple[EvaluatedModel, ...]
    """Models that answer the prompts, the candidate first."""
    recorded: Mapping[str, Scores]
    """Scores by role of models that are not asked."""
    production_build: str | None
    """Fingerprint of the build whose role is `production`."""


def compare_with(
    desired: Desired,
    build: Build,
    entry: Entry,
    context: EvaluationContext,
    *,
    without_base: bool = False,
    asks_production: bool = True,
) -> Comparison:
    """Return the inputs of a build's evaluation, on any backend.

    Production was measured when it was the candidate. Its scores hold while held-out examples,
    metrics and version of scoring are the same. Recorded scores cost nothing and outlive the
    service that gave the answers. Scores of another version are not compared.

    Args:
        desired: Inputs that the spec asks for.
        build: The candidate.
        entry: The fine-tune's record in the lockfile.
        context: What the evaluation reads besides its inputs.
        without_base: True to leave out the base model, because its server cannot answer for it.
        asks_production: True to query production if its scores have only another version. Otherwise
                it has no scores, and no condition on it holds.

    Raises:
        BackendError: A model's training inputs are not on this machine.
    """
    candidate = _evaluated_model(CANDIDATE, build, desired, context)
    models = [candidate]
    wanted = desired.spec.evaluation.compare_to
    if "base" in wanted and not without_base:
        base = candidate.base_model
        identity = f"base model {base.identity} at {build.backend}"
        models.append(replace(candidate, role="base", model_id=None, identity=identity))
    production = entry.builds.get(entry.production or "")
    if "production" not in wanted or production is None or production.model_id == build.model_id:
        return Comparison(models=tuple(models), recorded={}, production_build=None)
    recorded = _recorded_scores(production, desired)
    if recorded is None and not asks_production:
        recorded = {"production": {}}
    if not recorded:
        models.append(_evaluated_model("production", production, desired, context))
    return Comparison(
        models=tuple(models), recorded=recorded or {}, production_build=production.fingerprint
    )


def require_model(build: Build, context: EvaluationContext) -> None:
    """Check that a build's model still exists.

    Raises:
        BackendError: The model is gone.
    """
    found = context.open_backend(build.backend).find_jobs([build.fingerprint])
    alive = [job for job in found.get(build.fingerprint, ()) if job.state is JobState.SUCCEEDED]
    if not alive:
        message = (
            f"the model of build {short_id(build.fingerprint)} is not at {build.backend} any more"
        )
        remedy = "Bring it back, or change the spec: nothing is retrained silently."
        raise BackendError(message, remedy)


def measure(
    settings: EvaluationSpec,
    models: Sequence[EvaluatedModel],
    *,
    held_out: Path,
    answers_file: Path,
    answers_folder: Path,
) -> dict[str, Scores]:
    """Let every model answer the held-out prompts, and score the answers.

    Args:
        settings: The spec's `evaluation`.
        models: Models that answer the prompts; one of them is the candidate.
        held_out: The held-out examples, canonical JSONL.
        answers_file: File to write the answers to.
        answers_folder: Folder of kept answers; what is there is not asked again.

    Returns:
        Scores by role, then by metric.

    Raises:
        BackendError: A model gave no answers, or the candidate has a score that is not finite.
    """
    prompts = HeldOut(held_out)
    references = [prompt.reference for prompt in prompts]
    kept = ask(models, prompts, Sampling(max_tokens=settings.max_tokens), answers_folder)
    answers = {model.role: list(kept.of(model.role)) for model in models}
    write_atomic(answers_file, b"".join(_answer_lines(prompts, answers)))
    if prompts and all(prompt.is_text for prompt in prompts):
        # Plain texts have no answers.
        scores = {role: loss_only(given) for role, given in answers.items()}
    else:
        scores = {
            role: score(settings.metrics, references, given) for role, given in answers.items()
        }
    _require_finite(scores[CANDIDATE])
    return {role: _rounded(measured) for role, measured in scores.items()}


def answers_path(state: Path, build: str, evaluation: str) -> Path:
    """Return the path of the answers of one evaluation."""
    parts = (build.partition(":")[2][:16], evaluation.partition(":")[2][:16])
    return state / "evaluations" / f"{parts[0]}-{parts[1]}.jsonl"


def answers_of(state: Path, build: Build) -> Path | None:
    """Return the path of a build's answers; None if the build was not evaluated."""
    if build.evaluation is None:
        return None
    return answers_path(state, build.fingerprint, build.evaluation.fingerprint)


def read_answers(path: Path) -> Iterator[dict[str, Any]]:
    """Yield each prompt with its answers: `messages`, `reference`, and `answers` by role."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                yield json.loads(line)


def _base_model(build: Build, desired: Desired, context: EvaluationContext) -> BaseModel:
    """Return the base model that a build was trained from; the spec may name another by now."""
    identity = build.inputs.get("base_model")
    if identity == desired.base_model.identity:
        return desired.base_model
    found = context.open_backend(build.backend).resolve_base_model(
        build.base_model, build.revision, context.root / FOLDER
    )
    if found.identity != identity:
        message = (
            f"build {short_id(build.fingerprint)} was trained from another {build.base_model} than "
            "the one that is here"
        )
        remedy = "Restore that base model, or remove `production` from evaluation.compare_to."
        raise BackendError(message, remedy)
    return found


def _require_finite(scores: Scores) -> None:
    """Refuse the scores of a model that diverged, since no gate can judge them.

    Raises:
        BackendError: A score is not a finite number.
    """
    diverged = [name for name, number in scores.items() if not math.isfinite(number)]
    if diverged:
        message = f"{', '.join(diverged)} of the trained model is not a finite number: it diverged"
        raise BackendError(message, "Lower the learning rate, or look for odd examples.")


def _rounded(scores: Scores) -> Scores:
    """Round scores to six digits, since more digits only make diffs.

    A score that is not finite is left out. A compared model that diverged has such a score.
    """
    return {name: round(number, 6) for name, number in scores.items() if math.isfinite(number)}


def _evaluated_model(
    role: str, build: Build, desired: Desired, context: EvaluationContext
) -> EvaluatedModel:
    return EvaluatedModel(
        role=role,
        backend=context.open_backend(build.backend),
        base_model=_base_model(build, desired, context),
        model_id=build.model_id,
        identity=(
            f"{build.model_id} of build {build.fingerprint}, attempt {build.attempt}, "
            f"at {build.backend}"
        ),
    )


def _recorded_scores(production: Build, desired: Desired) -> dict[str, Scores] | None:
    """Return production's scores if the same held-out examples and metrics gave them.

    None if only the version of scoring differs.
    """
    evaluation = production.evaluation
    if evaluation is None:
        return {}
    decisive = ("held_out", "max_tokens", "metrics")
    if any(evaluation.inputs.get(key) != desired.evaluation_inputs[key] for key in decisive):
        return {}
    if not is_comparable(evaluation, desired):
        return None
    return {"production": evaluation.scores[CANDIDATE]}


def _answer_lines(
    prompts: Sequence[Prompt], answers: dict[str, list[Completion]]
) -> Iterator[bytes]:
    for index, prompt in enumerate(prompts):
        if not prompt.is_text:
            given = {role: completions[index] for role, completions in answers.items()}
            yield canonical_json(_answer_line(prompt, given)) + b"\n"


def _answer_line(prompt: Prompt, given: Mapping[str, Completion]) -> dict[str, Json]:
    """Return a line of the file of answers: texts, with thinking and calls if there are any."""
    answers = {role: given_answer(completion) for role, completion in given.items()}
    reference = None if prompt.reference is None else expected_answer(prompt.reference).text
    line: dict[str, Json] = {
        "messages": prompt.messages,
        "reference": reference,
        "answers": {role: answer.text for role, answer in answers.items()},
    }
    optional: dict[str, Json] = {
        "reference_calls": (prompt.reference or {}).get("tool_calls"),
        "calls": {role: one.tool_calls for role, one in given.items() if one.tool_calls},
        "thinking": {role: one.thinking for role, one in answers.items() if one.thinking},
    }
    return line | {key: value for key, value in optional.items() if value}
