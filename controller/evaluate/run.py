"""Measuring a build: ask the backend for answers to the held-out prompts, score them.

The answers are kept in the state folder, beside the scores, for people to look at.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backends.atomic_files import write_atomic
from backends.contract.backend import (
    Backend,
    BackendError,
    BaseModel,
    Completion,
    JobState,
    Json,
    Prompt,
    Sampling,
)
from controller.canonical import canonical_json
from controller.evaluate.answers import expected_answer, given_answer
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.metrics import loss_alone, score
from controller.lockfile.model import Build, Entry, Scores
from controller.plan.desired import Desired
from controller.plan.fingerprint import short_id
from controller.plan.versions import is_comparable
from controller.spec.load import FOLDER
from controller.spec.model import Evaluation as EvaluationSpec

NOT_COMPARED = "production's scores are of an older version, and asking it costs: not compared"
ASK_AGAIN = "To measure production too: ftctl evaluate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model that answers the held-out prompts."""

    role: str
    """`candidate`, `base` or `production`."""
    backend: Backend
    base_model: BaseModel
    model_id: str | None
    """None for the base model itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to look."""

    root: Path
    """The repository; base models are written relative to its specs."""
    open_backend: Callable[[str], Backend]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a build is measured with."""

    models: tuple[Compared, ...]
    """The candidate first, then whatever must be asked as well."""
    recorded: Mapping[str, Scores]
    """Scores that need no asking, by role."""
    production_build: str | None
    """The build that `production` stands for."""


def compare_with(
    desired: Desired,
    build: Build,
    entry: Entry,
    at: Place,
    *,
    without_base: bool = False,
    asks_production: bool = True,
) -> Comparison:
    """Return the inputs of a build's evaluation, on any backend.

    Production was measured when it was the candidate. Its scores hold while held-out examples,
    metrics and version of scoring are the same: they cost nothing, and they outlive the service
    that gave them. Scores of another version are not compared.

    Args:
        desired: Inputs that the spec asks for.
        build: The candidate.
        entry: The fine-tune's record in the lockfile.
        at: Places to search.
        without_base: True to leave out the base model, because its server cannot answer for it.
        asks_production: True to query production if its scores have only another version. Otherwise
                it has no scores, and no condition on it holds.

    Raises:
        BackendError: A model's training inputs are not on this machine.
    """
    candidate = _compared(CANDIDATE, build, desired, at)
    models = [candidate]
    wanted = desired.spec.evaluation.compare_to
    if "base" in wanted and not without_base:
        models.append(replace(candidate, role="base", model_id=None))
    production = entry.builds.get(entry.production or "")
    if "production" not in wanted or production is None or production.model_id == build.model_id:
        return Comparison(models=tuple(models), recorded={}, production_build=None)
    recorded = _recorded_scores(production, desired)
    if recorded is None and not asks_production:
        recorded = {"production": {}}
    if not recorded:
        models.append(_compared("production", production, desired, at))
    return Comparison(
        models=tuple(models), recorded=recorded or {}, production_build=production.fingerprint
    )


def require_model(build: Build, at: Place) -> None:
    """Make sure that a build's model is still there.

    Raises:
        BackendError: It is not.
    """
    found = at.open_backend(build.backend).find([build.fingerprint])
    alive = [job for job in found.get(build.fingerprint, ()) if job.state is JobState.SUCCEEDED]
    if not alive:
        message = (
            f"the model of build {short_id(build.fingerprint)} is not at {build.backend} any more"
        )
        remedy = "Bring it back, or change the spec: nothing is retrained silently."
        raise BackendError(message, remedy)


def measure(
    settings: EvaluationSpec, compared: Sequence[Compared], *, held_out: Path, answers_file: Path
) -> dict[str, Scores]:
    """Let every model answer the held-out prompts, and score the answers.

    Args:
        settings: The spec's `evaluation`.
        compared: The models, the candidate among them.
        held_out: The held-out examples, canonical JSONL.
        answers_file: Where the answers are kept.

    Returns:
        Scores by role, then by metric.

    Raises:
        BackendError: A model could not be asked.
    """
    prompts = list(read_prompts(held_out))
    references = [prompt.reference for prompt in prompts]
    sampling = Sampling(max_tokens=settings.max_tokens)
    answers: dict[str, list[Completion]] = {}
    for group in _by_base_model(compared):
        first = group[0]
        models = [one.model_id for one in group]
        completed = first.backend.complete(first.base_model, models, prompts, sampling)
        answers |= {one.role: given for one, given in zip(group, completed, strict=True)}
    write_atomic(answers_file, b"".join(_answer_lines(prompts, answers)))
    if prompts and all(prompt.is_text for prompt in prompts):
        # Plain texts: nobody answered anything.
        scores = {role: loss_alone(given) for role, given in answers.items()}
    else:
        scores = {
            role: score(settings.metrics, references, given) for role, given in answers.items()
        }
    _require_finite(scores[CANDIDATE])
    return {role: _rounded(measured) for role, measured in scores.items()}


def read_prompts(path: Path) -> Iterator[Prompt]:
    """Yield each example as the conversation before its last answer, and that answer."""
    with path.open("rb") as file:
        for line in file:
            yield _prompt(json.loads(line))


def _prompt(example: Mapping[str, Any]) -> Prompt:
    """Return what to ask, and the answer that is expected: of a pair, the preferred one."""
    if "text" in example and "messages" not in example:
        # Of continued pre-training: nothing is asked, and the text's loss is all there is.
        return Prompt(messages=(), reference=example)
    asked = example.get("input", example)
    turns: list[dict[str, Any]] = [*asked["messages"], *example.get("preferred_output", ())]
    *before, last = turns
    if last["role"] != "assistant":
        # A prompt for reinforcement: nobody wrote an answer.
        return Prompt(messages=asked["messages"], tools=asked.get("tools", ()))
    return Prompt(messages=before, tools=asked.get("tools", ()), reference=last)


def answers_path(state: Path, build: str, evaluation: str) -> Path:
    """Return where the answers of one evaluation are kept."""
    parts = (build.partition(":")[2][:16], evaluation.partition(":")[2][:16])
    return state / "evaluations" / f"{parts[0]}-{parts[1]}.jsonl"


def answers_of(state: Path, build: Build) -> Path | None:
    """Return where the answers of a build's evaluation are kept; None before one."""
    if build.evaluation is None:
        return None
    return answers_path(state, build.fingerprint, build.evaluation.fingerprint)


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
            f"build {short_id(build.fingerprint)} was trained from another {build.base_model} than "
            "the one that is here"
        )
        remedy = "Bring that one back, or take `production` out of evaluation.compare_to."
        raise BackendError(message, remedy)
    return found


