"""What is recorded and kept of a fine-tune → its report. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from backends.contract.inspector import Json
from backends.contract.methods import METHODS
from controller.evaluate.compare import NOT_COMPARED
from controller.evaluate.gate import CANDIDATE, LOSS, MARGIN, RETAIN
from controller.lockfile.model import Build, Entry, Evaluation, Verdict
from controller.plan.fingerprint import short_id
from controller.plan.prompted_rivals import as_good
from controller.plan.verdicts import standing_verdict
from controller.report.answer_model import Answers
from controller.report.answers import answers_of
from controller.report.costs import costs_of
from controller.report.lines import DamagedLineError, checked
from controller.report.model import (
    BuildView,
    CurveView,
    DataView,
    FailureView,
    Headline,
    IndexRow,
    Report,
    SplitView,
    role_name,
)
from controller.report.scores import (
    MeasuredMetrics,
    conditions_of,
    is_retained,
    measured_metrics,
    names_of,
    noise_of,
    rivals_of,
    score_blocks,
    telling_metric,
)
from controller.report.words import score_words
from controller.spec.model import Spec

CANNOT_TELL: Final = "cannot tell"
_RESERVED_PAGE: Final = "index"
PRIVATE: Final = (
    "The data is declared private, and this page shows examples of it: do not publish the page."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportInputs:
    """Everything that a report is made from."""

    name: str
    entry: Entry
    spec: Spec | None = None
    """None if it was removed, or has problems."""
    file: str | None = None
    """The spec's file; None if there is none."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """The spec as written."""
    commit: str | None = None
    lines: Callable[[], Iterable[Mapping[str, Any]]] | None = None
    """Reads the evaluation file from its beginning; None if it is not on this machine."""
    lines_file: str = ""
    """Name of the evaluation file in messages."""
    data: DataView | None = None
    """None if the data could not be read here."""
    data_note: str = ""
    """Reason why the data could not be read."""
    curve: CurveView | None = None
    notes: Sequence[str] = ()


def build_report(inputs: ReportInputs) -> Report:
    """Return the report of one fine-tune."""
    entry, spec = inputs.entry, inputs.spec
    build = shown_build(entry)
    report = Report(
        name=inputs.name,
        headline=headline_of(entry, trains=spec is None or spec.trains),
        build=None if build is None else _build_view(build, entry),
        description=spec.description.strip() if spec else "",
        owner=spec.owner.strip() if spec else "",
        labels=dict(spec.labels) if spec else {},
        is_private=spec is not None and spec.data.is_private,
        file=inputs.file,
        commit=inputs.commit,
        declared=list(leaves(inputs.document)),
        trained=[] if build is None else list(leaves(build.inputs)),
        curve=inputs.curve,
        data=_data(inputs, build),
        costs=[] if build is None else costs_of(build, None),
        builds=[_build_view(one, entry) for one in _newest_first(entry.builds.values())],
        failures=_failures(entry),
        notes=[*inputs.notes, *_notes(inputs, build)],
    )
    if build is None or build.evaluation is None:
        return report
    return _with_evaluation(report, inputs, build)


def shown_build(entry: Entry) -> Build | None:
    """Return the build that a report is about: the candidate, or else the one in production."""
    return entry.builds.get(entry.candidate or entry.production or "")


def headline_of(entry: Entry, *, trains: bool = True) -> Headline:
    """Return the verdict on the newest build, and why, in one sentence.

    Args:
        entry: The fine-tune's record.
        trains: True if its spec asks for training.
    """
    build = shown_build(entry)
    if build is None:
        if entry.job is not None:
            why = f"Job {entry.job.id} was submitted at {entry.job.submitted}."
            return Headline(verdict="in training", tone="neutral", why=why)
        failure = max(entry.failures.values(), key=lambda one: one.finished, default=None)
        if failure is not None:
            why = f"Job {failure.job} {failure.error}."
            return Headline(verdict="not trained", tone="bad", why=why)
        if not trains:
            return Headline(verdict="not recorded", tone="neutral", why="`ftctl apply` records it.")
        return Headline(verdict="not trained", tone="neutral", why="`ftctl apply` trains it.")
    if build.evaluation is None and build.prompt is not None:
        return _unmeasured(build)
    if build.evaluation is None:
        why = "The model is trained, and `ftctl apply` measures it."
        return Headline(verdict="not evaluated", tone="neutral", why=why)
    if build.verdict is None:
        why = "The model is measured, and `ftctl apply` judges it."
        return Headline(verdict="not judged", tone="neutral", why=why)
    return _judged(build.verdict, build)


