"""Builds that are measured and judged."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from backends.contract.completions import Prompt
from controller.apply.context import ApplyContext, Result, with_changes
from controller.canonical import canonical_json
from controller.errors import ExitCode, FtctlError
from controller.evaluate.answer_store import AnswerStore
from controller.evaluate.ask import KeptAnswers, ask
from controller.evaluate.compare import (
    ASK_AGAIN,
    BASE_AGAIN,
    NOT_COMPARED,
    Comparison,
    EvaluatedModel,
    EvaluationContext,
    compare_with,
)
from controller.evaluate.gate import CANDIDATE
from controller.evaluate.measure import Answers, evaluation_path, measure, write_evaluation_file
from controller.evaluate.opinions.ask_judges import JudgeContext, ask_judges
from controller.evaluate.opinions.opinions import Opinions, joined
from controller.evaluate.opinions.people import ids_of, people_say
from controller.evaluate.prompts.held_out import HeldOut
from controller.evaluate.retain.measure import (
    Retained,
    measure_retained,
    retained_path,
    retained_sets,
    write_retained_file,
)
from controller.evaluate.samples import Samples, pair_samples, samples_of
from controller.lockfile.model import Build, Entry, Evaluation, RecordedSample, Scores, Verdict
from controller.plan.actions import Evaluate, Judge
from controller.plan.desired import Desired
from controller.plan.fingerprint import EVALUATION_SCHEME, fingerprint
from controller.plan.prompted_rivals import as_good, pairs_to_record
from controller.plan.verdicts import is_unguarded, remedy_of, verdict_of, why_not
from controller.plan.versions import newest_inputs
from controller.prompted.examples import shot_finder
from controller.spec.evaluation import BASE

T = TypeVar("T")


def evaluate(action: Evaluate, context: ApplyContext) -> Result:
    """Measure a build on the held-out set and judge it."""
    entry = context.entry(action.name)
    build = measured(
        action.name,
        entry.builds[action.fingerprint],
        entry,
        context,
        without_base=action.without_base is not None,
        asks_production=bool(action.asks),
    )
    return _judged(action, build, entry, context)


def judge_again(action: Judge, context: ApplyContext) -> Result:
    """Judge a build again from its recorded scores."""
    entry = context.entry(action.name)
    build = entry.builds[action.fingerprint]
    return _judged(action, build, entry, context)


def measured(
    name: str,
    build: Build,
    entry: Entry,
    context: ApplyContext,
    *,
    without_base: bool,
    asks_production: bool = False,
) -> Build:
    """Return a build with fresh scores and a verdict.

    Args:
        name: The fine-tune.
        build: The candidate.
        entry: The fine-tune's record in the lockfile.
        context: Shared objects for handlers.
        without_base: True to leave out the base model.
        asks_production: True to measure production again, at any cost, where its scores are of
                an older version.

    Raises:
        BackendError: A model gave no answer.
    """
    desired, dataset = context.desired(name), context.resolved.datasets[name]
    held_out = HeldOut(dataset.held_out)
    kept = KeptAnswers(store=_store(context), prompts=held_out)
    comparison = compare_with(
        desired,
        build,
        entry,
        EvaluationContext(
            root=context.project.root,
            open_backend=context.open_backend,
            train=dataset.train.path,
            has_answers=kept.has_all,
            find_shots=shot_finder(context.project.state, dataset.train),
        ),
        without_base=without_base,
        asks_production=asks_production or not desired.paid,
    )
    answers = ask(comparison.models, kept, context.open_backend)
    evaluation = _evaluation(desired, build, comparison, answers, held_out, context)
    verdict = verdict_of(desired.spec, evaluation)
    return build.model_copy(update={"evaluation": evaluation, "verdict": verdict})


def _store(context: ApplyContext) -> AnswerStore:
    return AnswerStore(context.project.answers, context.project.recorded)


def _evaluation(
    desired: Desired,
    build: Build,
    comparison: Comparison,
    answers: KeptAnswers,
    held_out: HeldOut,
    context: ApplyContext,
) -> Evaluation:
    """Score answers, write them into the state folder, and return what is recorded of them."""
    inputs = newest_inputs(desired.evaluation_inputs)
    key = fingerprint(EVALUATION_SCHEME, inputs)
    settings, models = desired.spec.evaluation, comparison.models
    opinions = _opinions(desired, comparison, answers, held_out, context)
    found = measure(
        settings.metrics,
        models,
        held_out,
        answers.of,
        slices=desired.slices,
        opinions=opinions.tallies,
    )
    path = evaluation_path(context.project.state, build.fingerprint, key)
    write_evaluation_file(path, found, models, held_out, answers.of)
    retained = _measure_retained(desired, comparison, answers.store, path, context)
    names = [*(one.name for one in found.metrics), *desired.slices]
    samples, differences = samples_of(found, names, key, settings.group_by)
    pairs = pair_samples(found, pairs_to_record(desired.spec), key, settings.group_by)
    more, more_differences = samples_of(retained.measured, retained.names, key, None)
    return Evaluation(
        fingerprint=key,
        inputs=json.loads(canonical_json(inputs)),
        scores=_joined({**comparison.recorded, **found.scores}, retained.measured.scores),
        production_build=comparison.production_build,
        evaluated=context.timestamp(),
        samples=_recorded(_joined(samples, more)),
        differences=_recorded(_joined(differences, more_differences)),
        rival_differences={rival: _recorded(by_other) for rival, by_other in pairs.items()},
        remarks=list(opinions.remarks),
    )


def _opinions(
    desired: Desired,
    comparison: Comparison,
    answers: KeptAnswers,
    held_out: HeldOut,
    context: ApplyContext,
) -> Opinions:
    """Return what judges, who are asked now, and people think of answers.

    Raises:
        BackendError: A judge does not answer, or its answers hold no opinion.
    """
    models, metrics = comparison.models, desired.spec.evaluation.metrics
    sheets = context.resolved.files[desired.name].sheets
    ids = ids_of(held_out, answers)
    of_people = [
        people_say(one.name, sheets[one.name], one.metric.sheet.path(one.settings), models, ids)
        for one in metrics
        if one.metric.sheet is not None
    ]
    judges = JudgeContext(
        root=context.project.root,
        place=desired.spec.place,
        open_backend=context.open_backend,
    )
    return joined([ask_judges(metrics, models, answers, judges), *of_people])


def _recorded(samples: Samples) -> dict[str, dict[str, RecordedSample]]:
    return {
        role: {name: RecordedSample.of(one) for name, one in by_name.items()}
        for role, by_name in samples.items()
        if by_name
    }


def _joined(
    first: Mapping[str, Mapping[str, T]], second: Mapping[str, Mapping[str, T]]
) -> dict[str, dict[str, T]]:
    """Return the values of two evaluations by role, those of the first before the second's."""
    roles = dict.fromkeys([*first, *second])
    return {role: {**first.get(role, {}), **second.get(role, {})} for role in roles}


