"""The recorded state of every fine-tune, as a table, as JSON, and one in full."""

from collections.abc import Container, Iterator, Mapping, Sequence
from textwrap import wrap
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from backends.contract.completions import text_of
from backends.contract.inspector import Json
from backends.contract.jobs import Job, JobState
from backends.contract.speed import speed_words
from controller.evaluate.answers import shown_calls
from controller.evaluate.curves.findings import WORDS, Finding
from controller.evaluate.gate import RULES, parse_condition
from controller.lockfile.model import (
    ADOPTED,
    Build,
    Entry,
    Evaluation,
    Lockfile,
    RecordedSample,
    Scores,
    Verdict,
)
from controller.plan.desired import Shutdown
from controller.plan.fingerprint import short_id
from controller.render.curve import end_lines
from controller.render.placed import again_words, waiting_lines
from controller.render.shutdowns import days_cell, shutdown_json, shutdown_lines
from controller.render.text import escape_control, number, one_line, table
from controller.spec.model import Spec

_CANDIDATE = "candidate"
_NOTE_WIDTH = 77
_ROLES = ("base", "production")
"""Models that are shown first, in this order."""
STATES: Final = (
    *(str(state) for state in JobState),
    *("job not asked", "job missing", "candidate", "gate failed", "gate cannot tell"),
    *("in production", "failed", "spec removed", "not trained"),
    *WORDS.values(),
)
"""Every word of a state, without a job's progress."""
Findings: TypeAlias = Mapping[str, Sequence[Finding]]
"""Findings about the running job of each fine-tune, else its shown build, by its name."""
_NONE: Final[Findings] = MappingProxyType({})
Aliases: TypeAlias = Mapping[str, Sequence[str]]
"""Aliases of each fine-tune, by its name."""


def status_text(
    lockfile: Lockfile,
    declared: list[str],
    jobs: Mapping[str, Job],
    unreachable: Mapping[str, str],
    ends: Mapping[str, Shutdown] = MappingProxyType({}),
    findings: Findings = _NONE,
) -> str:
    """Return the table of all fine-tunes.

    Args:
        lockfile: What is recorded.
        declared: Names of the specs.
        jobs: Recorded open jobs as observed, by ID.
        unreachable: Places that gave no answer, and why.
        ends: When models in production, else base models, are switched off, by fine-tune.
        findings: What is wrong with trainings.
    """
    names = sorted({*declared, *lockfile.finetunes})
    if not names:
        return "No fine-tune is declared yet: add finetunes/NAME.yaml."
    ends = {name: ends[name] for name in names if name in ends}
    rows = [["FINE-TUNE", "STATE", *(["DAYS LEFT"] if ends else []), "BUILD", "MODEL ID"]]
    for name in names:
        entry = lockfile.finetunes.get(name, Entry())
        build = entry.builds.get(entry.production or "")
        words = state_words(entry, jobs, unreachable, declared=name in declared)
        state = ", ".join([*words, *(WORDS[one.name] for one in findings.get(name, ()))])
        left = [days_cell(ends.get(name))] if ends else []
        model = (
            [short_id(build.fingerprint), escape_control(build.model_id)] if build else ["-", "-"]
        )
        rows.append([escape_control(name), state, *left, *model])
    parts = [table(rows, right={2} if ends else ())]
    if unreachable:
        silent = (f"Not asked: {escape_control(f'{at}: {why}')}" for at, why in unreachable.items())
        parts.append("\n".join(silent))
    if waits := waiting_lines(lockfile, jobs):
        parts.append("\n".join(waits))
    if scores := score_table(lockfile):
        parts.append(scores)
    if endings := shutdown_lines(ends):
        parts.append("\n".join(endings))
    return "\n\n".join(parts)


def alias_table(aliases: Aliases) -> str:
    """Return the fine-tune that each alias stands for, a row for each alias; empty without any."""
    rows = [
        [escape_control(alias), escape_control(name)]
        for name, written in sorted(aliases.items())
        for alias in written
    ]
    return table([["ALIAS", "FINE-TUNE"], *rows]) if rows else ""


