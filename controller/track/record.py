"""A build as trackers get it: names and numbers, never a text of an example. Pure.

Parameters are a fixed list of inputs. Prompts, labels, questions and answers are not among them.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from backends.contract.inspector import Json
from backends.contract.jobs import CurvePoint
from controller.canonical import digest
from controller.evaluate.gate import CANDIDATE
from controller.lockfile.model import Build, Evaluation, RecordedSample, Verdict
from controller.plan.fingerprint import short_id

Parameter: TypeAlias = str | int | float | bool

LEVEL: Final = 0.95
"""Level of the intervals beside scores."""
_CURVES: Final = ("train_loss", "held_out_loss", "epoch", "learning_rate")
_SLICE: Final = re.compile(r"(?P<score>[\w.]+)\[(?P<column>\w+)=(?P<value>[\w.-]+)\]")
_ALLOWED: Final = re.compile(r"[\w./-]+")
_WORD: Final = re.compile(r"[\w.@:/+-]{1,64}")
_LONGEST: Final = 200
"""Characters of a name; MLflow allows 250."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run of a tracker: one build of a fine-tune."""

    key: str
    """ID of the run, the same whenever the same build is written."""
    name: str
    """Name of the run, for people."""
    parameters: Mapping[str, Parameter]
    """Inputs of the build. These never change."""
    scores: Mapping[str, float]
    """Scores with the ends of their intervals, and what training measured."""
    tags: Mapping[str, str]
    """Verdict, identities and links."""
    curve: Sequence[tuple[int, Mapping[str, float]]] = ()
    """Losses by step."""
    finished: str
    """End of the training, UTC, ISO 8601."""
    evaluated: str
    """Time of the evaluation, UTC, ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Origin of a fine-tune's build, beside its record in the lockfile."""

    name: str
    """The fine-tune."""
    curve: Sequence[CurvePoint] = ()
    """Losses during training; empty if they were not kept."""
    commit_url: str | None = None
    """Page of the commit whose spec was trained."""


def run_record(build: Build, evaluation: Evaluation, origin: Origin, *, reduced: bool) -> RunRecord:
    """Return what a tracker gets of an evaluated build.

    Args:
        build: The build.
        evaluation: Its evaluation.
        origin: Where it comes from.
        reduced: True to leave out scores of slices and the sentences of the verdict, which quote
            values of columns: servers get no more of private data.
    """
    identity: Json = {"finetune": origin.name, "build": build.fingerprint, "attempt": build.attempt}
    return RunRecord(
        key=digest(identity)[:24],
        name=f"{origin.name} {short_id(build.fingerprint)}",
        parameters=dict(_parameters(build, origin)),
        scores=dict(_scores(build, evaluation, with_slices=not reduced)),
        tags=dict(_tags(build, evaluation, origin, reduced=reduced)),
        curve=list(_curve(origin.curve)),
        finished=build.finished,
        evaluated=evaluation.evaluated,
    )


def tracker_name(role: str, score: str) -> str:
    """Return the name of a score in trackers: `candidate/accuracy`, `base/accuracy/lang/ko`.

    Trackers allow letters, digits, and a few signs. A name with anything else keeps apart from
    other names by a digest.
    """
    part = _SLICE.fullmatch(score)
    plain = "/".join(part.group("score", "column", "value")) if part else score
    if _ALLOWED.fullmatch(plain) and len(plain) <= _LONGEST:
        return f"{role}/{plain}"
    words = re.sub(r"[^\w./-]+", "_", plain).strip("_")[:_LONGEST]
    return f"{role}/{words}-{digest(score)[:6]}"


def _parameters(build: Build, origin: Origin) -> Iterator[tuple[str, Parameter]]:
    yield "finetune", origin.name
    yield "backend", build.backend
    yield "base_model", build.base_model
    if build.revision is not None:
        yield "revision", build.revision
    for key in ("method", "seed"):
        yield from _flat(key, build.inputs.get(key))
    for key in ("hyperparameters", "prompt"):
        yield from _flat(key, build.inputs.get(key))
    for split, facts in (("train", build.data.train), ("held_out", build.data.held_out)):
        yield f"data.{split}.digest", facts.digest
        yield f"data.{split}.examples", facts.examples
    if build.spec_commit is not None:
        yield "commit", build.spec_commit
    yield "build", build.fingerprint
    yield "attempt", build.attempt
    yield "model_id", build.model_id


def _flat(key: str, value: Json) -> Iterator[tuple[str, Parameter]]:
    """Yield numbers and words by their dotted names; a text, such as a grader's prompt, is left out."""
    if isinstance(value, Mapping):
        for inner, one in value.items():
            yield from _flat(f"{key}.{inner}", one)
    elif isinstance(value, str):
        if _WORD.fullmatch(value):
            yield key, value
    elif isinstance(value, int | float):
        yield key, value
    elif isinstance(value, Sequence):
        words = [str(one) for one in value if isinstance(one, str | int | float)]
        if words and all(map(_WORD.fullmatch, words)):
            yield key, ",".join(words)


def _scores(
    build: Build, evaluation: Evaluation, *, with_slices: bool
) -> Iterator[tuple[str, float]]:
    ours = evaluation.scores[CANDIDATE]
    for role, by_name in evaluation.scores.items():
        for name, number in by_name.items():
            if not with_slices and "[" in name:
                continue
            sample = evaluation.samples.get(role, {}).get(name)
            yield from _with_interval(tracker_name(role, name), number, sample)
            if role != CANDIDATE and name in ours:
                sample = evaluation.differences.get(role, {}).get(name)
                key = tracker_name(f"difference/{role}", name)
                yield from _with_interval(key, ours[name] - number, sample)
    for key, value in build.facts.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"training/{key}", float(value)


def _with_interval(
    key: str, number: float, sample: RecordedSample | None
) -> Iterator[tuple[str, float]]:
    yield key, round(number, 6)
    ends = sample.sample.interval(LEVEL) if sample is not None else (None, None)
    for word, end in zip(("low95", "high95"), ends, strict=True):
        if end is not None:
            yield f"{key}.{word}", round(end, 6)


def _tags(
    build: Build, evaluation: Evaluation, origin: Origin, *, reduced: bool
) -> Iterator[tuple[str, str]]:
    yield "ftctl.finetune", origin.name
    yield "ftctl.build", build.fingerprint
    yield "ftctl.evaluation", evaluation.fingerprint
    yield "ftctl.model_id", build.model_id
    yield "ftctl.verdict", _word_of(build.verdict)
    if build.verdict is not None and not reduced:
        reasons = [*build.verdict.failures, *build.verdict.undecided]
        if reasons:
            yield "ftctl.reasons", "\n".join(reasons)
    if origin.commit_url is not None:
        yield "ftctl.commit_url", origin.commit_url


def _word_of(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none"
    if verdict.passed:
        return "passed"
    return "failed" if verdict.failures else "cannot tell"


def _curve(points: Sequence[CurvePoint]) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield the finite numbers of each step. Trackers cannot show the others."""
    for point in points:
        numbers = {
            f"curve/{key}": float(value)
            for key in _CURVES
            if (value := getattr(point, key)) is not None and math.isfinite(value)
        }
        if numbers:
            yield point.step, numbers