def _unmeasured(build: Build) -> Headline:
    """Return that nothing measured a build for which nothing was trained."""
    why = "Nothing is trained, and `ftctl apply` measures it."
    if not build.data.held_out.examples:
        why = "Nothing is trained, and there were no held-out examples to measure it with."
    return Headline(verdict="not evaluated", tone="neutral", why=why)


def page_name(name: str) -> str:
    """Return the name of a fine-tune's files, without an ending; never that of the index."""
    return f"{name}_" if name == _RESERVED_PAGE else name


def index_row(report: Report) -> IndexRow:
    """Return the line of a report in the index."""
    answers, build = report.answers, report.build
    changes = answers.changes.get(answers.rival or "", {}) if answers else {}
    counted = [
        f"{changes[key]:,} {key}" for key in ("fixed", "broken", "changed") if changes.get(key)
    ]
    block = next(iter(report.scores), None)
    value = block.rows[0].value if block else None
    return IndexRow(
        name=report.name,
        page=page_name(report.name),
        headline=report.headline,
        build=build.id if build else "",
        model_id=build.model_id if build else "",
        score=f"{block.name} {value:.4g}" if block and value is not None else "",
        changes=", ".join(counted),
    )


def leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Json]]:
    """Yield the keys of nested mappings as dotted names, with their values."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from leaves(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _with_evaluation(report: Report, inputs: ReportInputs, build: Build) -> Report:
    evaluation, verdict = build.evaluation, build.verdict
    if evaluation is None:
        raise AssertionError("the build was evaluated")
    measured = measured_metrics(evaluation.inputs)
    conditions = conditions_of(verdict, evaluation) if verdict else []
    blocks = score_blocks(evaluation, measured, conditions)
    gate = verdict.gate if verdict else []
    answers, why = _answers(inputs, build, measured, gate)
    return replace(
        report,
        evaluated=evaluation.evaluated,
        gate=conditions,
        scores=[block for block in blocks if not is_retained(block)],
        retained=[block for block in blocks if is_retained(block)],
        noise=noise_of(evaluation),
        answers=answers,
        no_answers=why,
        costs=costs_of(build, answers),
    )


def _answers(
    inputs: ReportInputs, build: Build, measured: MeasuredMetrics, gate: Sequence[str]
) -> tuple[Answers | None, str]:
    """Return the answers, or None and the reason in a sentence."""
    evaluation = build.evaluation
    if evaluation is None or inputs.lines is None:
        when = f"This build was measured at {evaluation.evaluated}. " if evaluation else ""
        return None, (
            f"{when}Its answers are not on this machine; the scores above are from the lockfile. "
            "Write the report where the evaluation ran."
        )
    try:
        answers = answers_of(
            checked(inputs.lines()),
            metric=telling_metric(measured, gate, evaluation.scores[CANDIDATE]),
            rivals=rivals_of(evaluation),
            labels=measured.labels,
        )
        damage = _missing_lines(build, evaluation, answers.count)
    except DamagedLineError as error:
        answers, damage = None, str(error)
    if damage:
        return None, (
            f"{inputs.lines_file} is damaged: {damage}. The scores above are from the lockfile. "
            f"`ftctl evaluate {inputs.name}` writes the file again."
        )
    if answers is None or not answers.count:
        return None, "Plain texts have no answers: only their loss is measured."
    return answers, ""


def _missing_lines(build: Build, evaluation: Evaluation, lines: int) -> str:
    """Return that a file has fewer lines than examples were scored; empty if it is whole.

    Plain texts have no lines.
    """
    method = METHODS.get(str(build.inputs.get("method")))
    if method is not None and method.is_of_texts:
        return ""
    samples = evaluation.samples.get(CANDIDATE, {})
    scored = [one.n for name, one in samples.items() if not name.startswith(RETAIN)]
    least = max([1, *scored])
    return f"it has {lines} of at least {least} lines" if lines < least else ""


def _judged(verdict: Verdict, build: Build) -> Headline:
    scores = build.evaluation.scores if build.evaluation else {}
    if not verdict.passed and not verdict.failures and verdict.undecided:
        return Headline(verdict=CANNOT_TELL, tone="neutral", why=f"{'; '.join(verdict.undecided)}.")
    if not verdict.passed:
        more = len(verdict.failures) - 1
        also = f", and {more} more condition{'' if more == 1 else 's'} failed" if more else ""
        first = verdict.failures[0] if verdict.failures else "the gate did not hold"
        return Headline(verdict="failed", tone="bad", why=f"{first}{also}.")
    if verdict.allowed_worse:
        why = "The model is worse than its base, which `gate: []` allows."
    elif verdict.gate:
        count = len(verdict.gate)
        which = {1: "The condition", 2: "Both conditions"}.get(count, f"All {count} conditions")
        why = f"{which} of the gate hold{'s' if count == 1 else ''}{_compared(verdict, build)}."
    elif MARGIN in scores.get("base", {}):
        why = "No gate is declared; good answers are preferred at least as much as by the base."
    elif LOSS in scores.get("base", {}):
        why = "No gate is declared; the held-out loss is not worse than that of the base model."
    else:
        why = "No gate is declared, and nothing was compared."
    return Headline(verdict="passed", tone="good", why=why)


def _compared(verdict: Verdict, build: Build) -> str:
    """Return the score that the gate names first, against the most important rival."""
    evaluation = build.evaluation
    if evaluation is None:
        return ""
    name = next((one for text in verdict.gate for one in names_of(text)), "")
    ours, rivals = evaluation.scores[CANDIDATE].get(name), rivals_of(evaluation)
    if ours is None:
        return ""
    theirs = evaluation.scores[rivals[0]].get(name) if rivals else None
    against = f" ({role_name(rivals[0])}: {score_words(theirs)})" if theirs is not None else ""
    return f": {name} is {score_words(ours)}{against}"


def _notes(inputs: ReportInputs, build: Build | None) -> Iterator[str]:
    entry, spec = inputs.entry, inputs.spec
    if inputs.file is None:
        yield "The spec was removed: what is shown is what the lockfile records."
    if spec is not None and spec.data.is_private:
        yield PRIVATE
    if build is None or build.evaluation is None:
        return
    if spec is not None and build.verdict is not None and standing_verdict(build, spec) is None:
        yield "The gate of the spec has changed since this verdict: `ftctl plan` shows what follows."
    if build.evaluation.scores.get("production") == {}:
        yield f"{NOT_COMPARED.capitalize()}. `ftctl evaluate {inputs.name}` measures it again."
    if spec is not None:
        yield from (f"{text[0].upper()}{text[1:]}." for text in as_good(spec, build.evaluation))
    if entry.candidate and entry.production and entry.candidate != entry.production:
        yield f"Build {short_id(entry.production)} is in production meanwhile."


def _data(inputs: ReportInputs, build: Build | None) -> DataView | None:
    """Return the data as read here, or else the counts that the lockfile has."""
    notes = [inputs.data_note] if inputs.data_note else []
    if build is None:
        return inputs.data or (DataView(splits=(), notes=notes) if notes else None)
    if inputs.data is None:
        splits = [
            SplitView(name=name, examples=facts.examples)
            for name, facts in (("train", build.data.train), ("held out", build.data.held_out))
        ]
        return DataView(splits=splits, notes=notes)
    return inputs.data


def _newest_first(builds: Iterable[Build]) -> list[Build]:
    return sorted(builds, key=lambda one: (one.finished, one.fingerprint), reverse=True)


def _build_view(build: Build, entry: Entry) -> BuildView:
    roles = {"candidate": entry.candidate, "production": entry.production}
    verdict = build.verdict
    unjudged = "not judged" if build.evaluation else "not evaluated"
    return BuildView(
        id=short_id(build.fingerprint),
        role=" and ".join(role for role, key in roles.items() if key == build.fingerprint),
        model_id=build.model_id,
        base_model=build.base_model,
        revision=build.revision,
        backend=build.backend,
        job=build.job,
        attempt=build.attempt,
        submitted=build.submitted,
        finished=build.finished,
        commit=build.spec_commit,
        examples=build.data.train.examples,
        held_out=build.data.held_out.examples,
        verdict=unjudged if verdict is None else _verdict_words(verdict),
        scores=build.evaluation.scores[CANDIDATE] if build.evaluation else {},
        is_shown=build is shown_build(entry),
    )


def _verdict_words(verdict: Verdict) -> str:
    if verdict.passed:
        return "passed"
    return "failed" if verdict.failures or not verdict.undecided else CANNOT_TELL


def _failures(entry: Entry) -> list[FailureView]:
    newest_first = sorted(entry.failures.values(), key=lambda one: one.finished, reverse=True)
    return [
        FailureView(
            job=one.job,
            backend=one.backend,
            attempt=one.attempt,
            error=one.error,
            finished=one.finished,
        )
        for one in newest_first
    ]