def state_words(
    entry: Entry, jobs: Mapping[str, Job], unreachable: Container[str], *, declared: bool
) -> list[str]:
    """Return the state of a fine-tune, a few words for each part of it.

    Args:
        entry: What is recorded of it.
        jobs: Recorded open jobs as observed, by ID.
        unreachable: Places that gave no answer.
        declared: Whether it has a spec.
    """
    words = []
    if entry.job is not None:
        job = jobs.get(entry.job.id)
        unknown = "job not asked" if entry.job.backend in unreachable else "job missing"
        words.append(_job_words(job) if job else unknown)
    candidate = entry.builds.get(entry.candidate or "")
    if candidate is not None:
        verdict = candidate.verdict
        failed = verdict is not None and not verdict.passed
        words.append(f"gate {_verdict_word(verdict)}" if verdict and failed else "candidate")
    if entry.production is not None:
        words.append("in production")
    if not words and entry.failures:
        words.append("failed")
    if not declared:
        words.append("spec removed")
    return words or ["not trained"]


def score_table(lockfile: Lockfile) -> str:
    """Return scores on held-out data, a row for each metric; empty without any.

    Production, the build that was in production when the tuned model was measured, has a column
    where any fine-tune was compared with it.
    """
    shown = {name: shown_build(entry) for name, entry in sorted(lockfile.finetunes.items())}
    measured = [
        (name, build, build.evaluation.scores)
        for name, build in shown.items()
        if build is not None and build.evaluation is not None
    ]
    if not measured:
        return ""
    roles = [role for role in ("base", "production") if role == "base" or _has(measured, role)]
    rows = [["FINE-TUNE", "METRIC", *map(str.upper, roles), "TUNED", "GATE"]]
    for name, build, scores in measured:
        for metric, tuned in scores["candidate"].items():
            others = [_shown(scores.get(role, {}).get(metric)) for role in roles]
            gate = _gate_word(build, metric)
            rows.append([escape_control(name), metric, *others, number(tuned), gate])
    return table(rows)


def _has(measured: Sequence[tuple[str, Build, Mapping[str, Scores]]], role: str) -> bool:
    return any(scores.get(role) for _, _, scores in measured)


def about_text(spec: Spec) -> str:
    """Return a spec's information for people, one line each: description, owner, labels, aliases."""
    labels = ", ".join(f"{key}={value}" for key, value in spec.labels.items())
    said = {"description": spec.description, "owner": spec.owner, "labels": labels}
    said["aliases"] = ", ".join(spec.aliases)
    return "\n".join(
        f"  {key:<11} {escape_control(text.strip())}" for key, text in said.items() if text
    )


def build_text(
    name: str,
    entry: Entry,
    answers: Sequence[Mapping[str, Any]],
    *,
    about: str = "",
    curves: Mapping[str, Sequence[str]] = MappingProxyType({}),
    thinking: bool = False,
) -> str:
    """Return one fine-tune in full: builds, scores, verdict, a few answers side by side.

    Args:
        name: The fine-tune.
        entry: The fine-tune's record in the lockfile.
        answers: Stored answers; see `controller.evaluate.measure`.
        about: Text of `about_text` for its spec.
        curves: Lines about the losses of builds, by fingerprint.
        thinking: True to show the models' thinking too.
    """
    lines = [f"{name}{'  (protected)' if entry.protect else ''}", *filter(None, [about])]
    if entry.job is not None:
        lines.append(f"  open job    {entry.job.id}, submitted {entry.job.submitted}")
    for build in sorted(entry.builds.values(), key=lambda one: one.finished, reverse=True):
        lines += ["", *_build_lines(build, entry, curves.get(build.fingerprint, ()))]
    for failure in entry.failures.values():
        lines += ["", f"  ended       {failure.job} {escape_control(failure.error)}"]
    if answers:
        lines += ["", "  answers on held-out examples:"]
        for answer in answers:
            lines += ["", *_answer_lines(answer, thinking=thinking)]
    return "\n".join(lines)


