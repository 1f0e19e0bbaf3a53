"""Measure retained ability: ask a candidate and its base model, and score the answers.

A suite, or a file of the team's own, is a set of prompts with one metric, whose score is named
`retain.NAME`. The answers are kept beside those to the held-out set, in a file of their own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

from backends.atomic_files import write_atomic_lines
from backends.contract.completions import Completion, Prompt
from backends.contract.inspector import Json
from controller.canonical import canonical_json
from controller.data.dataset import Split
from controller.evaluate.answers import expected_answer
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.gate import CANDIDATE, RETAIN
from controller.evaluate.measure import (
    Answers,
    Measured,
    answer_line,
    finite,
    require_finite,
    rounded,
)
from controller.evaluate.metric import (
    RIGHT,
    WRONG,
    AnsweredExample,
    Metric,
    MetricSettings,
    Tally,
)
from controller.evaluate.prompts.held_out import HeldOut
from controller.evaluate.prompts.lazy import joined, places_of
from controller.evaluate.retain.items import read_items
from controller.evaluate.retain.suites import SUITES, SuiteName
from controller.evaluate.scoring import Tallies, answered, scores_of, tally
from controller.lockfile.model import Scores
from controller.spec.evaluation import Evaluation
from controller.spec.metrics import ChosenMetric
from controller.spec.retain import RetainSource, sources_of, suites_of

Ask: TypeAlias = Callable[[Sequence[EvaluatedModel], Sequence[Prompt]], Answers]
"""Lets models answer prompts, and returns their answers in the order of the prompts."""
Read: TypeAlias = Callable[[], Iterator[Completion]]
"""Reads the answers of one model in the order of the prompts."""
_ORIGIN: Final = "origin"
"""Column of an example: its origin, by which an item of a suite is found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Origin of a prompt."""

    id: str
    """First digits of the digest of its example."""
    origin: str
    """`file:line`, or the ID of an item of a suite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedSet:
    """Prompts that measure one retained ability, and how the answers are scored."""

    name: str
    """Name in the spec; `metric.name` is that in gates and scores."""
    prompts: Sequence[Prompt]
    places: Callable[[], Iterator[Place]]
    """Returns the place of each prompt."""
    metric: ChosenMetric
    max_tokens: int
    """Longest answer, in tokens."""

    def tally(self, completions: Iterable[Completion]) -> list[Tally | None]:
        """Return the tallies of one model's answers to all prompts."""
        examples = (
            answered(
                prompt.reference,
                completion,
                question=prompt.messages,
                columns={_ORIGIN: place.origin},
            )
            for prompt, place, completion in zip(
                self.prompts, self.places(), completions, strict=True
            )
        )
        return tally([self.metric], examples)[self.metric.name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """Tallies and scores of retained ability, and the answers behind them."""

    sets: Sequence[RetainedSet]
    measured: Measured
    """A metric for each set. The tallies of a metric are those of its set, one for each prompt;
    equal places of two roles belong to the same prompt."""
    answers: Mapping[str, Mapping[str, Read]]
    """By the set's name, then by role."""

    @property
    def names(self) -> list[str]:
        """Names of the scores: `retain.json`."""
        return [one.metric.name for one in self.sets]


def retained_sets(settings: Evaluation, files: Mapping[str, Split]) -> list[RetainedSet]:
    """Return the sets of prompts that a spec asks for, built-in suites first.

    Args:
        settings: The spec's section.
        files: Examples of each file in `evaluation.retain`, by its name.
    """
    own = sources_of(settings.retain).values()
    return [
        *map(_suite_set, suites_of(settings.retain)),
        *(_own_set(one, HeldOut(files[one.name]), settings.max_tokens) for one in own),
    ]


def measure_retained(
    sets: Sequence[RetainedSet], models: Sequence[EvaluatedModel], ask: Ask
) -> Retained:
    """Let models answer the prompts of all sets, and score the answers.

    Args:
        sets: The sets of prompts.
        models: The candidate, and its base model if that can answer.
        ask: Lets models answer prompts; called once for all sets with equal limits, since a model
            may have to be loaded for each call.

    Raises:
        BackendError: A model gave no answer, or the candidate has a score that is not finite.
    """
    tallies: dict[str, Tallies] = {model.role: {} for model in models}
    scores: dict[str, Scores] = {model.role: {} for model in models}
    given: dict[str, dict[str, Read]] = {}
    for limit in dict.fromkeys(one.max_tokens for one in sets):
        alike = [one for one in sets if one.max_tokens == limit]
        limited = [
            replace(model, sampling=replace(model.sampling, max_tokens=limit)) for model in models
        ]
        prompts = [one.prompts for one in alike]
        answers = ask(limited, joined(prompts))
        for one, place in zip(alike, places_of(prompts), strict=True):
            given[one.name] = {
                model.role: partial(_read, answers, model, place) for model in limited
            }
    for one in sets:
        for role, read in given[one.name].items():
            tallies[role][one.metric.name] = one.tally(read())
            scores[role] |= scores_of([one.metric], tallies[role])
    require_finite(scores.get(CANDIDATE, {}))
    measured = Measured(
        metrics=[one.metric for one in sets],
        tallies=tallies,
        scores={role: rounded(found) for role, found in scores.items()},
        columns=(),
    )
    return Retained(sets=sets, measured=measured, answers=given)


def retained_path(evaluation: Path) -> Path:
    """Return the path of the answers to the prompts of `retain`, beside an evaluation's file."""
    return evaluation.with_name(f"{evaluation.stem}-retain.jsonl")


def write_retained_file(path: Path, retained: Retained) -> None:
    """Write a line for each prompt with all answers and values, as for a held-out example.

    Nothing is written without a set. `suite` is the name of the set.
    """
    if retained.sets:
        write_atomic_lines(path, _lines(retained))


def _lines(retained: Retained) -> Iterator[bytes]:
    for one in retained.sets:
        given = {role: read() for role, read in retained.answers[one.name].items()}
        name = one.metric.name
        for number, (prompt, place) in enumerate(zip(one.prompts, one.places(), strict=True)):
            values: dict[str, Json] = {
                role: {name: finite(one.metric.metric.value(tallies[name][number]))}
                for role, tallies in retained.measured.tallies.items()
            }
            line: dict[str, Json] = {
                "id": place.id,
                "origin": place.origin,
                "suite": one.name,
                "columns": {},
                "values": values,
            }
            completions = {role: next(answers) for role, answers in given.items()}
            yield canonical_json({**line, **answer_line(prompt, completions)}) + b"\n"


def _read(answers: Answers, model: EvaluatedModel, place: range) -> Iterator[Completion]:
    return islice(answers(model), place.start, place.stop)


def _suite_set(name: SuiteName) -> RetainedSet:
    items = read_items(name)

    def are_right(_: MetricSettings, examples: Sequence[AnsweredExample]) -> Sequence[Tally | None]:
        return [
            RIGHT if items[one.columns[_ORIGIN]].checks.are_met(one.given) else WRONG
            for one in examples
        ]

    metric = Metric(
        name=f"{RETAIN}{name}",
        settings=MetricSettings,
        tally=are_right,
        higher_is_better=True,
        is_proportion=True,
        words=f"Share of right answers of the suite: {SUITES[name].words}.",
    )
    return RetainedSet(
        name=name,
        prompts=[Prompt(messages=one.messages, tools=one.tools) for one in items.values()],
        places=lambda: (Place(id=one.digest, origin=key) for key, one in items.items()),
        metric=ChosenMetric(metric, MetricSettings()),
        max_tokens=SUITES[name].max_tokens,
    )


def _own_set(source: RetainSource, examples: HeldOut, max_tokens: int) -> RetainedSet:
    named = replace(source.metric.metric, name=f"{RETAIN}{source.name}")
    references = (prompt.reference for prompt in examples)
    expected = [expected_answer(one) for one in references if one is not None]
    return RetainedSet(
        name=source.name,
        prompts=examples,
        places=lambda: (Place(id=row.id, origin=row.origin) for row in examples.rows()),
        metric=replace(source.metric, metric=named).prepared(expected),
        max_tokens=max_tokens,
    )
