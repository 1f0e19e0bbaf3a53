"""Builds that are measured and judged."""

import json

from controller.apply.context import ApplyContext, Outcome, Result, with_changes, with_remedy
from controller.canonical import canonical_json
from controller.errors import ExitCode, FtctlError
from controller.evaluate.gate import CANDIDATE, judge
from controller.evaluate.run import answers_path, compare_with, measure
from controller.lock.model import Build, Entry, Evaluation, Scores, Verdict
from controller.plan.actions import Desired, Evaluate, Judge
from controller.plan.fingerprint import short


def evaluate(action: Evaluate, context: ApplyContext) -> Result:
    """Measure a build on the held-out set and judge it."""
    entry = context.entry(action.name)
    build = measured(
        action.name,
        entry.builds[action.fingerprint],
        entry,
        context,
        without_base=action.without_base is not None,
    )
    return _judged(action, build, entry, context)


def judge_again(action: Judge, context: ApplyContext) -> Result:
    """Judge a build again from its recorded scores."""
    entry = context.entry(action.name)
    build = entry.builds[action.fingerprint]
    return _judged(action, build, entry, context)


def measured(
    name: str, build: Build, entry: Entry, context: ApplyContext, *, without_base: bool
) -> Build:
    """Return a build with fresh scores and a verdict.

    Raises:
        BackendError: A model could not be asked.
    """
    desired = context.desired(name)
    comparison = compare_with(desired, build, entry, context.place, without_base=without_base)
    scores = measure(
        desired.spec.evaluation,
        comparison.models,
        held_out=context.resolved.datasets[name].held_out.path,
        answers_file=answers_path(
            context.project.state, build.fingerprint, desired.evaluation_fingerprint
        ),
    )
    evaluation = Evaluation(
        fingerprint=desired.evaluation_fingerprint,
        inputs=json.loads(canonical_json(desired.evaluation_inputs)),
        scores={**comparison.recorded, **scores},
        production_build=comparison.production_build,
        evaluated=context.timestamp(),
    )
    verdict = verdict_of(desired, evaluation)
    return build.model_copy(update={"evaluation": evaluation, "verdict": verdict})


def verdict_of(desired: Desired, evaluation: Evaluation) -> Verdict:
    """Return what a spec's gate says of recorded scores."""
    gate = list(desired.spec.gate)
    judgement = judge(gate, evaluation.scores)
    return Verdict(passed=judgement.passed, gate=gate, failures=list(judgement.failures))


def _judged(action: Evaluate | Judge, build: Build, entry: Entry, context: ApplyContext) -> Result:
    if build.evaluation is None:
        raise FtctlError(f"{action.name}: a build without scores cannot be judged")
    verdict = verdict_of(context.desired(action.name), build.evaluation)
    message = _summary(verdict, build.evaluation.scores[CANDIDATE])
    if not verdict.passed:
        kept = entry.production
        stays = f"{short(kept)} stays in production" if kept else "Nothing is in production"
        message = with_remedy(message, f"{stays}. Change the spec, its data, or the gate.")
    code = ExitCode.DONE if verdict.passed else ExitCode.GATE_FAILED
    judged = build.model_copy(update={"verdict": verdict})
    builds = {**entry.builds, build.fingerprint: judged}
    return Result(
        outcome=Outcome(action=action, message=message, exit_code=code),
        entries={action.name: with_changes(entry, builds=builds)},
    )


def _summary(verdict: Verdict, scores: Scores) -> str:
    numbers = ", ".join(f"{name} {number:.4g}" for name, number in scores.items())
    if verdict.passed:
        return f"{numbers}: gate passed" if verdict.gate else numbers
    return f"{numbers}: gate failed ({'; '.join(verdict.failures)})"