def _measure_retained(
    desired: Desired,
    comparison: Comparison,
    store: AnswerStore,
    evaluation: Path,
    context: ApplyContext,
) -> Retained:
    """Measure what `evaluation.retain` asks for, and write the answers beside the evaluation's.

    Args:
        desired: Inputs that the spec asks for.
        comparison: The models that answer.
        store: Answers that are kept.
        evaluation: File of the evaluation.
        context: Shared objects for handlers.

    Raises:
        BackendError: A model gave no answer.
    """
    files = context.resolved.files[desired.name].retained
    sets = retained_sets(desired.spec.evaluation, files)

    def answers_to(models: Sequence[EvaluatedModel], prompts: Sequence[Prompt]) -> Answers:
        return ask(models, KeptAnswers(store=store, prompts=prompts), context.open_backend).of

    retained = measure_retained(sets, comparison.retaining, answers_to)
    write_retained_file(retained_path(evaluation), retained)
    return retained


def _judged(action: Evaluate | Judge, build: Build, entry: Entry, context: ApplyContext) -> Result:
    if build.evaluation is None:
        raise FtctlError(f"{action.name}: a build without scores cannot be judged")
    spec, scores = context.desired(action.name).spec, build.evaluation.scores
    verdict = verdict_of(spec, build.evaluation)
    message = _summary(verdict, scores[CANDIDATE])
    if is_unguarded(spec, scores):
        message += "; no gate is declared, and the base's held-out loss is not known"
    if scores.get("production") == {}:
        message += f"; {NOT_COMPARED}\n    {ASK_AGAIN} {action.name}"
    if noise := noise_floor(scores):
        message += f"\n    {noise}"
    for sentence in [*build.evaluation.remarks, *as_good(spec, build.evaluation)]:
        message += f"\n    {sentence}"
    if not verdict.passed:
        message += f"\n    {remedy_of(verdict, entry.production)}"
    code = ExitCode.DONE if verdict.passed else ExitCode.GATE_FAILED
    judged = build.model_copy(update={"verdict": verdict})
    builds = {**entry.builds, build.fingerprint: judged}
    judged_entry = with_changes(entry, builds=builds)
    return Result(message=message, entries={action.name: judged_entry}, exit_code=code)


def noise_floor(scores: Mapping[str, Scores]) -> str:
    """Return how much the base model differs from itself if it is asked twice; empty if it was not."""
    once, again = scores.get(BASE, {}), scores.get(BASE_AGAIN, {})
    differing = [f"{name} by {abs(once[name] - again[name]):.4g}" for name in again if name in once]
    if not differing:
        return ""
    return f"asked twice, the base model differs from itself in {', '.join(differing)}"


def _summary(verdict: Verdict, scores: Scores) -> str:
    numbers = ", ".join(f"{name} {number:.4g}" for name, number in scores.items())
    if verdict.passed:
        return f"{numbers}: gate passed" if verdict.gate else numbers
    if not verdict.failures:
        return f"{numbers}: the examples cannot tell ({why_not(verdict)})"
    what = "gate failed" if verdict.gate else "worse than the base model"
    return f"{numbers}: {what} ({why_not(verdict)})"
