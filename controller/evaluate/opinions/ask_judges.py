"""Ask judges for their opinions on answers. What they say is kept as every answer is.

A judge is asked about the answers of all models in one call, so that equal answers are judged once
and nothing about a model is in a prompt.
"""

import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import IO, Any, Final, cast

from backends.contract.backend import Backend
from backends.contract.completions import Completion, Prompt, Sampling
from backends.contract.errors import BackendError, PromptRefused
from backends.excerpt import excerpt
from controller.evaluate.answers import given_answer
from controller.evaluate.ask import KeptAnswers, ask, key_of
from controller.evaluate.compare import EvaluatedModel
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.metric import Judge, Opinion, Tally
from controller.evaluate.opinions.opinions import Opinions, joined
from controller.evaluate.prompts.lazy import LazyPrompts
from controller.evaluate.scoring import answered
from controller.spec.asked import JudgeModel
from controller.spec.load import FOLDER
from controller.spec.metrics import ChosenMetric

MOST_UNREAD: Final = 0.1
"""Share of opinions without a verdict above which there is no score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeContext:
    """How judges are asked."""

    root: Path
    """The repository's folder; a path of a judge's model is relative to its folder of specs."""
    place: str
    """Backend and endpoint of the spec."""
    open_backend: Callable[[str], Backend]


def ask_judges(
    metrics: Sequence[ChosenMetric],
    models: Sequence[EvaluatedModel],
    answers: KeptAnswers,
    context: JudgeContext,
) -> Opinions:
    """Ask the judges that a spec names for their opinions, where these are not kept.

    Args:
        metrics: The spec's metrics.
        models: Models whose answers are kept.
        answers: The answers, to the held-out prompts.
        context: How judges are asked.

    Raises:
        BackendError: A judge does not answer, or too few of its answers hold an opinion. All that
            it answered is kept.
        FtctlError: Answers cannot be kept.
    """
    return joined(
        _opinions(_Judging(one, models, answers, context))
        for one in metrics
        if one.metric.judge is not None
    )


def missing_opinions(
    metrics: Sequence[ChosenMetric],
    models: Sequence[EvaluatedModel],
    answers: KeptAnswers,
    context: JudgeContext,
) -> dict[str, int]:
    """Return the most opinions that judges must be asked for, by the judges' models.

    Args:
        metrics: The spec's metrics.
        models: Models that answer; their answers need not be kept yet.
        answers: The answers that are kept.
        context: How judges are asked.

    Raises:
        BackendError: A judge's model cannot be identified.
    """
    found: dict[str, int] = {}
    for one in metrics:
        if one.metric.judge is None:
            continue
        judging = _Judging(one, models, answers, context)
        missing = judging.missing()
        name = judging.settings.model
        found[name] = found.get(name, 0) + missing
    return {name: number for name, number in found.items() if number}


class _Judging:
    """One metric of a judge: which answers it judges, and by which prompts."""

    def __init__(
        self,
        chosen: ChosenMetric,
        models: Sequence[EvaluatedModel],
        answers: KeptAnswers,
        context: JudgeContext,
    ) -> None:
        self.chosen, self.answers = chosen, answers
        # Every metric with a judge has such settings; see `Judge`.
        self.settings = cast(JudgeModel, chosen.settings)
        self.judge = cast(Judge[Any], chosen.metric.judge)
        role = self.judge.against(chosen.settings)
        others = [model for model in models if model.role == role]
        self.other = others[0] if others else None
        self.judged = list(models)
        if role is not None:
            is_there = self.other is not None
            self.judged = [one for one in models if is_there and one.role == CANDIDATE]
        place = self.settings.place(context.place)
        base_model = context.open_backend(place).resolve_base_model(
            self.settings.model, None, context.root / FOLDER
        )
        self.model = EvaluatedModel(
            role=chosen.name,
            place=place,
            base_model=base_model,
            model_id=None,
            identity=f"{place} {base_model.identity}",
            sampling=Sampling(max_tokens=self.settings.max_tokens),
        )
        self.open_backend = context.open_backend

    def all_prompts(self) -> Iterator[Sequence[Prompt]]:
        """Yield the prompts for each answer, model by model."""
        for model in self.judged:
            others: Iterator[Completion | None] = repeat(None)
            if self.other is not None:
                others = self.answers.of(self.other)
            for prompt, given, other in zip(
                self.answers.prompts, self.answers.of(model), others, strict=False
            ):
                yield self.judge.prompts(
                    self.chosen.settings,
                    answered(prompt.reference, given, question=prompt.messages),
                    None
                    if other is None
                    else answered(prompt.reference, other, question=prompt.messages),
                )

    def missing(self) -> int:
        """Return the number of opinions to ask for; of answers that are not kept, the most."""
        asked = [*self.judged, *([self.other] if self.other else [])]
        if all(map(self.answers.has_all, asked)):
            with tempfile.TemporaryFile() as file:
                prompts = _JudgePrompts(self, file)
                return len(self.answers.store.missing(key_of(self.model), prompts))
        each = 1 if self.other is None else 2
        return each * len(self.judged) * len(self.answers.prompts)


class _JudgePrompts(LazyPrompts):
    """The prompts for the answers of all judged models, one model after the other.

    They are composed once and read from a file without a name, so that memory does not grow.
    """

    def __init__(self, judging: _Judging, file: IO[bytes]) -> None:
        self.counts = array("B")
        """Number of prompts of each answer."""
        self._offsets = array("Q", [0])
        self._file = file
        for some in judging.all_prompts():
            self.counts.append(len(some))
            for prompt in some:
                line = json.dumps([prompt.messages, prompt.tools], ensure_ascii=False)
                self._offsets.append(
                    self._offsets[-1] + self._file.write(line.encode(errors="surrogatepass"))
                )
        self._file.flush()
        super().__init__(len(self._offsets) - 1, self._read)

    def _read(self, place: int) -> Prompt:
        start, end = self._offsets[place], self._offsets[place + 1]
        line = os.pread(self._file.fileno(), end - start, start)
        messages, tools = json.loads(line.decode(errors="surrogatepass"))
        return Prompt(messages=messages, tools=tools)


def _opinions(judging: _Judging) -> Opinions:
    """Ask for the opinions that are not kept, and return all."""
    with tempfile.TemporaryFile() as file:
        found, unread = _asked(judging, _JudgePrompts(judging, file))
    if len(unread) > MOST_UNREAD * len(found):
        raise _no_score(judging, unread, len(found))
    size = len(judging.answers.prompts)
    tallies: dict[str, dict[str, list[Tally | None]]] = {
        model.role: {judging.chosen.name: [one.tally for one in found[at * size : (at + 1) * size]]}
        for at, model in enumerate(judging.judged)
    }
    return Opinions(tallies=tallies, remarks=tuple(_remarks(judging, found, len(unread))))


def _asked(judging: _Judging, prompts: _JudgePrompts) -> tuple[list[Opinion], list[str]]:
    """Return all opinions, and what was said instead of those that hold no verdict."""
    kept = KeptAnswers(store=judging.answers.store, prompts=prompts)
    refused: PromptRefused | None = None
    try:
        ask([judging.model], kept, judging.open_backend)
    except PromptRefused as error:
        # One answer that a filter of the judge's service stops need not stop the evaluation.
        refused = error
    answers = kept.store.find(key_of(judging.model), prompts)
    found: list[Opinion] = []
    unread: list[str] = []
    for count in prompts.counts:
        given = list(islice(answers, count))
        opinion = Opinion(tally=None)
        if all(one is not None for one in given):
            opinion = judging.judge.read(
                judging.chosen.settings, [one for one in given if one is not None]
            )
        if opinion.tally is None:
            unread.append(_words(given, refused))
        found.append(opinion)
    return found, unread


def _remarks(judging: _Judging, found: Sequence[Opinion], unread: int) -> Iterator[str]:
    name, model = judging.chosen.name, judging.settings.model
    if unread:
        yield f"{name}: {unread:,} of {len(found):,} opinions of {model} hold no verdict, not counted"
    dependent = sum(one.depends_on_order for one in found)
    if judging.other is not None and found:
        share = dependent / len(found)
        yield (
            f"{name}: {dependent:,} of {len(found):,} verdicts of {model} ({share:.0%}) changed with "
            "the order of the answers, and count as ties"
        )


def _words(given: Sequence[Completion | None], refused: PromptRefused | None) -> str:
    """Return what a judge said that holds no verdict."""
    for one in given:
        if one is None:
            return refused.message if refused is not None else "no answer"
        if one.finish_reason == "length":
            return f"{excerpt(given_answer(one).text)} (cut at its longest length)"
    return excerpt(" / ".join(given_answer(one).text for one in given if one is not None))


def _no_score(judging: _Judging, unread: Sequence[str], count: int) -> BackendError:
    model = judging.settings.model
    message = (
        f"{judging.chosen.name}: {len(unread):,} of {count:,} opinions of {model} hold no verdict, "
        f"so there is no score; the first: {unread[0]}"
    )
    remedy = (
        "Write a clearer rubric, raise `max_tokens` of the judge, or name another model. Answers "
        "and opinions are kept."
    )
    return BackendError(message, remedy)