def notes_text(notes: Sequence[str]) -> str:
    """Return remarks on a fine-tune's newest build, a paragraph for each."""
    told = (
        wrap(escape_control(note), _NOTE_WIDTH, break_long_words=False, break_on_hyphens=False)
        for note in notes
    )
    return "\n\n".join("\n".join(f"  {line}" for line in lines) for lines in told)


def status_json(
    lockfile: Lockfile,
    declared: list[str],
    jobs: Mapping[str, Job],
    unreachable: Mapping[str, str],
    ends: Mapping[str, Shutdown] = MappingProxyType({}),
    findings: Findings = _NONE,
) -> dict[str, Json]:
    """Return the same for programs."""
    value: dict[str, Json] = {}
    for name in sorted({*declared, *lockfile.finetunes}):
        entry = lockfile.finetunes.get(name, Entry())
        build = entry.builds.get(entry.production or "")
        job = jobs.get(entry.job.id) if entry.job else None
        value[name] = {
            "state": ", ".join(state_words(entry, jobs, unreachable, declared=name in declared)),
            "declared": name in declared,
            "production": entry.production,
            "candidate": entry.candidate,
            "model_id": build.model_id if build else None,
            "days_left": ends[name].days_left if name in ends else None,
            "shutdown": shutdown_json(ends.get(name)),
            "scores": build.evaluation.scores if build and build.evaluation else None,
            "job": {"id": job.id, "state": job.state} if job else None,
            "findings": [one.name for one in findings.get(name, ())],
        }
    return {"finetunes": value, "unreachable": dict(unreachable)}


def _job_words(job: Job) -> str:
    """Return the state of a job; `running 40 %` once it counts steps."""
    progress = job.progress
    if progress is None or not progress.total_steps:
        return str(job.state)
    return f"{job.state} {100 * progress.step // progress.total_steps} %"


def shown_build(entry: Entry) -> Build | None:
    """Return the build that a fine-tune is shown by: its candidate, else the one in production."""
    return entry.builds.get(entry.candidate or entry.production or "")


def _gate_word(build: Build, metric: str) -> str:
    if build.verdict is None:
        return ""
    parsed = [parse_condition(text) for text in build.verdict.gate]
    conditions = [condition.text for condition in parsed if condition.metric == metric]
    for rule in RULES:
        failed = any(text.startswith(rule) for text in build.verdict.failures)
        if failed and parse_condition(rule).metric == metric:
            conditions = [*dict.fromkeys([*conditions, rule])]
    if not conditions:
        return ""
    said: dict[str, list[str]] = {}
    for text in conditions:
        said.setdefault(_condition_word(build.verdict, text), []).append(text)
    return ", ".join(f"{word}: {'; '.join(texts)}" for word, texts in said.items())


def _condition_word(verdict: Verdict, condition: str) -> str:
    if any(text.startswith(f"{condition}:") for text in verdict.failures):
        return "failed"
    cannot_tell = any(text.startswith(f"{condition}:") for text in verdict.undecided)
    return "cannot tell" if cannot_tell else "passed"


def _build_lines(build: Build, entry: Entry, curve: Sequence[str]) -> list[str]:
    roles_of = {entry.candidate: "  <- candidate", entry.production: "  <- production"}
    role, facts = roles_of.get(build.fingerprint, ""), build.facts
    lines = [
        f"  build       {short_id(build.fingerprint)}{role}",
        f"  model ID    {escape_control(build.model_id)}",
        *_origin_lines(build),
        f"  data        {_data_words(build)}",
    ]
    if isinstance(facts.get("trained_tokens"), int | float):
        seconds = f" in {facts['seconds']} s" if facts.get("seconds") is not None else ""
        lines.append(f"  trained     {facts['trained_tokens']:,} tokens{seconds}")
    if speed := speed_words(facts):
        lines.append(f"  speed       {escape_control(speed)}")
    lines += _adopted_lines(facts.get(ADOPTED))
    lines += end_lines(facts)
    if again := again_words(facts):
        lines.append(f"  workers     {again}")
    lines += [f"  {line}" for line in curve]
    if build.spec_commit:
        lines.append(f"  commit      {build.spec_commit}")
    if build.evaluation is not None:
        lines += ["", table(list(_score_rows(build.evaluation)), indent="    ")]
    verdict = build.verdict
    if verdict is not None and (verdict.gate or verdict.failures):
        lines += ["", f"  gate        {_verdict_word(verdict)}"]
        said = [*verdict.failures, *verdict.undecided] or verdict.gate
        lines += [f"    {escape_control(text)}" for text in said]
    return lines