def _require_finite(scores: Scores) -> None:
    """Refuse the scores of a model that diverged: no gate could judge them.

    Raises:
        BackendError: A score is not a finite number.
    """
    diverged = [name for name, one in scores.items() if not math.isfinite(one)]
    if diverged:
        message = f"{', '.join(diverged)} of the trained model is not a finite number: it diverged"
        raise BackendError(message, "Lower the learning rate, or look for odd examples.")


def _rounded(scores: Scores) -> Scores:
    """Round to what is worth recording; more digits only make diffs.

    A score that is not a finite number, of a model that diverged, was not measured.
    """
    return {name: round(one, 6) for name, one in scores.items() if math.isfinite(one)}


def _compared(role: str, build: Build, desired: Desired, at: Place) -> Compared:
    return Compared(
        role=role,
        backend=at.open_backend(build.backend),
        base_model=_base_model(build, desired, at),
        model_id=build.model_id,
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


def _by_base_model(compared: Sequence[Compared]) -> list[list[Compared]]:
    """Group models that one call can ask, because one loaded base model serves them."""
    groups: dict[tuple[int, str], list[Compared]] = {}
    for one in compared:
        groups.setdefault((id(one.backend), one.base_model.identity), []).append(one)
    return list(groups.values())


def _answer_lines(
    prompts: Sequence[Prompt], answers: dict[str, list[Completion]]
) -> Iterator[bytes]:
    roles = sorted(answers, key=lambda role: (role != CANDIDATE, role))
    for index, prompt in enumerate(prompts):
        if not prompt.is_text:
            given = {role: answers[role][index] for role in roles}
            yield canonical_json(_kept(prompt, given)) + b"\n"


def _kept(prompt: Prompt, given: Mapping[str, Completion]) -> dict[str, Json]:
    """Return a line of the answers' file: texts, with thinking and calls if there are any."""
    said = {role: given_answer(one) for role, one in given.items()}
    reference = None if prompt.reference is None else expected_answer(prompt.reference).text
    line: dict[str, Json] = {
        "messages": prompt.messages,
        "reference": reference,
        "answers": {role: one.text for role, one in said.items()},
    }
    expected = (prompt.reference or {}).get("tool_calls")
    calls = {role: one.tool_calls for role, one in given.items() if one.tool_calls}
    thinking = {role: one.thinking for role, one in said.items() if one.thinking}
    optional: dict[str, Json] = {
        "reference_calls": expected,
        "calls": calls,
        "thinking": thinking,
    }
    return line | {key: value for key, value in optional.items() if value}