def _data_words(build: Build) -> str:
    train, held_out = build.data.train.examples, build.data.held_out.examples
    return f"{train} examples, {held_out} held out" if train or held_out else "none"


def _origin_lines(build: Build) -> Iterator[str]:
    """Yield how a build was made: by a job, or as a prompt for which nothing was trained."""
    prompt, tokens = build.prompt, build.facts.get("prompt_tokens")
    if prompt is not None:
        parts = [one_line(build.base_model, 100), "nothing was trained"]
        if prompt.few_shot:
            parts.insert(1, f"{prompt.few_shot} examples before each question")
        if isinstance(tokens, int) and tokens:
            parts.insert(-1, f"{tokens:,} tokens")
        yield f"  prompted    {', '.join(parts)}"
        if prompt.system is not None:
            yield f"  system      {one_line(prompt.system, 100)}"
    if build.job:
        times = f"{build.submitted} - {build.finished}"
        yield f"  job         {build.job}, attempt {build.attempt}, {times}"
    else:
        yield f"  recorded    {build.finished}"


def _adopted_lines(adopted: Json) -> Iterator[str]:
    """Yield what is known of the making of an adopted build."""
    if not isinstance(adopted, Mapping):
        return
    yield f"  adopted     from {escape_control(str(adopted.get('from')))}"
    for key in ("verified", "declared"):
        said = adopted.get(key)
        for text in said if isinstance(said, list) else ():
            yield f"    {key:<9} {escape_control(str(text))}"


def _score_rows(evaluation: Evaluation) -> Iterator[list[str]]:
    """Yield a row for each score: all models, the candidate with its 95 % interval."""
    scores, samples = evaluation.scores, evaluation.samples.get(_CANDIDATE, {})
    others = sorted(scores.keys() - {_CANDIDATE}, key=lambda role: (*_ROLES, role).index(role))
    roles = [*others, _CANDIDATE]
    yield ["metric", *roles, "95 % interval"] if samples else ["metric", *roles]
    for metric in scores[_CANDIDATE]:
        row = [escape_control(metric), *(_shown(scores[role].get(metric)) for role in roles)]
        yield [*row, _interval(samples.get(metric))] if samples else row


def _interval(sample: RecordedSample | None) -> str:
    low, high = sample.sample.interval(0.95) if sample is not None else (None, None)
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def _verdict_word(verdict: Verdict) -> str:
    if verdict.passed:
        return "passed"
    return "failed" if verdict.failures else "cannot tell"


def _shown(score: float | None) -> str:
    return "-" if score is None else number(score)


def _answer_lines(answer: Mapping[str, Any], *, thinking: bool) -> Iterator[str]:
    asked = [message for message in answer["messages"] if message["role"] == "user"]
    width = max(len(name) for name in ("question", "expected", *answer["answers"])) + 2
    yield _answer_line("question", width, text_of(asked[-1]) if asked else "")
    expected, unwanted = answer["reference"], answer.get("rejected")
    if expected is not None or unwanted is None:
        yield _answer_line("expected", width, expected, answer.get("reference_calls"))
    if unwanted is not None:
        yield _answer_line("unwanted", width, unwanted)
    for role, text in answer["answers"].items():
        before = answer.get("thinking", {}).get(role)
        if thinking and before:
            yield _answer_line(role, width, f"({before})")
        yield _answer_line(role, width, text, answer.get("calls", {}).get(role))


def _answer_line(
    name: str, width: int, text: object, calls: Sequence[Mapping[str, Json]] | None = None
) -> str:
    said = " ".join(filter(None, [str(text or ""), shown_calls(calls or ())]))
    return f"    {name:<{width}}{one_line(said, 100)}"
